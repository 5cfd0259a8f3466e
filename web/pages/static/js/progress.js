// The progress of a job that can be canceled: a line of numbers, a bar, a button.

import { button, h } from "./dom.js";
import { t } from "./text.js";

/** The parts to show, `move(share, parts)` with a share of 0 to 1, and the button that cancels, disabled at first. */
export function progressBar(text) {
  const numbers = h("p", { class: "numbers" }, text);
  const bar = h("div", {});
  const progress = h(
    "div",
    {
      class: "progress",
      role: "progressbar",
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-valuenow": 0,
      "aria-label": t("enroll.running"),
    },
    bar,
  );
  const cancel = button(t("enroll.cancel"), { icon: "close", disabled: true });
  const move = (share, parts) => {
    const percent = Math.round(100 * share);
    bar.style.width = `${percent}%`;
    progress.setAttribute("aria-valuenow", String(percent));
    numbers.textContent = parts.join(" · ");
  };
  return { parts: [numbers, progress, h("div", { class: "actions" }, cancel)], move, cancel };
}
