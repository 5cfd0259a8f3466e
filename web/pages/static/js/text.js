// The page's texts, numbers and times in the reader's language.

const texts = JSON.parse(document.getElementById("texts").textContent);
export const language = document.documentElement.lang;

/** One text, filled: `t("people.count", {count: 3})`. A name without a text is shown as it is. */
export function t(name, values = {}) {
  let text = texts[name] ?? name;
  if (typeof text === "object") text = values.count === 1 ? text.one : text.other;
  for (const [key, value] of Object.entries(values)) {
    text = text.replaceAll(`{${key}}`, typeof value === "number" ? number(value) : value);
  }
  return text;
}

export const has = (name) => name in texts;

/** A number with at most so many decimals. */
export function number(value, decimals = 2) {
  return new Intl.NumberFormat(language, { maximumFractionDigits: decimals }).format(value);
}

/** A score, always with two decimals so that columns line up. */
export const score = (value) => (value === null || value === undefined ? "–" : value.toFixed(2));

/** A share of one; nothing is said to be quite certain. */
export function percent(value) {
  const format = new Intl.NumberFormat(language, { style: "percent" });
  if (value > 0.99 && value <= 1) return t("more_than", { n: format.format(0.99) });
  return value > 0 && value < 0.01 ? t("less_than", { n: format.format(0.01) }) : format.format(value);
}

/** Sentences one after the other: Chinese has no space between them. */
export const sentences = (...all) => all.filter(Boolean).join(language.startsWith("zh") ? "" : " ");

/** Seconds as people say them: 4.2 s, 3 min 5 s, 2 h 10 min. */
export function duration(seconds) {
  if (seconds < 60) return t("time.seconds", { n: number(seconds, seconds < 10 ? 1 : 0) });
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return t("time.minutes", { m: minutes, s: Math.round(seconds % 60) });
  return t("time.hours", { h: Math.floor(minutes / 60), m: minutes % 60 });
}

/** A time of day, with the date if it is not today. */
export function moment(value) {
  const when = new Date(value);
  const today = when.toDateString() === new Date().toDateString();
  const form = today ? { timeStyle: "medium" } : { dateStyle: "medium", timeStyle: "short" };
  return new Intl.DateTimeFormat(language, { hour12: false, ...form }).format(when);
}
