// The versions of a bank: what changed, and the way back.

import { bankPath, call, get, may } from "./api.js";
import { button, byId, fill, h, table } from "./dom.js";
import { showGood } from "./notice.js";
import { change } from "./service.js";
import { attempt, load, notices, view } from "./people.js";
import { moment, number, score, t } from "./text.js";

export function versionsCard() {
  const list = h("div", {});
  const details = h(
    "details",
    {},
    h("summary", { id: "versions-title" }, t("versions.title")),
    h("p", { class: "small muted" }, t("versions.lead")),
    list,
  );
  details.addEventListener("toggle", () => details.open && attempt(() => showVersions(list)));
  return h("section", { class: "card", "aria-labelledby": "versions-title" }, details);
}

async function showVersions(list) {
  const { versions } = await get(bankPath(view.bank, "versions"));
  const columns = [
    t("versions.version"),
    t("versions.when"),
    t("versions.what"),
    t("versions.people"),
    t("versions.change"),
  ];
  const row = (one, i) =>
    h(
      "tr",
      {},
      h(
        "td",
        { "data-label": columns[0] },
        h("strong", {}, number(one.version)),
        i === 0 ? [" ", h("span", { class: "chip good" }, t("versions.current"))] : null,
      ),
      h("td", { "data-label": columns[1] }, moment(one.created)),
      h("td", { "data-label": columns[2] }, madeBy(one)),
      h("td", { class: "number", "data-label": columns[3] }, number(one.speakers)),
      h(
        "td",
        { "data-label": columns[4] },
        h(
          "div",
          { class: "actions" },
          versions[i + 1]
            ? button(t("versions.diff"), {
                kind: "small",
                onclick: () => attempt(() => showDiff(versions[i + 1].version, one.version)),
              })
            : null,
          may("admin") && i > 0
            ? button(t("versions.back"), {
                kind: "small",
                icon: "undo",
                onclick: () => attempt(() => undo(one.version)),
              })
            : null,
        ),
      ),
    );
  const redo =
    may("admin") && versions[0]?.restores
      ? h(
          "div",
          { class: "actions" },
          button(t("versions.redo"), { icon: "redo", kind: "small", onclick: () => attempt(redoIt) }),
        )
      : null;
  fill(list, table(columns, versions.map(row), { numbers: [3] }), redo, h("div", { id: "diff" }));
}

function madeBy(version) {
  if (version.restores) return t("versions.restores", { version: version.restores });
  if (version.source.startsWith("job ")) return t("versions.job");
  return change(version.source) ?? h("span", { lang: "en" }, version.source);
}

async function showDiff(before, after) {
  const diff = await get(bankPath(view.bank, "diff"), { before, after });
  const parts = [
    ...diff.added.map((name) => t("diff.added", { name })),
    ...diff.removed.map((name) => t("diff.removed", { name })),
    ...diff.renamed.map(([from, to]) => t("diff.renamed", { from, to })),
    ...diff.changed.map((one) =>
      t("diff.changed", {
        name: one.label,
        before: one.count_before,
        after: one.count_after,
        cosine: score(one.cosine),
      }),
    ),
  ];
  const box = byId("diff");
  fill(
    box,
    h("h3", { tabindex: -1 }, t("diff.title", { before, after })),
    parts.length
      ? h(
          "ul",
          { class: "diff" },
          parts.map((text) => h("li", {}, text)),
        )
      : h("p", {}, t("diff.none")),
  );
  box.querySelector("h3").focus();
}

export async function undo(version) {
  const answer = await call("POST", bankPath(view.bank, "rollback"), { json: version ? { version } : {} });
  view.open = null;
  view.checked = null;
  await load();
  showGood(
    notices,
    t("versions.undone", { version: answer.version }),
    h(
      "div",
      { class: "actions" },
      button(t("versions.redo"), { kind: "small", icon: "redo", onclick: () => attempt(redoIt) }),
    ),
  );
}

async function redoIt() {
  const answer = await call("POST", bankPath(view.bank, "redo"));
  await load();
  showGood(notices, t("versions.redone", { version: answer.version }));
}
