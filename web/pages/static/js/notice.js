// Messages to the reader: what is wrong and what to do, questions before something is lost.

import { button, fill, h, icon, say } from "./dom.js";
import { own } from "./service.js";
import { t } from "./text.js";

/** A message box: `kind` is info, good, warn or error. */
export function notice(kind, text, ...more) {
  const symbol = { info: "info", good: "check", warn: "warning", error: "warning" }[kind];
  return h(
    "div",
    { class: `notice ${kind}`, role: kind === "error" ? "alert" : null },
    icon(symbol),
    h("div", {}, h("p", {}, text), more),
  );
}

/** An error as a message box: the sentence, and the service's own words below it where they say more. */
export function errorNotice(error) {
  const sentence = error.sentence ?? error.message;
  const more = error.isComplete === false ? h("p", { class: "small muted" }, own(error.message)) : null;
  return notice("error", capital(sentence), more);
}

/** Show an error in a place. */
export function showError(place, error) {
  if (error.name !== "AbortError") fill(place, errorNotice(error));
}

/** What runs something for the page and shows in `place` what went wrong with it. */
export const guard = (place) => async (work) => {
  try {
    place.replaceChildren();
    return await work();
  } catch (error) {
    showError(place, error);
    place.scrollIntoView({ block: "nearest" });
  }
};

export function showGood(place, text, ...more) {
  fill(place, notice("good", text, ...more));
  say(text);
}

/** A sentence with a capital, unless it begins with something that is called as it is, such as a file. */
export const capital = (text) => (/^[a-z]+[ ,:;]/.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text);

/** Ask before something is done; gives whether the reader agreed. `lines` say what goes. */
export function confirm({ title, lines = [], action, kind = "danger" }) {
  return new Promise((resolve) => {
    const yes = button(action, { kind, value: "yes" });
    const no = button(t("dialog.cancel"), { kind: "quiet" });
    const dialog = h(
      "dialog",
      { class: "dialog", "aria-labelledby": "dialog-title" },
      h("h2", { id: "dialog-title" }, title),
      lines.map((line) => (typeof line === "string" ? h("p", {}, line) : line)),
      h("div", { class: "actions end" }, no, yes),
    );
    const close = (agreed) => {
      dialog.close();
      dialog.remove();
      resolve(agreed);
    };
    yes.addEventListener("click", () => close(true));
    no.addEventListener("click", () => close(false));
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      close(false);
    });
    document.body.append(dialog);
    dialog.showModal();
    no.focus();
  });
}

/** Ask for a text, with suggestions, or for one of `choices`; null if the reader gave up. */
export function ask({ title, label, value = "", options = [], choices = null, action, lines = [] }) {
  return new Promise((resolve) => {
    const input = choices
      ? h(
          "select",
          { id: "dialog-input", required: true },
          h("option", { value: "" }, t("dialog.choose")),
          choices.map((one) => h("option", { value: one }, one)),
        )
      : h("input", {
          id: "dialog-input",
          value,
          list: "dialog-options",
          autocomplete: "off",
          maxlength: 120,
          required: true,
        });
    const no = button(t("dialog.cancel"), { kind: "quiet" });
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", { id: "dialog-title" }, title),
      lines.map((line) => h("p", {}, line)),
      h("div", { class: "field" }, h("label", { for: "dialog-input" }, label), input),
      h(
        "datalist",
        { id: "dialog-options" },
        options.map((one) => h("option", { value: one })),
      ),
      h("div", { class: "actions end" }, no, h("button", { class: "button primary" }, action)),
    );
    const dialog = h("dialog", { class: "dialog", "aria-labelledby": "dialog-title" }, form);
    const close = (result) => {
      dialog.close();
      dialog.remove();
      resolve(result);
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (input.value.trim()) close(input.value.trim());
    });
    no.addEventListener("click", () => close(null));
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      close(null);
    });
    document.body.append(dialog);
    dialog.showModal();
    if (choices) input.focus();
    else input.select();
  });
}

/** What stands where nothing is yet: a sentence, and the first steps as buttons. */
export function empty(title, text, ...actions) {
  return h(
    "div",
    { class: "empty" },
    icon("voice"),
    h("h2", {}, title),
    h("p", {}, text),
    h("div", { class: "actions center" }, actions),
  );
}
