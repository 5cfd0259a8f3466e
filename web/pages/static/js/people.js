// People: banks, their people and clips, who would not be recognised, changes, versions with diff and undo.

import { bankPath, call, get, jobError, may } from "./api.js";
import { enrollDemo } from "./demo.js";
import { base, button, byId, fill, h, icon, table } from "./dom.js";
import { follow } from "./follow.js";
import { confirm, empty, guard, notice, showGood } from "./notice.js";
import { own } from "./service.js";
import { showClips } from "./person.js";
import { duration, has, number, t } from "./text.js";
import { versionsCard } from "./versions.js";

const SHOWN = 200; // people in the table before the reader asks for all
const place = byId("people");
export const notices = byId("notices");
export const attempt = guard(notices);
export const view = {
  banks: [],
  active: "",
  bank: null,
  speakers: [],
  open: null,
  filter: "",
  all: false,
  checked: null,
};

export async function load(wanted = view.bank) {
  const answer = await get("/v1/banks");
  Object.assign(view, { banks: answer.banks, active: answer.active, warnings: answer.warnings });
  const names = answer.banks.map((bank) => bank.name);
  view.bank = names.includes(wanted) ? wanted : names.includes(answer.active) ? answer.active : (names[0] ?? null);
  view.speakers = view.bank ? (await get(bankPath(view.bank, "speakers"))).speakers : [];
  history.replaceState(null, "", view.bank ? `?bank=${encodeURIComponent(view.bank)}` : location.pathname);
  show();
}

const current = () => view.banks.find((bank) => bank.name === view.bank);
export const labels = () => view.speakers.map((one) => one.label);

function show() {
  place.setAttribute("aria-busy", "false");
  if (!view.bank) return showFirst();
  fill(
    place,
    view.warnings.map((text) => notice("warn", own(text))),
    bankButtons(),
    bankCard(),
    versionsCard(),
  );
}

function showFirst() {
  const steps = [];
  if (may("enroll")) {
    steps.push(h("a", { class: "button primary", href: `${base}/enroll` }, t("empty.enroll")));
    steps.push(button(t("demo.use"), { onclick: () => enrollDemo(place, () => load("demo")) }));
  }
  fill(place, empty(t("empty.title"), t(may("enroll") ? "people.empty" : "ask.empty.other"), steps));
}

// Banks

function bankButtons() {
  const each = view.banks.map((bank) =>
    h(
      "button",
      {
        class: "bank",
        type: "button",
        "aria-pressed": String(bank.name === view.bank),
        onclick: () => choose(bank.name),
      },
      h("strong", {}, bank.name),
      h(
        "span",
        { class: "small muted" },
        t("people.count", { count: bank.speakers }),
        bank.name === view.active ? ` · ${t("people.active")}` : "",
      ),
    ),
  );
  return h("div", { class: "banks", role: "group", "aria-label": t("people.banks") }, each);
}

async function choose(name) {
  Object.assign(view, { open: null, filter: "", all: false, checked: null });
  await attempt(() => load(name));
  document.querySelector('.bank[aria-pressed="true"]')?.focus();
}

function bankCard() {
  const bank = current();
  const actions = [button(t("people.check"), { kind: "small", icon: "question", onclick: () => attempt(check) })];
  if (may("admin") && bank.name !== view.active)
    actions.push(button(t("people.use"), { kind: "small", icon: "check", onclick: () => attempt(use) }));
  actions.push(
    h(
      "a",
      { class: "button small", href: `${base}${bankPath(bank.name, "export")}`, download: `${bank.name}.npz` },
      icon("download"),
      t("people.export"),
    ),
  );
  if (may("admin"))
    actions.push(
      button(t("people.delete_bank"), { kind: "small warn", icon: "trash", onclick: () => attempt(deleteBank) }),
    );
  const list = h("div", { id: "table" });
  const filter = h("input", {
    id: "filter",
    type: "search",
    value: view.filter,
    placeholder: t("people.filter"),
    "aria-label": t("people.filter"),
  });
  filter.addEventListener("input", () => {
    view.filter = filter.value;
    fill(list, peopleTable());
  });
  fill(list, peopleTable());
  return h(
    "section",
    { class: "card", "aria-labelledby": "bank-title" },
    h(
      "div",
      { class: "head" },
      h(
        "div",
        {},
        h("h2", { id: "bank-title" }, bank.name),
        h(
          "p",
          { class: "small muted" },
          t("people.about", { count: bank.speakers, version: bank.version, model: bank.model }),
        ),
      ),
      h("div", { class: "row" }, actions),
    ),
    h("div", { id: "checked" }, checkedNotice()),
    view.speakers.length > 8 ? h("div", { class: "field" }, filter) : null,
    view.speakers.length
      ? list
      : empty(
          t("people.none"),
          t("people.none.lead"),
          may("enroll")
            ? h(
                "a",
                { class: "button primary", href: `${base}/enroll?bank=${encodeURIComponent(bank.name)}` },
                t("empty.enroll"),
              )
            : null,
        ),
  );
}

async function use() {
  await call("PUT", "/v1/active", { json: { bank: view.bank } });
  await load();
  showGood(notices, t("people.used", { bank: view.bank }));
}

async function deleteBank() {
  const bank = current();
  const lines = [
    t("people.delete_bank.lead", { count: bank.speakers, versions: bank.versions.length }),
    t("no_way_back"),
  ];
  if (
    !(await confirm({
      title: t("people.delete_bank.title", { bank: bank.name }),
      lines,
      action: t("people.delete_bank.yes"),
    }))
  )
    return;
  const { warnings } = await call("DELETE", bankPath(bank.name));
  await load(null);
  showGood(
    notices,
    t("people.deleted_bank", { bank: bank.name }),
    warnings.map((text) => h("p", { class: "small" }, own(text))),
  );
}

// Who would not be recognised

async function check() {
  fill(byId("checked"), h("p", { class: "muted" }, t("people.checking")));
  try {
    let result = await get(bankPath(view.bank, "check"));
    if (result.job) {
      const job = await follow(result.job.id);
      if (job.error) throw jobError(job.error);
      result = job.result;
    }
    view.checked = new Map(result.speakers.map((one) => [one.speaker, one]));
  } finally {
    show();
  }
  byId("checked").firstChild?.focus?.();
}

function checkedNotice() {
  if (!view.checked) return null;
  const all = [...view.checked.values()];
  const doubtful = all.filter((one) => one.doubtful);
  const tried = all.filter((one) => one.clips);
  if (!tried.length) return notice("info", t("people.check.none"));
  if (!doubtful.length) return notice("good", t("people.check.good", { count: tried.length }));
  return notice(
    "warn",
    t("people.check.bad", { count: doubtful.length, of: tried.length }),
    h("p", { class: "small" }, t("people.check.cure")),
  );
}

function recognisedCell(label) {
  const one = view.checked.get(label);
  if (!one || !one.clips) return h("span", { class: "muted small" }, t("people.check.single"));
  const why =
    one.doubtful && one.reason
      ? h(
          "div",
          { class: "small muted" },
          has(`check.${one.reason}`) ? t(`check.${one.reason}`, { nearest: one.nearest ?? "" }) : one.reason,
        )
      : null;
  return h(
    "div",
    {},
    h(
      "span",
      { class: `chip ${one.doubtful ? "doubt" : "good"}` },
      icon(one.doubtful ? "warning" : "check"),
      t("people.check.of", { named: one.named, clips: one.clips }),
    ),
    why,
  );
}

// The table of people

function peopleTable() {
  const wanted = view.filter.toLocaleLowerCase();
  let rows = view.speakers.filter((one) => one.label.toLocaleLowerCase().includes(wanted));
  if (view.checked)
    rows = [...rows].sort(
      (a, b) => Number(view.checked.get(b.label)?.doubtful ?? 0) - Number(view.checked.get(a.label)?.doubtful ?? 0),
    );
  const more = view.all ? 0 : Math.max(0, rows.length - SHOWN);
  if (more) rows = rows.slice(0, SHOWN);
  const columns = [
    t("people.name"),
    t("people.recordings"),
    t("people.seconds"),
    ...(view.checked ? [t("people.recognised")] : []),
  ];
  return [
    rows.length ? null : h("p", { class: "muted" }, t("people.no_match")),
    rows.length
      ? table(
          columns,
          rows.map((one) => personRow(one, columns)),
          { numbers: [1, 2], narrow: !view.checked },
        )
      : null,
    more
      ? h(
          "div",
          { class: "actions center" },
          button(t("people.more", { count: more }), { onclick: () => ((view.all = true), show()) }),
        )
      : null,
  ];
}

function personRow(one, columns) {
  const open = view.open === one.label;
  const toggle = h(
    "button",
    {
      class: "plain",
      type: "button",
      "aria-expanded": String(open),
      onclick: () => openPerson(open ? null : one.label),
    },
    one.label,
  );
  const row = h(
    "tr",
    { class: open ? "open" : null },
    h("td", { "data-label": columns[0] }, toggle),
    h("td", { class: "number", "data-label": columns[1] }, number(one.recordings)),
    h("td", { class: "number", "data-label": columns[2] }, duration(one.seconds)),
    view.checked ? h("td", { "data-label": columns[3] }, recognisedCell(one.label)) : null,
  );
  if (!open) return [row];
  const inside = h("div", { class: "person", id: "person" }, h("p", { class: "muted" }, t("loading")));
  attempt(() => showClips(one.label, inside));
  return [row, h("tr", { class: "inside" }, h("td", { colspan: columns.length, "data-label": "" }, inside))];
}

function openPerson(label) {
  view.open = label;
  fill(byId("table"), peopleTable());
  document.querySelector('button[aria-expanded="true"]')?.focus();
}

attempt(() => load(new URLSearchParams(location.search).get("bank"))).then(
  () => view.bank === null && !notices.firstChild && showFirst(),
);
