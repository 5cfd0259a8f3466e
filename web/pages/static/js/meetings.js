// Meetings: a long recording in, who spoke when out: lanes, names, corrections, enrolling from it.

import { call, get, jobError, may } from "./api.js";
import { enrollDemo } from "./demo.js";
import { base, button, byId, fill, h, onDrop } from "./dom.js";
import { follow } from "./follow.js";
import { guard, notice } from "./notice.js";
import { nameOf, remember } from "./past.js";
import { progressBar } from "./progress.js";
import { duration, moment, t } from "./text.js";
import { keep, open } from "./timeline.js";

export const notices = byId("notices");
export const attempt = guard(notices);

async function start() {
  onDrop(byId("drop"), (transfer) => send(transfer.files[0]));
  byId("choose").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", ({ target }) => {
    send(target.files[0]);
    target.value = ""; // so that the same file can be chosen again
  });
  byId("options").addEventListener("submit", (event) => event.preventDefault());
  await attempt(async () => {
    if (may("read")) await showBanks();
    else byId("bank-field").hidden = true;
    await showPast();
    const job = new URLSearchParams(location.search).get("job");
    if (job) await open(job);
  });
}

async function showBanks() {
  const { active, banks } = await get("/v1/banks");
  showFirst(banks);
  const usual = t("ask.bank.default", { name: active === "all" ? t("ask.bank.all") : active });
  fill(
    byId("bank"),
    h("option", { value: "" }, usual),
    banks.map((bank) =>
      h("option", { value: bank.name }, `${bank.name} · ${t("people.count", { count: bank.speakers })}`),
    ),
  );
}

/** Where nobody is enrolled: the first step. Where the demo is: its meeting. */
function showFirst(banks) {
  const place = byId("first");
  const anybody = banks.some((bank) => bank.speakers);
  if (!anybody && may("enroll")) {
    const steps = [
      h("a", { class: "button primary", href: `${base}/enroll` }, t("empty.enroll")),
      button(t("demo.use"), { onclick: () => enrollDemo(place, showBanks) }),
    ];
    return fill(place, notice("info", t("meetings.nobody_enrolled"), h("div", { class: "actions" }, steps)));
  }
  place.replaceChildren();
  fill(byId("demo"), banks.some((bank) => bank.name === "demo") ? button(t("meetings.demo"), { onclick: sendDemo }) : null);
}

async function sendDemo() {
  await attempt(async () => {
    const response = await fetch(`${base}/pages/demo/meeting.ogg`);
    byId("bank").value = "demo";
    await send(new File([await response.blob()], "demo.ogg", { type: "audio/ogg" }));
  });
}

// A meeting on its way

async function send(file) {
  if (!file) return;
  const { parts, move, cancel } = progressBar(t("meetings.sending", { name: file.name }));
  fill(byId("run"), h("div", { class: "spaced" }, parts));
  await attempt(async () => {
    const body = new FormData();
    body.set("audio", file);
    const { job } = await call("POST", "/v1/timeline", {
      query: { bank: byId("bank").value, speakers: byId("speakers").value },
      body,
    });
    remember(job.id, file.name);
    cancel.disabled = false;
    cancel.addEventListener("click", () => attempt(() => call("DELETE", `/v1/jobs/${job.id}`)));
    const done = await follow(job.id, (now) => moved(now, move));
    if (done.error) throw jobError(done.error);
    if (done.state === "canceled") return fill(notices, notice("info", t("meetings.canceled")));
    keep(job.id, file);
    await open(job.id);
    await showPast();
  });
  byId("run").replaceChildren();
}

function moved(job, move) {
  const { total, done, seconds_left: left } = job.progress;
  const parts = [
    total ? t("meetings.progress", { done: duration(done), total: duration(total) }) : t(`state.${job.state}`),
  ];
  if (left && !job.finished) parts.push(t("enroll.left", { time: duration(left) }));
  move(total ? done / total : 0, parts);
}

async function showPast() {
  const { jobs } = await get("/v1/jobs", { kind: "timeline", limit: 20, brief: true });
  if (!jobs.length) return fill(byId("past"), h("p", { class: "muted" }, t("meetings.none")));
  const row = (job) =>
    h(
      "li",
      {},
      job.state === "succeeded"
        ? h(
            "a",
            { href: `?job=${job.id}`, onclick: (event) => (event.preventDefault(), attempt(() => open(job.id))) },
            nameOf(job.id) ?? moment(job.created),
          )
        : h("span", {}, nameOf(job.id) ?? moment(job.created)),
      h(
        "span",
        { class: "muted small" },
        [nameOf(job.id) ? moment(job.created) : "", t(`state.${job.state}`), job.state === "succeeded" && job.progress.total ? duration(job.progress.total) : "", job.about.bank ?? ""]
          .filter(Boolean)
          .join(" · "),
      ),
    );
  fill(byId("past"), h("ul", { class: "past" }, jobs.map(row)));
}

start();
