// What every page has round it: the language and the theme, kept in cookies that the server reads, and the sign-out.

import { forget } from "./past.js";

const YEAR = 365 * 24 * 3600;
const root = document.documentElement;

function keep(name, value) {
  document.cookie = `${name}=${value}; path=${root.dataset.base || "/"}; max-age=${YEAR}; samesite=lax`;
}

document.getElementById("language")?.addEventListener("click", (event) => {
  keep("speaker_language", event.currentTarget.dataset.to);
  location.reload();
});

document.getElementById("theme")?.addEventListener("click", () => {
  const dark =
    root.dataset.theme === "dark" ||
    (root.dataset.theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = dark ? "light" : "dark";
  keep("speaker_theme", root.dataset.theme);
  dispatchEvent(new Event("themechange"));
});

// Where the sign-out leads: the button may be pressed before this module is there.
if (new URLSearchParams(location.search).has("signed_out")) {
  forget();
  history.replaceState(null, "", location.pathname);
}
