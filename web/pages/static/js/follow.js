// A job until it ends: by server-sent events, by asking where there is no stream.

import { get } from "./api.js";
import { base } from "./dom.js";

const ASK_MS = 1000;
const ENDED = ["succeeded", "failed", "canceled", "expired", "partial"];

export const isOver = (job) => ENDED.includes(job.state);

/** The job when it has ended; `moved` is called with it whenever it moved. Raises `ApiError`. */
export function follow(id, moved = () => {}) {
  return new Promise((resolve, reject) => {
    const stream = new EventSource(`${base}/v1/jobs/${id}/events`);
    const take = (event) => {
      const { job } = JSON.parse(event.data);
      moved(job);
      if (isOver(job)) {
        stream.close();
        resolve(job);
      }
    };
    stream.addEventListener("progress", take);
    stream.addEventListener("end", take);
    stream.onerror = () => {
      if (stream.readyState !== EventSource.CLOSED) return; // it connects again by itself
      poll(id, moved).then(resolve, reject);
    };
  });
}

async function poll(id, moved) {
  for (;;) {
    const { job } = await get(`/v1/jobs/${id}`);
    moved(job);
    if (isOver(job)) return job;
    await new Promise((resolve) => setTimeout(resolve, ASK_MS));
  }
}
