// One person of a bank: the recordings, and what can be changed about them.

import { bankPath, call, get, may } from "./api.js";
import { base, button, fill, h, icon, table } from "./dom.js";
import { ask, confirm, showGood } from "./notice.js";
import { own } from "./service.js";
import { attempt, labels, load, notices, view } from "./people.js";
import { duration, number, score, t } from "./text.js";
import { undo } from "./versions.js";

/** Show a person's recordings in a place, with what the reader may do. */
export async function showClips(label, inside) {
  const { clips } = await get(bankPath(view.bank, "clips"), { speaker: label });
  const actions = [];
  if (may("admin")) {
    actions.push(
      button(t("people.rename"), { kind: "small", icon: "edit", onclick: () => attempt(() => rename(label)) }),
    );
    if (view.speakers.length > 1)
      actions.push(
        button(t("people.merge"), { kind: "small", icon: "merge", onclick: () => attempt(() => merge(label)) }),
      );
    actions.push(
      button(t("people.remove"), { kind: "small", icon: "close", onclick: () => attempt(() => remove(label)) }),
    );
    actions.push(
      button(t("people.purge"), {
        kind: "small warn",
        icon: "trash",
        onclick: () => attempt(() => purge(label, clips.length)),
      }),
    );
  }
  const columns = [
    t("clip.recording"),
    t("clip.seconds"),
    t("clip.agreement"),
    t("clip.nearest"),
    t("clip.listen"),
    ...(may("admin") ? [t("clip.change")] : []),
  ];
  fill(
    inside,
    h(
      "div",
      { class: "head" },
      h("h3", {}, t("people.clips_of", { name: label })),
      h("div", { class: "row" }, actions),
    ),
    clips.every(isKept) ? null : h("p", { class: "small muted" }, t("clip.not_kept.why")),
    table(
      columns,
      clips.map((clip, i) => clipRow(clip, i, label, columns, clips.length)),
      { numbers: [1, 2] },
    ),
  );
}

const isKept = (clip) => clip.path.startsWith("/");

function clipRow(clip, index, label, columns, count) {
  const name = clip.path ? clip.path.split("/").pop() : t("clip.number", { n: index + 1 });
  const part = clip.start === null ? "" : ` ${number(clip.start, 1)}–${clip.end === null ? "" : number(clip.end, 1)} s`;
  const unlike = clip.cosine !== null && clip.nearest_cosine !== null && clip.nearest_cosine > clip.cosine;
  const change =
    may("admin") && count > 1
      ? h(
          "div",
          { class: "actions" },
          button(t("clip.move"), {
            kind: "small",
            icon: "move",
            "aria-label": t("clip.move_label", { name }),
            onclick: () => attempt(() => moveClip(clip, name, label)),
          }),
          button(t("clip.remove"), {
            kind: "small warn",
            icon: "trash",
            "aria-label": t("clip.remove_label", { name }),
            onclick: () => attempt(() => removeClip(clip, name, label)),
          }),
        )
      : h("span", { class: "muted small" }, t("clip.only"));
  return h(
    "tr",
    {},
    h(
      "td",
      { "data-label": columns[0], title: clip.path || clip.key },
      name + part,
      h("div", { class: "small muted mono" }, clip.key.slice(0, 8)),
    ),
    h("td", { class: "number", "data-label": columns[1] }, duration(clip.seconds)),
    h(
      "td",
      { class: "number", "data-label": columns[2] },
      score(clip.cosine),
      unlike ? [" ", h("span", { class: "chip doubt" }, icon("warning"), t("clip.unlike"))] : null,
    ),
    h("td", { "data-label": columns[3] }, clip.nearest ? `${clip.nearest} (${score(clip.nearest_cosine)})` : "–"),
    h("td", { "data-label": columns[4] }, listen(clip, name)),
    may("admin") ? h("td", { "data-label": columns[5] }, change) : null,
  );
}

function listen(clip, name) {
  if (!isKept(clip)) return h("span", { class: "muted small" }, t("clip.not_kept"));
  const span = clip.start === null ? "" : `#t=${clip.start}${clip.end === null ? "" : `,${clip.end}`}`;
  const play = button(t("play"), { kind: "small", icon: "play", "aria-label": t("clip.play_label", { name }) });
  play.addEventListener("click", () => {
    const sound = h("audio", {
      controls: true,
      autoplay: true,
      src: `${base}${bankPath(view.bank, "recordings", clip.key)}${span}`,
      "aria-label": name,
    });
    sound.addEventListener("error", () => sound.replaceWith(h("span", { class: "muted small" }, t("clip.gone"))));
    play.replaceWith(sound);
  });
  return play;
}

// Changes: each is a new version, which can be undone but for what is deleted for good

export async function changed(message, answer, open = null) {
  view.open = open;
  view.checked = null;
  await load();
  showGood(
    notices,
    message,
    answer.warnings.map((text) => h("p", { class: "small" }, own(text))),
    undoButton(),
  );
  notices.scrollIntoView({ block: "nearest" });
}

const undoButton = () =>
  h(
    "div",
    { class: "actions" },
    button(t("people.undo"), { kind: "small", icon: "undo", onclick: () => attempt(undo) }),
  );

async function rename(label) {
  const to = await ask({
    title: t("people.rename.title", { name: label }),
    label: t("people.rename.label"),
    value: label,
    action: t("people.rename"),
  });
  if (to === null || to === label) return;
  await changed(
    t("people.renamed", { name: label, to }),
    await call("PATCH", bankPath(view.bank, "speakers", label), { json: { name: to } }),
    to,
  );
}

async function merge(label) {
  const others = labels().filter((one) => one !== label);
  const into = await ask({
    title: t("people.merge.title", { name: label }),
    label: t("people.merge.label"),
    choices: others,
    action: t("people.merge"),
    lines: [t("people.merge.lead", { name: label })],
  });
  if (into === null) return;
  await changed(
    t("people.merged", { name: label, into }),
    await call("POST", bankPath(view.bank, "merge"), { json: { speaker: label, into } }),
    into,
  );
}

async function remove(label) {
  if (
    !(await confirm({
      title: t("people.remove.title", { name: label }),
      lines: [t("people.remove.lead")],
      action: t("people.remove"),
      kind: "primary",
    }))
  )
    return;
  await changed(t("people.removed", { name: label }), await call("DELETE", bankPath(view.bank, "speakers", label)));
}

async function purge(label, count) {
  const lines = [
    h("p", {}, t("people.purge.lead", { name: label })),
    h(
      "ul",
      {},
      h("li", {}, t("people.purge.clips", { count })),
      h("li", {}, t("people.purge.versions", { bank: view.bank })),
      h("li", {}, t("people.purge.caches")),
    ),
    h("p", {}, t("people.purge.stays")),
    h("p", {}, h("strong", {}, t("no_way_back"))),
  ];
  if (!(await confirm({ title: t("people.purge.title", { name: label }), lines, action: t("people.purge.yes") })))
    return;
  const answer = await call("DELETE", bankPath(view.bank, "speakers", label), { query: { purge: true } });
  view.open = null;
  await load();
  showGood(
    notices,
    t("people.purged", { name: label }),
    answer.warnings.map((text) => h("p", { class: "small" }, own(text))),
  );
}

async function moveClip(clip, name, label) {
  const to = await ask({
    title: t("clip.move.title", { name }),
    label: t("clip.move.label"),
    options: labels().filter((one) => one !== label),
    action: t("clip.move"),
  });
  if (to === null) return;
  const json = { speaker: to, new: !labels().includes(to) };
  await changed(
    t("clip.moved", { name, to }),
    await call("PATCH", bankPath(view.bank, "clips", clip.key), { json }),
    label,
  );
}

async function removeClip(clip, name, label) {
  if (
    !(await confirm({
      title: t("clip.remove.title", { name }),
      lines: [t("clip.remove.lead", { name: label })],
      action: t("clip.remove"),
      kind: "primary",
    }))
  )
    return;
  await changed(t("clip.removed", { name }), await call("DELETE", bankPath(view.bank, "clips", clip.key)), label);
}
