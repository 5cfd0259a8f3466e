// Calls of `/v1`: JSON in and out, the CSRF token of a signed-in browser, errors as one class.

import { base } from "./dom.js";
import { meaning, translated } from "./service.js";
import { has, t } from "./text.js";

const csrf = document.documentElement.dataset.csrf;
const scopes = document.documentElement.dataset.scopes.split(" ");

/** Whether the reader's key has the scope. */
export const may = (scope) => scopes.includes(scope);

/** What the service, or the way to it, said was wrong; `sentence` is for people. */
export class ApiError extends Error {
  constructor(status, code, message, details = {}) {
    super(message);
    Object.assign(this, { status, code, details });
  }

  /** A sentence for people: the message in their words, else what its code means, else the message. */
  get sentence() {
    const ofCode = has(`error.${this.code}`) ? t(`error.${this.code}`) : meaning(this.code);
    return translated(this.message) ?? ofCode ?? this.message;
  }

  /** Whether the sentence says all that the message says. */
  get isComplete() {
    return translated(this.message) !== null || this.sentence === this.message;
  }
}

/** The error of a job as one of ours. */
export const jobError = ({ code, message, details }) => new ApiError(0, code, message, details);

/** The answer of a call as JSON. Raises `ApiError`; leads to the sign-in when the session has ended. */
export async function call(method, path, { json, body, query, type, signal } = {}) {
  const address = base + path + (query ? `?${new URLSearchParams(clean(query))}` : "");
  const headers = { Accept: "application/json" };
  if (csrf) headers["X-CSRF-Token"] = csrf;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  if (type) headers["Content-Type"] = type;
  let response;
  try {
    response = await fetch(address, {
      method,
      headers,
      signal,
      body: json === undefined ? body : JSON.stringify(json),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "away", "the service does not answer");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 401) location.assign(`${base}/sign-in?next=${document.documentElement.dataset.page}`);
  const { code = "internal", message = response.statusText, details = {} } = answer.error ?? {};
  throw new ApiError(response.status, code, message, details);
}

export const get = (path, query) => call("GET", path, { query });

/** A bank's, a speaker's or a clip's address. */
export const bankPath = (bank, ...rest) =>
  ["/v1/banks", bank, ...rest].map((part, i) => (i ? encodeURIComponent(part) : part)).join("/");

function clean(query) {
  return Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
}
