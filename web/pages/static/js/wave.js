// A waveform that plays: wavesurfer.js in the page's colours, with a button and a clock.

import WaveSurfer from "../vendor/wavesurfer.js/wavesurfer.js";
import { button, h } from "./dom.js";
import { duration, t } from "./text.js";

const nonce = document.documentElement.dataset.nonce;

/** A colour of the style sheet as canvases understand it. */
export function colour(name) {
  const probe = h("span", { style: { color: `var(--${name})` }, hidden: true });
  document.body.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}

export const colours = () => ({
  waveColor: colour("wave"),
  progressColor: colour("accent"),
  cursorColor: colour("ink"),
});

/** Options that every waveform has. */
export const options = (container, height = 72) => ({
  container,
  height,
  barWidth: 3,
  barGap: 2,
  barRadius: 2,
  normalize: true,
  cspNonce: nonce,
  ...colours(),
});

/** Show a recording in a place, ready to be played. `failed` is called where the browser cannot decode it. */
export function player(place, blob, failed = () => {}) {
  const picture = h("div", { class: "wave" });
  const play = button(t("play"), { icon: "play", kind: "small" });
  const clock = h("span", { class: "small muted numbers" });
  place.replaceChildren(picture, h("div", { class: "actions" }, play, clock));
  const wave = WaveSurfer.create(options(picture));
  const show = () => (clock.textContent = duration(wave.getDuration()));
  const label = (name, symbol) => {
    play.querySelector("span").textContent = t(name);
    play.querySelector("use").setAttribute("href", `#icon-${symbol}`);
  };
  wave.on("ready", show);
  wave.on("play", () => label("pause", "pause"));
  wave.on("pause", () => label("play", "play"));
  wave.on("error", () => {
    picture.remove();
    play.remove();
    failed();
  });
  play.addEventListener("click", () => wave.playPause());
  addEventListener("themechange", () => wave.setOptions(colours()));
  wave.loadBlob(blob).catch(() => {});
  return wave;
}
