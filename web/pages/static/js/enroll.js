// Enrol: a folder, zip, workbook or table; a preview; progress; the report; what was left out, again.

import { bankPath, call, get, may } from "./api.js";
import { base, byId, fill, h, icon, onDrop, table } from "./dom.js";
import { follow } from "./follow.js";
import { ask, notice, showError } from "./notice.js";
import { progressBar } from "./progress.js";
import { outcomes, showReport } from "./report.js";
import { own } from "./service.js";
import { duration, number, t } from "./text.js";
import { zip } from "./zip.js";

const LISTS = /\.(xlsx|xlsm|xls|csv|tsv|json)$/i;
const WORKBOOKS = /\.(xlsx|xlsm|xls)$/i;
const ARCHIVES = /\.(zip|tar|tgz|tbz2|txz|tar\.(gz|bz2|xz))$/i;
const OTHER_TYPES = /^(text|image|application\/(pdf|msword|vnd\.(openxmlformats|ms-)))/; // no recording is of these
const BEGINNING = 4096; // bytes of a recording that a preview is sent
const SHOWN = 200;
const notices = byId("notices");
const view = { source: null, bank: "", mode: "add", job: null };

function start() {
  onDrop(byId("drop"), async (transfer) => take(await dropped(transfer)));
  byId("choose-folder").addEventListener("click", () => byId("folder").click());
  byId("choose-files").addEventListener("click", () => byId("files").click());
  byId("use-demo").addEventListener("click", useDemo);
  for (const id of ["folder", "files"]) {
    byId(id).addEventListener("change", ({ target }) => {
      take(chosen(target.files));
      target.value = ""; // so that the same can be chosen again
    });
  }
  byId("path-form").addEventListener("submit", (event) => {
    event.preventDefault();
    view.options = null;
    const path = byId("path").value.trim();
    look({ path, workbook: WORKBOOKS.test(path) });
  });
  view.bank = new URLSearchParams(location.search).get("bank") ?? "";
}

// What was given: [{name: path below what was dropped, blob}]

const chosen = (files) => [...files].map((file) => ({ name: file.webkitRelativePath || file.name, blob: file }));

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return chosen(transfer.files);
  const files = [];
  for (const entry of entries) await walk(entry, "", files);
  return files;
}

async function walk(entry, above, files) {
  const name = above + entry.name;
  if (entry.isFile)
    return files.push({ name, blob: await new Promise((resolve, reject) => entry.file(resolve, reject)) });
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const one of some) await walk(one, `${name}/`, files);
  }
}

/** Without hidden files, and without the one folder that all lie in: its folders are the people. */
function tidy(files) {
  let kept = files.filter(({ name }) => !name.split("/").some((part) => part.startsWith(".") || part === "__MACOSX"));
  const top = kept[0]?.name.split("/")[0];
  const nested = kept.length && kept.every(({ name }) => name.startsWith(`${top}/`) && name.split("/").length > 2);
  const listed =
    kept.some(({ name }) => name.split("/").length === 2 && LISTS.test(name)) &&
    kept.every(({ name }) => name.startsWith(`${top}/`));
  if (nested || listed) kept = kept.map(({ name, blob }) => ({ name: name.slice(top.length + 1), blob }));
  return kept;
}

async function take(given) {
  let files = tidy(given);
  if (!files.length) return;
  notices.replaceChildren();
  view.options = null;
  if (files.length === 1 && ARCHIVES.test(files[0].name))
    return look({ archive: files[0].blob, whole: files[0].blob, name: files[0].name });
  if (files.every(({ name }) => LISTS.test(name)))
    return showError(notices, new Error(t("enroll.list_alone", { name: files[0].name })));
  if (files.every(({ blob }) => OTHER_TYPES.test(blob.type)))
    return showError(notices, new Error(t("enroll.no_recordings")));
  if (files.some(({ name }) => !name.includes("/")) && !files.some(({ name }) => LISTS.test(name))) {
    files = await ofOnePerson(files);
    if (!files) return;
  }
  const beginnings = files.map(({ name, blob }) => ({
    name,
    blob: LISTS.test(name) ? blob : blob.slice(0, BEGINNING),
  }));
  await look({
    archive: await zip(beginnings),
    files,
    workbook: files.some(({ name }) => WORKBOOKS.test(name) && !name.includes("/")),
  });
}

/** Files that lie in nobody's folder as those of one person, whom the reader names; null if they are not. */
async function ofOnePerson(files) {
  if (files.some(({ name }) => name.includes("/"))) return void showError(notices, new Error(t("enroll.loose")));
  const name = await ask({
    title: t("enroll.whose.title"),
    lines: [t("enroll.whose.lead", { count: files.length })],
    label: t("people.name"),
    action: t("enroll.look"),
  });
  const folder = name?.replaceAll("/", "／");
  return name === null ? null : files.map((file) => ({ ...file, name: `${folder}/${file.name}` }));
}

async function useDemo() {
  const response = await fetch(`${base}/pages/demo.zip`);
  const blob = await response.blob();
  view.bank ||= "demo";
  await look({ archive: blob, whole: blob, name: "demo" });
}

/** A request's body for the source: the path, or the archive with how to read it. */
function request(source, archive) {
  const options = view.options ?? {};
  if (source.path) return { json: { path: source.path, options } };
  if (!Object.keys(options).length) return { body: archive, type: "application/zip" };
  const body = new FormData();
  body.set("archive", archive, "archive.zip");
  body.set("options", JSON.stringify(options));
  return { body };
}

// The preview

async function look(source) {
  notices.replaceChildren();
  view.source = source;
  for (const id of ["step-run", "step-report"]) byId(id).hidden = true;
  byId("step-preview").hidden = false;
  fill(byId("preview"), h("p", { class: "muted" }, t("enroll.reading")));
  try {
    await showPreview(await call("POST", "/v1/enrollments/preview", request(source, source.archive)));
  } catch (error) {
    if (source.path && error.code === "not_found") return showPreview(null);
    showError(notices, error);
    byId("step-preview").hidden = !source.workbook;
    fill(byId("preview"), source.workbook ? layoutForm() : null);
  }
}

/** Where a workbook holds what, for those that are laid out otherwise than usual. */
function layoutForm() {
  const fields = { recording: "A", speaker: "F", pattern: "{root}/{sheet}/wav/{recording}.wav", skip_last: "2" };
  const inputs = Object.entries(fields).map(([name, usual]) => {
    const input = h("input", {
      id: `layout-${name}`,
      name,
      value: String(view.options?.[name] ?? usual),
      autocomplete: "off",
      spellcheck: "false",
    });
    return h(
      "div",
      { class: name === "pattern" ? "field grow" : "field" },
      h("label", { for: input.id }, t(`layout.${name}`)),
      input,
    );
  });
  const form = h("form", { class: "row" }, inputs, h("button", { class: "button" }, t("layout.again")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const { recording, speaker, pattern, skip_last: last } = Object.fromEntries(new FormData(form));
    view.options = { recording, speaker, pattern, skip_last: Number(last) || 0 };
    look(view.source);
  });
  return h(
    "details",
    { class: "more", open: Boolean(view.options) },
    h("summary", {}, t("layout.title")),
    h("p", { class: "small muted" }, t("layout.lead")),
    form,
  );
}

async function showPreview(preview) {
  const banks = may("read") ? (await get("/v1/banks")).banks.map((bank) => bank.name) : [];
  const bank = h("input", {
    id: "bank",
    required: true,
    maxlength: 120,
    list: "banks",
    value: view.bank || banks.find((name) => name !== "demo") || t("enroll.bank.first"),
    autocomplete: "off",
  });
  const modes = ["add", "replace", "create"].map((mode) =>
    h(
      "label",
      { class: "choice" },
      h("input", { type: "radio", name: "mode", value: mode, checked: mode === view.mode }),
      h("span", {}, t(`enroll.mode.${mode}`)),
    ),
  );
  const trial = h("input", { type: "checkbox", id: "trial" });
  const count = preview?.recordings ?? 0;
  const go = h(
    "button",
    { class: "button primary", disabled: preview !== null && !count },
    icon("enroll"),
    preview ? t("enroll.go", { count, people: preview.speakers.length }) : t("enroll.go_unseen"),
  );
  const form = h(
    "form",
    {},
    h(
      "div",
      { class: "field" },
      h("label", { for: "bank" }, t("enroll.bank")),
      bank,
      h("p", { class: "small muted" }, t("enroll.bank.hint")),
      h(
        "datalist",
        { id: "banks" },
        banks.map((name) => h("option", { value: name })),
      ),
    ),
    h("fieldset", {}, h("legend", {}, t("enroll.mode")), modes),
    h("label", { class: "choice" }, trial, h("span", {}, t("enroll.trial"))),
    h("div", { class: "actions" }, go),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    view.bank = bank.value.trim();
    view.mode = form.elements.mode.value;
    run({ dry_run: trial.checked });
  });
  fill(
    byId("preview"),
    preview ? previewTables(preview) : notice("info", t("enroll.unseen")),
    view.source.workbook ? layoutForm() : null,
    form,
  );
  byId("preview-title").focus();
}

function previewTables(preview) {
  const sheets = [...new Set(preview.speakers.flatMap((one) => Object.keys(one.sheets)))];
  const columns = [t("people.name"), ...sheets.map((name) => t("enroll.sheet", { name })), t("people.recordings")];
  const row = (one) =>
    h(
      "tr",
      {},
      h("td", { "data-label": columns[0] }, one.speaker),
      sheets.map((name, i) =>
        h("td", { class: "number", "data-label": columns[1 + i] }, one.sheets[name] ? number(one.sheets[name]) : "–"),
      ),
      h(
        "td",
        { class: "number", "data-label": columns.at(-1) },
        one.recordings ? number(one.recordings) : h("span", { class: "chip doubt" }, icon("warning"), t("enroll.none")),
      ),
    );
  const shown = preview.speakers.slice(0, SHOWN);
  const rest = preview.speakers.length - shown.length;
  const serious = preview.skipped.filter((one) => !["not_audio", "hidden", "header"].includes(one.outcome));
  const headers = preview.skipped.filter((one) => one.outcome === "header");
  return [
    h("p", { class: "lead" }, t("enroll.summary", { people: preview.speakers.length, count: preview.recordings })),
    headers.map((one) => notice("info", own(one.message), h("p", { class: "small muted" }, own(one.row)))),
    table(columns, shown.map(row), { numbers: columns.map((_, i) => i).slice(1), narrow: !sheets.length }),
    rest ? h("p", { class: "muted" }, t("people.more", { count: rest })) : null,
    serious.length ? notice("warn", t("enroll.left_before", { count: serious.length })) : null,
    preview.left_out
      ? h(
          "details",
          { class: "more" },
          h("summary", {}, t("enroll.left_list", { count: preview.left_out })),
          outcomes(preview.skipped.filter((one) => one.outcome !== "header")),
        )
      : null,
  ];
}

// The run

async function run(options) {
  notices.replaceChildren();
  byId("step-run").hidden = false;
  byId("step-preview").hidden = byId("step-report").hidden = true;
  const { parts, move, cancel } = progressBar(t("enroll.sending"));
  fill(byId("run"), parts);
  byId("run-title").focus();
  try {
    const { path, files, whole } = view.source;
    const query = {
      mode: view.mode,
      ...(options.dry_run ? { dry_run: true } : {}),
      ...(options.force ? { force: true } : {}),
    };
    const sent = request(view.source, path ? null : (whole ?? (await zip(files))));
    const { job } = await call("POST", bankPath(view.bank, "enrollments"), { query, ...sent });
    cancel.disabled = false;
    cancel.addEventListener("click", () =>
      call("DELETE", `/v1/jobs/${job.id}`).catch((error) => showError(notices, error)),
    );
    const done = await follow(job.id, (now) => moved(now, move));
    cancel.remove();
    await showReport(done, view, (more) => {
      view.mode = view.mode === "create" ? "add" : view.mode; // the bank is there by now
      return run(more);
    });
  } catch (error) {
    byId("step-run").hidden = true;
    byId("step-preview").hidden = false;
    showError(notices, error);
  }
}

function moved(job, move) {
  const { total, done, failed, per_second: pace, seconds_left: left } = job.progress;
  const parts = [total ? t("enroll.progress", { done: done + failed, total }) : t(`state.${job.state}`)];
  if (pace && !job.finished) parts.push(t("enroll.pace", { n: number(pace, 1) }));
  if (left && !job.finished) parts.push(t("enroll.left", { time: duration(left) }));
  move(total ? (done + failed) / total : 0, parts);
}

start();
