// Jobs and health: what runs and what has ended, workers, models, queues, the audit log.

import { call, get, may } from "./api.js";
import { base, button, byId, fill, h, icon, table } from "./dom.js";
import { confirm, showError } from "./notice.js";
import { change, own } from "./service.js";
import { duration, has, moment, number, t } from "./text.js";

const REFRESH_MS = 3000;
const KINDS = ["identify", "verify", "compare", "vector", "enroll", "check", "timeline"];
const STATES = ["queued", "running", "succeeded", "partial", "failed", "canceled", "expired"];
const TONES = { succeeded: "good", running: "good", partial: "doubt", failed: "bad", expired: "bad" };
const SYMBOLS = {
  succeeded: "check",
  partial: "warning",
  failed: "warning",
  expired: "warning",
  canceled: "close",
  running: "jobs",
  queued: "info",
};
const notices = byId("notices");
const view = { jobs: [], next: null, open: null };

const kindName = (kind) => (has(`kind.${kind}`) ? t(`kind.${kind}`) : kind);

function start() {
  fill(
    byId("kind"),
    h("option", { value: "" }, t("jobs.any")),
    KINDS.map((one) => h("option", { value: one }, kindName(one))),
  );
  fill(
    byId("state"),
    h("option", { value: "" }, t("jobs.any")),
    STATES.map((one) => h("option", { value: one }, t(`state.${one}`))),
  );
  byId("kind").addEventListener("change", refresh);
  byId("state").addEventListener("change", refresh);
  refresh();
  setInterval(() => document.visibilityState === "visible" && !view.more && refresh(), REFRESH_MS);
}

async function refresh() {
  const tasks = [showJobs()];
  if (may("read")) tasks.push(showHealth());
  if (may("admin")) tasks.push(showAudit());
  const failed = (await Promise.allSettled(tasks)).find((one) => one.status === "rejected");
  if (failed) showError(notices, failed.reason);
  else notices.replaceChildren();
}

// Health

async function showHealth() {
  const [{ workers }, { models }, { queues }] = await Promise.all([
    get("/v1/workers"),
    get("/v1/models"),
    get("/v1/queues"),
  ]);
  const warm = workers.some((one) => one.warm);
  const waiting = queues.reduce((sum, one) => sum + one.waiting, 0);
  const tile = (label, value, below, tone, text) =>
    h(
      "div",
      { class: "tile" },
      h("div", { class: "small muted" }, label),
      h(
        "div",
        { class: `value numbers ${text ? "text" : ""}` },
        tone ? h("span", { class: `dot ${tone}` }) : null,
        value,
      ),
      h("div", { class: "small muted" }, below),
    );
  update(
    byId("health"),
    tile(
      t("jobs.service"),
      t(warm ? "jobs.ready" : "jobs.not_ready"),
      t(warm ? "jobs.ready.lead" : "jobs.not_ready.lead"),
      warm ? "good" : "bad",
    ),
    tile(
      t("jobs.workers"),
      number(workers.length),
      workers
        .map((one) => one.host)
        .filter((one, i, all) => all.indexOf(one) === i)
        .join(", "),
    ),
    tile(
      t("jobs.waiting"),
      number(waiting),
      queues.map((one) => `${t(`queue.${one.name}`)} ${number(one.waiting)}`).join(" · "),
    ),
    tile(
      t("jobs.model"),
      models.map((one) => one.id.replace(/-[0-9a-f]{12}$/, "")).join(", ") || "–",
      models.map((one) => `${one.devices.join(", ")} · ${one.precisions.join(", ")}`).join("; "),
      null,
    ),
  );
  byId("workers-card").hidden = !workers.length;
  const columns = [
    t("worker.name"),
    t("worker.device"),
    t("worker.model"),
    t("worker.queues"),
    t("worker.calls"),
    t("worker.since"),
  ];
  const row = (one) =>
    h(
      "tr",
      {},
      h("td", { "data-label": columns[0] }, `${one.host} · ${one.pid}`),
      h("td", { "data-label": columns[1] }, `${one.device} · ${one.runtime} · ${one.precision}`),
      h("td", { "data-label": columns[2], class: "mono" }, one.model),
      h("td", { "data-label": columns[3] }, one.queues.map((name) => t(`queue.${name}`)).join(", ")),
      h("td", { class: "number", "data-label": columns[4] }, number(one.network.requests ?? 0)),
      h("td", { "data-label": columns[5] }, moment(1000 * one.started)),
    );
  update(byId("workers"), table(columns, workers.map(row), { numbers: [4] }));
}

// Jobs

async function showJobs() {
  const { jobs, next } = await get("/v1/jobs", { kind: byId("kind").value, state: byId("state").value, limit: 30, brief: true });
  Object.assign(view, { jobs, next });
  draw();
}

function draw() {
  const columns = [
    t("jobs.job"),
    t("jobs.state"),
    t("jobs.progress"),
    t("jobs.made"),
    t("jobs.took"),
    t("jobs.change"),
  ];
  if (!view.jobs.length) return update(byId("list"), h("p", { class: "muted" }, t("jobs.none")));
  const more =
    view.next && view.jobs.length >= 30
      ? h("div", { class: "actions center" }, button(t("jobs.more"), { id: "more", onclick: showMore }))
      : null;
  update(
    byId("list"),
    table(
      columns,
      view.jobs.map((job) => jobRow(job, columns)),
      [4],
    ),
    more,
  );
}

async function showMore() {
  view.more = true; // the list stands still from now on
  const { jobs, next } = await get("/v1/jobs", {
    kind: byId("kind").value,
    state: byId("state").value,
    limit: 30,
    brief: true,
    before: view.next,
  });
  Object.assign(view, { jobs: [...view.jobs, ...jobs], next });
  draw();
}

function jobRow(job, columns) {
  const { total, done, failed, per_second: pace, seconds_left: left } = job.progress;
  const share = total ? (100 * (done + failed)) / total : 0;
  const what = [
    job.about.bank ? t("jobs.bank", { name: job.about.bank }) : "",
    job.about.source && job.about.source !== "upload" ? job.about.source : "",
  ]
    .filter(Boolean)
    .join(" · ");
  const running = ["queued", "running"].includes(job.state);
  const took = job.started ? (new Date(job.finished ?? Date.now()) - new Date(job.started)) / 1000 : null;
  const actions = [];
  if (running && (may("recognize") || may("enroll")))
    actions.push(button(t("jobs.cancel"), { kind: "small", icon: "close", onclick: () => cancel(job) }));
  if (job.kind === "enroll" && !running)
    actions.push(
      h(
        "a",
        { class: "button small", href: `${base}/v1/jobs/${job.id}/report?format=csv`, download: true },
        icon("download"),
        t("jobs.report"),
      ),
    );
  if (job.kind === "timeline" && job.state === "succeeded" && may("recognize"))
    actions.push(h("a", { class: "button small", href: `${base}/meetings?job=${job.id}` }, icon("meetings"), t("jobs.open")));
  const error = job.error ? h("div", { class: "small muted" }, own(job.error.message)) : null;
  return h(
    "tr",
    {},
    h(
      "td",
      { "data-label": columns[0] },
      h("strong", {}, kindName(job.kind)),
      what ? h("div", { class: "small muted" }, what) : null,
      error,
    ),
    h(
      "td",
      { "data-label": columns[1] },
      h("span", { class: `chip ${TONES[job.state] ?? ""}` }, icon(SYMBOLS[job.state]), t(`state.${job.state}`)),
    ),
    h(
      "td",
      { "data-label": columns[2] },
      total
        ? h(
            "div",
            { class: "numbers small" },
            job.kind === "timeline"
              ? t("meetings.progress", { done: duration(done), total: duration(total) })
              : t("enroll.progress", { done: done + failed, total }),
            running && left
              ? ` · ${t("enroll.left", { time: duration(left) })}`
              : pace && job.kind !== "timeline"
                ? ` · ${t("enroll.pace", { n: number(pace, 1) })}`
                : "",
            running ? h("div", { class: "progress mini" }, h("div", { style: { width: `${share}%` } })) : null,
          )
        : "–",
    ),
    h("td", { class: "tight", "data-label": columns[3] }, moment(job.created)),
    h("td", { class: "number", "data-label": columns[4] }, took === null ? "–" : duration(took)),
    h("td", { "data-label": columns[5] }, actions.length ? h("div", { class: "actions" }, actions) : "–"),
  );
}

async function cancel(job) {
  if (!(await confirm({ title: t("jobs.cancel.title"), lines: [t("jobs.cancel.lead")], action: t("jobs.cancel.yes") })))
    return;
  try {
    await call("DELETE", `/v1/jobs/${job.id}`);
    await refresh();
  } catch (error) {
    showError(notices, error);
  }
}

// The audit log

async function showAudit() {
  byId("audit-card").hidden = false;
  const { entries } = await get("/v1/audit", { limit: 30 });
  if (!entries.length) return update(byId("audit"), h("p", { class: "muted" }, t("jobs.audit.none")));
  const columns = [t("audit.when"), t("audit.who"), t("audit.what"), t("audit.bank"), t("audit.status")];
  const row = (one) =>
    h(
      "tr",
      {},
      h("td", { class: "tight", "data-label": columns[0] }, moment(one.when)),
      h("td", { "data-label": columns[1] }, whoChanged(one.who)),
      h("td", { "data-label": columns[2] }, whatChanged(decoded(one.what))),
      h("td", { class: "tight", "data-label": columns[3] }, one.bank || "–"),
      h(
        "td",
        { "data-label": columns[4] },
        h(
          "span",
          { class: `chip ${one.status < 400 ? "good" : "bad"}` },
          icon(one.status < 400 ? "check" : "warning"),
          t(one.status < 400 ? "audit.done" : "audit.refused"),
        ),
      ),
    );
  update(byId("audit"), table(columns, entries.map(row)));
}

function whoChanged(who) {
  if (who.startsWith("job:")) return t("audit.job");
  return who === "anyone" ? t("audit.anyone") : who;
}

/** What was done, in words; how it was asked for stands in the title. */
function whatChanged(entry) {
  const text = change(entry);
  return text === null ? h("span", { lang: "en" }, entry) : h("span", { title: entry }, text);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// Helpers

/** Fill a place unless nothing has changed; what had the focus has it afterwards too. */
function update(place, ...children) {
  const made = fill(h("div", {}), ...children);
  if (made.innerHTML === place.innerHTML) return;
  const controls = () => [...place.querySelectorAll("button, a")];
  const focused = controls().indexOf(document.activeElement);
  place.replaceChildren(...made.childNodes);
  if (focused >= 0) controls()[focused]?.focus();
}

start();
