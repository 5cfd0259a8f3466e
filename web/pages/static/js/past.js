// What the meetings' recordings were called: this browser remembers it until the sign-out, the service does not.

const KEY = "speaker_meetings";
const MOST = 50;

const read = () => {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {}; // no storage, or something else in it
  }
};

/** The name of the recording that a job is about; undefined where this browser did not send it. */
export const nameOf = (job) => read()[job];

/** Forget all names. */
export function forget() {
  try {
    localStorage.removeItem(KEY);
  } catch {
    // no storage, nothing to forget
  }
}

/** Remember the name of a job's recording. */
export function remember(job, name) {
  const kept = Object.entries(read()).slice(1 - MOST);
  try {
    localStorage.setItem(KEY, JSON.stringify(Object.fromEntries([...kept, [job, name]])));
  } catch {
    // no storage: the list shows times only
  }
}
