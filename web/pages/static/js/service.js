// What the service says, in the reader's words: its messages are English, and known ones have plain words.

import { h } from "./dom.js";

const texts = JSON.parse(document.getElementById("service-texts").textContent);

/** `[pattern, text]` of `{English: text}`: a blank such as `{name}` in the English is what stands there. */
const patterns = (entries) =>
  Object.entries(entries).map(([english, text]) => {
    const parts = english.split(/\{(\w+)\}/);
    const body = parts.map((part, i) => (i % 2 ? `(?<${part}>.+?)` : part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")));
    return [new RegExp(`^${body.join("")}$`, "su"), text];
  });

const sentences = patterns(texts.sentences);
const changes = patterns({ ...texts.versions, ...texts.audit });

function find(known, message) {
  for (const [pattern, text] of known) {
    const found = pattern.exec(message);
    if (found) return text.replace(/\{(\w+)\}/g, (_, name) => found.groups[name]);
  }
  return null;
}

/** A message in the reader's words; null if it is not known. */
export const translated = (message) => find(sentences, message);

/** An entry of the audit log, or a note of a bank's version, in the reader's words; null if it is not known. */
export const change = (entry) => find(changes, entry);

/** What a code of an error means, where the reader's language is not the service's; null if it is not known. */
export const meaning = (code) => texts.codes[code] ?? null;

/** A message as an element: in the reader's words, else the service's own, which are English. */
export function own(message) {
  const text = translated(message);
  return text === null ? h("span", { lang: "en" }, message) : h("span", {}, text);
}
