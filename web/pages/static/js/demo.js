// The demo's voices into the bank `demo`: what a page offers where nobody is enrolled.

import { call, jobError } from "./api.js";
import { base, fill, h, say } from "./dom.js";
import { follow } from "./follow.js";
import { showError } from "./notice.js";
import { t } from "./text.js";

/** Enroll them, show how far it is in a place, then go on with `done`. */
export async function enrollDemo(place, done) {
  const bar = h("div", {});
  const line = h("p", {}, t("demo.running"));
  fill(
    place,
    h(
      "div",
      { class: "card" },
      line,
      h("div", { class: "progress", role: "progressbar", "aria-label": t("demo.running") }, bar),
    ),
  );
  say(t("demo.running"));
  try {
    const response = await fetch(`${base}/pages/demo.zip`);
    const { job } = await call("POST", "/v1/banks/demo/enrollments", {
      body: await response.blob(),
      type: "application/zip",
    });
    const ended = await follow(
      job.id,
      ({ progress }) => (bar.style.width = `${(100 * (progress.done + progress.failed)) / (progress.total || 1)}%`),
    );
    if (ended.error) throw jobError(ended.error);
    say(t("demo.done"));
    await done();
  } catch (error) {
    showError(place, error);
  }
}
