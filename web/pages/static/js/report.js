// The report of an enrollment: what became of each recording, and what was left out again.

import { get, jobError, may } from "./api.js";
import { base, button, byId, fill, h, icon, say, table } from "./dom.js";
import { confirm, errorNotice, notice } from "./notice.js";
import { own } from "./service.js";
import { duration, number, t } from "./text.js";

const SHOWN = 200; // outcomes in the table; the download has all

/** Show the report of a job that has ended; `again` enrolls the same source once more, with other options. */
export async function showReport(job, view, again) {
  const rows = await get(`/v1/jobs/${job.id}/report`);
  rows.sort((a, b) => Number(a.outcome === "enrolled") - Number(b.outcome === "enrolled")); // what needs a look comes first
  byId("step-run").hidden = true;
  byId("step-report").hidden = false;
  const counts = {};
  for (const row of rows) counts[row.outcome] = (counts[row.outcome] ?? 0) + 1;
  const left = rows.filter(
    (row) => !["enrolled", "not_audio", "hidden", "misplaced", "header", "duplicate"].includes(row.outcome),
  );
  const filter = h(
    "select",
    { id: "outcome" },
    h("option", { value: "" }, t("report.all", { count: rows.length })),
    Object.entries(counts).map(([name, count]) =>
      h("option", { value: name }, `${t(`outcome.${name}`)} (${number(count)})`),
    ),
  );
  const search = h("input", {
    type: "search",
    id: "who",
    placeholder: t("report.search"),
    "aria-label": t("report.search"),
  });
  const list = h("div", {});
  const show = () => {
    const text = search.value.toLocaleLowerCase();
    fill(
      list,
      outcomes(
        rows.filter(
          (row) =>
            (!filter.value || row.outcome === filter.value) &&
            `${row.speaker} ${row.row} ${row.path}`.toLocaleLowerCase().includes(text),
        ),
      ),
    );
  };
  filter.addEventListener("change", show);
  search.addEventListener("input", show);
  show();
  const actions = h(
    "div",
    { class: "actions" },
    job.result && may("read") && !job.result.dry_run && job.state !== "canceled"
      ? h(
          "a",
          { class: "button primary", href: `${base}/people?bank=${encodeURIComponent(view.bank)}` },
          icon("people"),
          t("report.people"),
        )
      : null,
    may("recognize") && job.result
      ? h(
          "a",
          { class: "button", href: `${base}/ask?bank=${encodeURIComponent(view.bank)}` },
          icon("ask"),
          t("report.ask"),
        )
      : null,
    rows.length
      ? h(
          "a",
          { class: "button", href: `${base}/v1/jobs/${job.id}/report?format=csv`, download: `report-${view.bank}.csv` },
          icon("download"),
          t("report.excel"),
        )
      : null,
    left.length
      ? button(t("report.force", { count: left.length }), { kind: "warn", onclick: () => force(left, again) })
      : null,
  );
  fill(
    byId("report"),
    verdict(job, view.bank, counts.enrolled ?? 0),
    (job.result?.warnings ?? []).map((text) => notice("warn", own(text))),
    actions,
    rows.length
      ? h(
          "div",
          { class: "row spaced" },
          h("div", { class: "field grow" }, search),
          h("div", { class: "field inline" }, h("label", { for: "outcome" }, t("report.outcome")), filter),
        )
      : null,
    rows.length ? list : null,
  );
  byId("report-title").focus();
  say(t(`state.${job.state}`));
}

function verdict(job, bank, enrolled) {
  const people = job.result?.speakers ?? 0;
  if (job.error) return errorNotice(jobError(job.error));
  if (job.state === "canceled") return notice("info", t("report.canceled"));
  if (job.about.dry_run) return notice("info", t("report.trial", { count: enrolled, people }));
  const without = job.result?.speakers_without ?? [];
  if (without.length) return notice("warn", t("report.partial", { count: enrolled, people: without.join(", ") }));
  return notice("good", t("report.done", { count: enrolled, people, bank, version: job.result?.version ?? "" }));
}

/** A table of outcomes. */
export function outcomes(rows) {
  const columns = [t("people.name"), t("report.recording"), t("report.outcome"), t("report.why"), t("people.seconds")];
  const shown = rows.slice(0, SHOWN);
  const good = (name) =>
    name === "enrolled" ? "good" : ["not_audio", "hidden", "header", "duplicate"].includes(name) ? "" : "doubt";
  const row = (one) =>
    h(
      "tr",
      {},
      h("td", { "data-label": columns[0] }, one.speaker || "–"),
      h("td", { "data-label": columns[1] }, own(one.row || one.path)),
      h(
        "td",
        { "data-label": columns[2] },
        h(
          "span",
          { class: `chip ${good(one.outcome)}` },
          icon(one.outcome === "enrolled" ? "check" : "info"),
          t(`outcome.${one.outcome}`),
        ),
      ),
      h("td", { "data-label": columns[3], class: "small" }, one.message ? own(one.message) : "–"),
      h("td", { class: "number", "data-label": columns[4] }, one.seconds ? duration(one.seconds) : "–"),
    );
  const rest = rows.length - shown.length;
  return [
    table(columns, shown.map(row), { numbers: [4] }),
    rest > 0 ? h("p", { class: "muted" }, t("report.more", { count: rest })) : null,
  ];
}

/** Enroll again with the gates open; what is in the bank already is not counted twice. */
async function force(left, again) {
  const reasons = Object.entries(
    left.reduce((sum, row) => ({ ...sum, [row.outcome]: (sum[row.outcome] ?? 0) + 1 }), {}),
  );
  const list = h(
    "ul",
    {},
    reasons.map(([name, count]) => h("li", {}, `${t(`outcome.${name}`)}: ${number(count)}`)),
  );
  const lines = [t("report.force.lead"), list, t("report.force.risk")];
  if (
    !(await confirm({
      title: t("report.force.title", { count: left.length }),
      lines,
      action: t("report.force.yes"),
      kind: "primary",
    }))
  )
    return;
  await again({ force: true });
}
