// Ask: a recording from the microphone or a file, the answer in words, and "this is X".

import RecordPlugin from "../vendor/wavesurfer.js/record.js";
import WaveSurfer from "../vendor/wavesurfer.js/wavesurfer.js";
import { bankPath, call, get, jobError, may } from "./api.js";
import { enrollDemo } from "./demo.js";
import { base, button, byId, fill, h, icon, onDrop, say } from "./dom.js";
import { follow } from "./follow.js";
import { confirm, empty, notice, showError, showGood } from "./notice.js";
import { own } from "./service.js";
import { duration, number, percent, score, sentences, t } from "./text.js";
import { options, player } from "./wave.js";
import { zip } from "./zip.js";

const SURE = 0.95; // from this probability on an answer is called sure
const TYPES = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus", "audio/mp4"]; // what browsers record, the first that this one does
const ENDINGS = { "audio/webm": "webm", "audio/ogg": "ogg", "audio/mp4": "m4a" };

const result = byId("result");
let question = null; // the one that is on its way
let banks = [];
let stop = null; // ends the recording that runs

async function start() {
  byId("record").addEventListener("click", () => (stop ? stop() : record()));
  byId("file").addEventListener("change", takeChosen);
  onDrop(byId("drop"), (transfer) => take(transfer.files[0]));
  if (may("read")) {
    try {
      await showBanks();
    } catch (error) {
      showError(byId("first"), error);
    }
  }
  takeChosen(); // before this module was there
}

function takeChosen() {
  const input = byId("file");
  take(input.files[0]);
  input.value = ""; // so that the same file can be chosen again
}

async function showBanks() {
  const answer = await get("/v1/banks");
  banks = answer.banks.filter((bank) => bank.speakers);
  const select = byId("bank");
  const people = t("ask.bank.default", { name: answer.active === "all" ? t("ask.bank.all") : answer.active });
  fill(
    select,
    h("option", { value: "" }, people),
    banks.map((bank) =>
      h("option", { value: bank.name }, `${bank.name} · ${t("people.count", { count: bank.speakers })}`),
    ),
  );
  byId("bank-field").hidden = !banks.length;
  byId("asking").hidden = !banks.length;
  if (!banks.length) return showFirst();
  byId("first").replaceChildren();
  const wanted = new URLSearchParams(location.search).get("bank");
  if (banks.some((bank) => bank.name === wanted)) select.value = wanted;
  if (banks.some((bank) => bank.name === "demo")) showSamples();
}

function showFirst() {
  const steps = [];
  if (may("enroll")) {
    steps.push(h("a", { class: "button primary", href: `${base}/enroll` }, t("empty.enroll")));
    steps.push(button(t("demo.use"), { onclick: () => enrollDemo(byId("first"), showBanks) }));
  }
  fill(byId("first"), empty(t("empty.title"), t(may("enroll") ? "ask.empty" : "ask.empty.other"), steps));
}

function showSamples() {
  const names = JSON.parse(byId("demo-speakers").textContent);
  const chips = names.map((name) => button(name, { icon: "voice", kind: "small", onclick: () => askSample(name) }));
  fill(
    byId("samples"),
    h("h3", {}, t("demo.samples")),
    h("p", { class: "small muted" }, t("demo.samples.lead")),
    h("div", { class: "chips" }, chips),
  );
}

async function askSample(name) {
  const response = await fetch(`${base}/pages/demo/${encodeURIComponent(name)}.ogg`);
  byId("bank").value = "demo";
  await take(new File([await response.blob()], `${name}.ogg`, { type: "audio/ogg" }));
}

// Recording

async function record() {
  if (!navigator.mediaDevices?.getUserMedia || typeof MediaRecorder === "undefined") {
    return showError(result, new Error(t(isSecureContext ? "ask.no_recorder" : "ask.insecure")));
  }
  const live = byId("live");
  const wave = WaveSurfer.create(options(live, 64));
  const recorder = wave.registerPlugin(
    RecordPlugin.create({
      renderRecordedAudio: false,
      scrollingWaveform: true,
      mimeType: TYPES.find((one) => MediaRecorder.isTypeSupported(one)),
    }),
  );
  const show = (on) => {
    live.hidden = !on;
    byId("drop-hint").hidden = on;
    byId("record").setAttribute("aria-pressed", String(on));
    byId("record")
      .querySelector("use")
      .setAttribute("href", on ? "#icon-stop" : "#icon-ask");
    byId("record-label").textContent = t(on ? "ask.stop" : "ask.record");
  };
  const finish = () => {
    stop = null;
    show(false);
    wave.destroy();
  };
  show(true);
  stop = () => recorder.stopRecording();
  recorder.on(
    "record-progress",
    (ms) => (byId("record-label").textContent = t("ask.stop_at", { time: duration(ms / 1000) })),
  );
  recorder.on("record-end", (blob) => {
    finish();
    const kind = blob.type.split(";")[0];
    take(new File([blob], `recording.${ENDINGS[kind] ?? "webm"}`, { type: kind }));
  });
  try {
    await recorder.startRecording();
    say(t("ask.recording_now"));
  } catch (error) {
    finish();
    const why =
      { NotAllowedError: "ask.denied", NotFoundError: "ask.no_microphone" }[error.name] ?? "ask.microphone_failed";
    showError(result, new Error(t(why)));
  }
}

// Asking

async function take(file) {
  if (!file) return;
  question?.abort();
  question = new AbortController();
  player(byId("player"), file, () => fill(byId("player"), notice("info", t("ask.cannot_show", { name: file.name }))));
  const place = byId("answer");
  place.setAttribute("aria-busy", "true");
  fill(result, h("p", { class: "muted" }, t("ask.listening")));
  try {
    const query = { bank: byId("bank").value, top_k: 5 };
    const body = new FormData();
    body.set("audio", file);
    let answer = await call("POST", "/v1/identify", { query, body, signal: question.signal });
    if (answer.job) answer = outcome(await follow(answer.job.id));
    showAnswer(answer, file);
    place.scrollIntoView({ block: "nearest" });
  } catch (error) {
    showError(result, error);
  } finally {
    place.setAttribute("aria-busy", "false");
  }
}

function outcome(job) {
  if (job.error) throw jobError(job.error);
  return job.result;
}

/** The answer as a headline and a sentence. */
function words(answer) {
  const [best, next] = answer.candidates;
  const values = {
    name: best.speaker,
    next: next?.speaker,
    score: score(answer.score),
    threshold: score(answer.threshold),
    speech: duration(answer.speech_seconds),
    least: duration(answer.least_speech),
  };
  if (answer.decision === "match") {
    const sure = answer.probability === null || answer.probability >= SURE;
    const likely = answer.probability === null ? "" : t("ask.probability", { p: percent(answer.probability) });
    return {
      title: best.speaker,
      mark: t(sure ? "ask.sure" : "ask.fairly_sure"),
      text: sentences(t("ask.match.text", values), likely),
      symbol: "check",
    };
  }
  if (answer.decision === "unknown")
    return { title: t("ask.nobody"), text: t("ask.nobody.text", values), symbol: "nobody" };
  if (answer.reason === "too_little_speech")
    return { title: t("ask.too_short"), text: t("ask.too_short.text", values), symbol: "question" };
  if (answer.reason === "small_margin" && next)
    return { title: t("ask.two", values), text: t("ask.two.text", values), symbol: "question" };
  if (answer.reason === "not_calibrated")
    return { title: t("ask.perhaps", values), text: t("ask.uncalibrated.text", values), symbol: "question" };
  return { title: t("ask.perhaps", values), text: t("ask.near.text", values), symbol: "question" };
}

function showAnswer(answer, file) {
  const { title, mark, text, symbol } = words(answer);
  fill(
    result,
    h(
      "div",
      { class: `verdict ${answer.decision}` },
      h("div", { class: "badge" }, icon(symbol)),
      h(
        "div",
        {},
        h("div", { class: "name", id: "verdict" }, title, " ", mark ? h("span", { class: "chip good" }, mark) : null),
        h("p", { class: "muted" }, text),
      ),
    ),
    bars(answer),
    answer.damaged ? notice("warn", t("ask.damaged", { seconds: duration(answer.seconds_lost) })) : null,
    warnings(answer).map((text) => notice("warn", own(text))),
    facts(answer),
    may("enroll") ? addForm(answer, file) : null,
  );
}

/** What the service warns of; that there is little speech, an answer of too little speech says itself. */
function warnings({ quality, reason }) {
  const little = reason === "too_little_speech" ? /^only .* of speech/ : null;
  return quality.warnings.filter((text) => !little?.test(text));
}

function bars(answer) {
  const most = Math.max(1, answer.threshold ?? 0);
  const width = (value) => `${Math.max(0, Math.min(1, value / most)) * 100}%`;
  const line =
    answer.threshold === null ? null : () => h("span", { class: "line", style: { left: width(answer.threshold) } });
  const items = answer.candidates.map((one) =>
    h(
      "li",
      { class: one.speaker === answer.speaker ? "named" : null },
      h("span", { class: "who", title: one.speaker }, one.speaker),
      h(
        "span",
        { class: "track", "aria-hidden": "true" },
        h("span", { class: "bar", style: { width: width(one.score) } }),
        line?.(),
      ),
      h("span", { class: "value" }, score(one.score)),
    ),
  );
  const legend =
    answer.threshold === null
      ? null
      : h("p", { class: "legend" }, h("i", {}), t("ask.line", { threshold: score(answer.threshold) }));
  return [h("h3", {}, t("ask.nearest")), h("ol", { class: "bars" }, items), legend];
}

function facts(answer) {
  const { quality, bank } = answer;
  const rows = [
    [t("ask.fact.length"), duration(answer.seconds)],
    [t("ask.fact.speech"), duration(answer.speech_seconds)],
    [t("ask.fact.noise"), t("ask.db", { n: number(quality.snr_db, 0) })],
    [t("ask.fact.clipped"), percent(quality.clipped)],
    [
      t("ask.fact.bank"),
      t("ask.bank.version", {
        name: bank.name === "all" ? t("ask.bank.all") : bank.name,
        version: bank.version,
        count: bank.speakers,
      }),
    ],
    [t("ask.fact.model"), answer.model],
  ];
  return h(
    "dl",
    { class: "facts" },
    rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", { class: "numbers" }, value))),
  );
}

// "This is X"

function addForm(answer, file) {
  const place = h("div", { class: "add" });
  const named =
    byId("bank").value || (answer.bank.name === "all" ? (banks.length === 1 ? banks[0].name : "") : answer.bank.name);
  const bank = h(
    "select",
    { id: "add-bank" },
    banks.map((one) => h("option", { value: one.name, selected: one.name === named }, one.name)),
  );
  const who = h("input", {
    id: "add-name",
    list: "add-names",
    autocomplete: "off",
    required: true,
    maxlength: 120,
    value: answer.speaker ?? "",
  });
  const names = h(
    "datalist",
    { id: "add-names" },
    answer.candidates.map((one) => h("option", { value: one.speaker })),
  );
  const form = h(
    "form",
    { class: "row" },
    h("div", { class: "field grow" }, h("label", { for: "add-name" }, t("ask.add.name")), who, names),
    banks.length > 1 ? h("div", { class: "field" }, h("label", { for: "add-bank" }, t("ask.add.bank")), bank) : null,
    h("button", { class: "button" }, icon("plus"), t("ask.add.button")),
  );
  const outcome = h("div", { id: "added" });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const submit = form.querySelector("button");
    submit.disabled = true;
    try {
      if (!(await isMeant(answer, who.value.trim()))) return;
      await add(banks.length > 1 ? bank.value : (banks[0]?.name ?? answer.bank.name), who.value.trim(), file, outcome);
    } catch (error) {
      showError(outcome, error);
    } finally {
      submit.disabled = false;
    }
  });
  return fill(
    place,
    h("h3", {}, t("ask.add.title")),
    h("p", { class: "small muted" }, t("ask.add.lead")),
    form,
    outcome,
  );
}

/** Whether the reader means it, where the recording was recognised as somebody else's. */
async function isMeant(answer, name) {
  if (answer.decision !== "match" || answer.speaker === name) return true;
  return confirm({
    title: t("ask.add.other.title", { name, other: answer.speaker }),
    lines: [t("ask.add.other.lead", { name, other: answer.speaker })],
    action: t("ask.add.other.yes", { name }),
  });
}

async function add(bank, name, file, outcome) {
  const packed = await zip([
    { name: `${name.replaceAll("/", "／")}/${Date.now()}-${file.name.replaceAll("/", "_")}`, blob: file },
  ]);
  fill(outcome, h("p", { class: "muted" }, t("ask.add.running")));
  const { job } = await call("POST", bankPath(bank, "enrollments"), {
    body: packed,
    type: "application/zip",
    query: { mode: "add" },
  });
  const done = await follow(job.id);
  const report = await get(`/v1/jobs/${job.id}/report`);
  const outcomeOfClip = report[0];
  if (outcomeOfClip?.outcome === "enrolled" && done.result)
    return showGood(
      outcome,
      t("ask.add.done", { name, bank, version: done.result.version }),
      done.result.warnings.map((text) => h("p", { class: "small" }, own(text))),
    );
  const why =
    outcomeOfClip && outcomeOfClip.outcome !== "enrolled" ? t(`outcome.${outcomeOfClip.outcome}`) : done.error?.message;
  fill(
    outcome,
    notice(
      "warn",
      t("ask.add.refused", { name, why }),
      outcomeOfClip?.message ? h("p", { class: "small muted" }, own(outcomeOfClip.message)) : null,
    ),
  );
}

start();
