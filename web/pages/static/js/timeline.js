// A meeting's timeline: lanes, listening, names, corrections, enrolling from it.

import WaveSurfer from "../vendor/wavesurfer.js/wavesurfer.js";
import { call, get, may } from "./api.js";
import { base, button, byId, fill, h, icon, table } from "./dom.js";
import { attempt, notices } from "./meetings.js";
import { ask, notice, showGood } from "./notice.js";
import { own } from "./service.js";
import { nameOf } from "./past.js";
import { duration, number, percent, score, t } from "./text.js";
import { options } from "./wave.js";

const COLOURS = 8; // then they begin again; names stand beside them
const SHOWN = 300; // turns in the table before the reader asks for all
const MARK = 60; // pixels that a time on the ruler needs
const FORMS = ["rttm", "srt", "vtt", "json", "png"];
const place = byId("timeline");
const LONGEST_WAVE = 3600; // seconds of a recording whose waveform is drawn: its samples lie in the browser's memory
const WAVE_HEIGHT = 40;
const PEAKS = 8000; // points of a waveform that are kept for drawing it again
const view = { job: null, timeline: null, sound: null, wave: null, peaks: null, zoom: 1, all: false, ends: null };
const files = new Map(); // the recordings that were chosen here, by job

/** Show the timeline of a job. */
export async function open(job) {
  if (job !== view.job) Object.assign(view, { zoom: 1, all: false });
  view.job = job;
  silence();
  if (files.has(job)) listenTo(files.get(job));
  view.timeline = await get(`/v1/timelines/${job}`);
  history.replaceState(null, "", `?job=${job}`);
  show();
  byId("timeline-title").focus();
}

const names = () => view.timeline.speakers.map((one) => one.speaker);
const colourOf = (speaker) => `voice-${Math.max(0, names().indexOf(speaker)) % COLOURS}`;
const clock = (seconds) => {
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return parts
    .slice(parts[0] ? 0 : 1)
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
};

function show() {
  const { timeline } = view;
  place.hidden = false;
  fill(
    place,
    h(
      "div",
      { class: "card" },
      h("div", { class: "head" }, h("h2", { id: "timeline-title", tabindex: -1 }, t("meetings.who")), downloads()),
      nameOf(view.job) ? h("p", {}, h("strong", {}, nameOf(view.job))) : null,
      h(
        "p",
        { class: "muted" },
        t(timeline.turns.length ? "meetings.summary" : "meetings.silent", {
          count: timeline.speakers.length,
          seconds: duration(timeline.seconds),
          speech: duration(timeline.speech_seconds),
          overlap: duration(timeline.overlap_seconds),
        }),
      ),
      timeline.warnings.map((text) => notice("warn", own(text))),
      timeline.damaged ? notice("warn", t("ask.damaged", { seconds: duration(timeline.seconds_lost) })) : null,
      timeline.turns.length ? [lanes(), listening()] : null,
    ),
    timeline.turns.length ? [voicesCard(), turnsCard()] : null,
  );
}

const voicesCard = () =>
  h(
    "div",
    { class: "card" },
    h(
      "div",
      { class: "head" },
      h("h2", {}, t("meetings.voices")),
      view.timeline.revision
        ? button(t("meetings.undo"), {
            kind: "small",
            icon: "undo",
            onclick: () => attempt(() => correct({ action: "undo" }, t("meetings.undone"))),
          })
        : null,
    ),
    voices(),
  );

const turnsCard = () =>
  h("div", { class: "card" }, h("h2", {}, t("meetings.turns")), h("div", { id: "turns" }, turns()));

function downloads() {
  const link = (form) =>
    h(
      "a",
      { class: "button small", href: `${base}/v1/timelines/${view.job}?format=${form}`, download: `meeting.${form}` },
      form.toUpperCase(),
    );
  return h(
    "div",
    { class: "row middle", role: "group", "aria-label": t("meetings.download") },
    icon("download"),
    FORMS.map(link),
  );
}

/** A lane a person: turns by time, to be clicked. The table of turns says the same to those who do not see it. */
function lanes() {
  const { timeline } = view;
  const at = (seconds) => `${(100 * seconds) / timeline.seconds}%`;
  const step =
    [1, 5, 10, 30, 60, 300, 600, 1800].find(
      (one) => (timeline.seconds / one) * MARK <= view.zoom * Math.min(850, innerWidth - 170),
    ) ?? 3600;
  const marks = Array.from({ length: Math.floor(timeline.seconds / step) + 1 }, (_, i) =>
    h("span", { style: { left: at(i * step) } }, clock(i * step)),
  );
  const lane = (speaker) =>
    h(
      "div",
      { class: "lane" },
      timeline.turns
        .filter((turn) => turn.speaker === speaker)
        .map((turn) =>
          h(
            "div",
            {
              class: `turn ${colourOf(speaker)} ${turn.overlap ? "overlap" : ""}`,
              style: { left: at(turn.start), width: at(turn.end - turn.start) },
              title: `${speaker} ${clock(turn.start)}–${clock(turn.end)}`,
              onclick: () => play(turn.start, turn.end),
            },
            h("span", {}, speaker),
          ),
        ),
    );
  const board = h(
    "div",
    { class: "board", style: { width: `${100 * view.zoom}%` } },
    h("div", { class: "marks" }, marks),
    names().map(lane),
    h("div", { class: "head-line", id: "playhead", hidden: !view.sound }),
  );
  const scroll = h(
    "div",
    { class: "lanes", role: "img", tabindex: 0, "aria-label": t("meetings.picture", { names: names().join(", ") }) },
    board,
  );
  const zoom = h("input", {
    id: "zoom",
    type: "range",
    min: 1,
    max: Math.max(4, Math.ceil(timeline.seconds / 30)),
    step: "any",
    value: view.zoom,
  });
  zoom.addEventListener("input", () => {
    const middle = (scroll.scrollLeft + scroll.clientWidth / 2) / board.offsetWidth;
    view.zoom = Number(zoom.value);
    board.style.width = `${100 * view.zoom}%`;
    scroll.scrollLeft = middle * board.offsetWidth - scroll.clientWidth / 2;
  });
  zoom.addEventListener("change", () => {
    const before = scroll.scrollLeft;
    const fresh = lanes();
    place.querySelector(".timeline-picture").replaceWith(fresh);
    fresh.querySelector(".lanes").scrollLeft = before;
    byId("zoom").focus();
  });
  drawWave(board);
  const label = (speaker) =>
    h(
      "div",
      { class: "lane-name", title: speaker },
      h("i", { class: `swatch ${colourOf(speaker)}` }),
      h("span", {}, speaker),
    );
  return h(
    "div",
    { class: "timeline-picture" },
    h(
      "div",
      { class: "picture" },
      h(
        "div",
        { class: "lane-names", "aria-hidden": "true" },
        h("div", { class: "marks" }),
        view.wave ? h("div", { class: "lane-wave" }) : null,
        names().map(label),
      ),
      scroll,
    ),
    h("div", { class: "field inline zoom" }, h("label", { for: "zoom" }, t("meetings.zoom")), zoom),
  );
}

// Listening

/** Remember the recording of a job, for its timeline to play. */
export const keep = (job, file) => files.set(job, file);

/** Have the turns of the timeline that is shown play from a file. */
function listenTo(file) {
  silence();
  const sound = h("audio", { controls: true, src: URL.createObjectURL(file), "aria-label": file.name });
  sound.addEventListener("timeupdate", () => {
    const line = byId("playhead");
    if (line && view.timeline) line.style.left = `${(100 * sound.currentTime) / view.timeline.seconds}%`;
    if (view.ends !== null && sound.currentTime >= view.ends) {
      sound.pause();
      view.ends = null;
    }
  });
  view.sound = sound;
}

/** Forget what plays. */
function silence() {
  view.wave?.destroy();
  view.sound?.pause();
  if (view.sound) URL.revokeObjectURL(view.sound.src);
  Object.assign(view, { sound: null, wave: null, peaks: null, ends: null });
}

/** The waveform over the lanes: a click plays from there. */
function drawWave(board) {
  view.wave?.destroy();
  view.wave = null;
  if (!view.sound || view.timeline.seconds > LONGEST_WAVE) return;
  const place = h("div", { class: "lane-wave", "aria-hidden": "true" });
  board.querySelector(".marks").after(place);
  const known = view.peaks ? { peaks: view.peaks, duration: view.timeline.seconds } : {};
  const wave = WaveSurfer.create({ ...options(place, WAVE_HEIGHT), media: view.sound, hideScrollbar: true, ...known });
  view.wave = wave;
  wave.on("decode", () => (view.peaks ??= wave.exportPeaks({ channels: 1, maxLength: PEAKS })));
  wave.on("interaction", () => {
    view.ends = null;
    view.sound.play();
  });
}

function listening() {
  const kept = h("p", { class: "small muted" }, t("meetings.listen.why"));
  if (view.sound) return [h("div", { class: "actions" }, view.sound), kept];
  const input = h("input", {
    type: "file",
    id: "again",
    class: "unseen",
    accept: "audio/*,video/*",
    tabindex: -1,
    "aria-label": t("meetings.listen"),
  });
  input.addEventListener("change", () => {
    if (!input.files[0]) return;
    keep(view.job, input.files[0]);
    listenTo(input.files[0]);
    show();
  });
  return h(
    "div",
    { class: "actions" },
    button(t("meetings.listen"), { icon: "play", kind: "small", onclick: () => input.click() }),
    input,
    kept,
  );
}

function play(from, to) {
  if (!view.sound) return byId("again").click();
  view.ends = to;
  view.sound.currentTime = from;
  view.sound.play();
}

// Voices: a name, one person of two, into a bank

function voices() {
  const { timeline } = view;
  const columns = [
    t("people.name"),
    t("meetings.spoke"),
    t("meetings.turn_count"),
    t("meetings.sure"),
    t("clip.change"),
  ];
  const row = (one) => {
    const actions = [
      button(t("meetings.name"), {
        kind: "small",
        icon: "edit",
        "aria-label": t("meetings.name_label", { name: one.speaker }),
        onclick: () => attempt(() => nameIt(one)),
      }),
    ];
    if (timeline.speakers.length > 1)
      actions.push(
        button(t("people.merge"), {
          kind: "small",
          icon: "merge",
          "aria-label": t("meetings.merge_label", { name: one.speaker }),
          onclick: () => attempt(() => merge(one)),
        }),
      );
    if (may("enroll"))
      actions.push(
        button(t("meetings.enroll"), {
          kind: "small",
          icon: "plus",
          "aria-label": t("meetings.enroll_label", { name: one.speaker }),
          onclick: () => attempt(() => enroll(one)),
        }),
      );
    const share = timeline.speech_seconds ? percent(Math.min(1, one.seconds / timeline.speech_seconds)) : "–";
    const best = one.candidates[0];
    const enrolment = one.enrolled
      ? h(
          "span",
          { class: "chip good" },
          icon("check"),
          one.probability === null ? score(one.score) : percent(one.probability),
        )
      : [
          h("span", { class: "chip" }, icon("nobody"), t("meetings.unknown")),
          best
            ? h(
                "div",
                { class: "small muted" },
                t("meetings.nearest", {
                  name: best.speaker,
                  score: score(best.score),
                  threshold: score(one.threshold),
                }),
              )
            : null,
        ];
    return h(
      "tr",
      {},
      h(
        "td",
        { "data-label": columns[0] },
        h(
          "span",
          { class: "voice" },
          h("i", { class: `swatch ${colourOf(one.speaker)}` }),
          h("strong", {}, one.speaker),
        ),
      ),
      h("td", { class: "number", "data-label": columns[1] }, `${duration(one.seconds)} · ${share}`),
      h("td", { class: "number", "data-label": columns[2] }, number(one.turns)),
      h("td", { "data-label": columns[3] }, h("div", {}, enrolment)),
      h("td", { "data-label": columns[4] }, h("div", { class: "actions" }, actions)),
    );
  };
  return table(columns, timeline.speakers.map(row), { numbers: [1, 2] });
}

async function correct(body, message) {
  const answer = await call("POST", `/v1/timelines/${view.job}/corrections`, {
    json: { ...body, revision: view.timeline.revision },
  });
  view.timeline = answer.timeline;
  show();
  showGood(notices, message);
}

async function nameIt(one) {
  const candidates = one.candidates.map((other) => other.speaker);
  const name = await ask({
    title: t("meetings.name.title", { name: one.speaker }),
    label: t("people.rename.label"),
    value: one.enrolled ? one.speaker : "",
    options: candidates,
    action: t("meetings.name"),
  });
  if (name === null || name === one.speaker) return;
  await correct({ action: "name", speaker: one.speaker, name }, t("people.renamed", { name: one.speaker, to: name }));
}

async function merge(one) {
  const into = await ask({
    title: t("people.merge.title", { name: one.speaker }),
    label: t("meetings.merge.label"),
    choices: names().filter((name) => name !== one.speaker),
    action: t("people.merge"),
  });
  if (into === null) return;
  await correct({ action: "merge", speaker: one.speaker, into }, t("meetings.merged", { name: one.speaker, into }));
}

async function enroll(one) {
  const name = await ask({
    title: t("meetings.enroll.title", { name: one.speaker }),
    label: t("people.rename.label"),
    value: one.speaker.startsWith("unknown-") ? "" : one.speaker,
    action: t("meetings.next"),
    lines: [t("meetings.enroll.lead", { seconds: duration(one.clean_seconds) })],
  });
  if (name === null) return;
  const banks = may("read") ? (await get("/v1/banks")).banks.map((bank) => bank.name) : [];
  const used = view.timeline.bank?.name;
  const bank = await ask({
    title: t("meetings.enroll.bank", { name }),
    label: t("enroll.bank"),
    value: banks.includes(used) ? used : (banks[0] ?? "staff"),
    options: banks,
    action: t("meetings.enroll"),
  });
  if (bank === null) return;
  const done = await call("POST", `/v1/timelines/${view.job}/enrollments`, {
    json: { speaker: one.speaker, name, bank },
  });
  view.timeline = await get(`/v1/timelines/${view.job}`);
  show();
  showGood(
    notices,
    t("meetings.enrolled", {
      name: done.speaker,
      bank: done.bank,
      version: done.version,
      count: done.clips,
      seconds: duration(done.seconds),
    }),
    (done.warnings ?? []).map((text) => h("p", { class: "small" }, own(text))),
  );
}

// Turns

function turns() {
  const columns = [t("meetings.when"), t("meetings.speaker"), t("meetings.long"), t("clip.listen")];
  const all = view.timeline.turns;
  const shown = view.all ? all : all.slice(0, SHOWN);
  const row = (turn) => {
    const choose = h(
      "select",
      { class: "small", "aria-label": t("meetings.turn_label", { time: clock(turn.start) }) },
      names().map((name) => h("option", { value: name, selected: name === turn.speaker }, name)),
      h("option", { value: "" }, t("meetings.somebody")),
    );
    choose.addEventListener("change", () => attempt(() => reassign(turn, choose)));
    return h(
      "tr",
      {},
      h("td", { class: "numbers", "data-label": columns[0] }, `${clock(turn.start)} – ${clock(turn.end)}`),
      h(
        "td",
        { "data-label": columns[1] },
        h(
          "span",
          { class: "voice" },
          h("i", { class: `swatch ${colourOf(turn.speaker)}` }),
          choose,
          turn.overlap ? h("span", { class: "chip" }, t("meetings.overlap")) : null,
        ),
      ),
      h("td", { class: "number", "data-label": columns[2] }, duration(turn.end - turn.start)),
      h(
        "td",
        { "data-label": columns[3] },
        h(
          "div",
          { class: "actions" },
          button(t("play"), {
            kind: "small",
            icon: "play",
            "aria-label": t("clip.play_label", { name: `${turn.speaker} ${clock(turn.start)}` }),
            onclick: () => play(turn.start, turn.end),
          }),
        ),
      ),
    );
  };
  const more = all.length - shown.length;
  return [
    table(columns, shown.map(row), { numbers: [2] }),
    more > 0
      ? h(
          "div",
          { class: "actions center" },
          button(t("people.more", { count: more }), {
            onclick: () => ((view.all = true), fill(byId("turns"), turns())),
          }),
        )
      : null,
  ];
}

async function reassign(turn, choose) {
  let speaker = choose.value;
  if (!speaker)
    speaker = await ask({
      title: t("meetings.somebody.title"),
      label: t("people.rename.label"),
      action: t("meetings.name"),
    });
  if (!speaker) return void (choose.value = turn.speaker);
  try {
    await correct(
      { action: "reassign", turn: turn.id, speaker },
      t("meetings.reassigned", { time: clock(turn.start), name: speaker }),
    );
  } catch (error) {
    choose.value = turn.speaker;
    throw error;
  }
}
