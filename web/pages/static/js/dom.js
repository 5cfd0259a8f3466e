// Elements from JavaScript: text is always text, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `h("p", {class: "lead", onclick: fn}, "text", otherElement, [more], null)`. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else if (["value", "checked", "disabled", "hidden", "indeterminate", "selected"].includes(name))
      element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** One of the layout's icons; decoration only, so that screen readers pass it over. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

export const byId = (id) => document.getElementById(id);

/** Put children in the place of what an element holds. */
export function fill(element, ...children) {
  element.replaceChildren(
    ...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** A button with an icon. */
export function button(label, { icon: name, kind = "", ...properties } = {}) {
  return h(
    "button",
    { type: "button", class: `button ${kind}`, ...properties },
    name ? icon(name) : null,
    h("span", {}, label),
  );
}

/** Have screen readers say something. */
export function say(text) {
  const region = byId("spoken");
  region.textContent = "";
  setTimeout(() => (region.textContent = text), 50);
}

/** A link as it stands in the pages, below the service's path. */
export const base = document.documentElement.dataset.base;

/** Have a place take what is dropped on it; `take` gets the drop's DataTransfer. */
export function onDrop(place, take) {
  const over = (on) => (event) => {
    event.preventDefault();
    place.classList.toggle("over", on);
  };
  for (const name of ["dragenter", "dragover"]) place.addEventListener(name, over(true));
  for (const name of ["dragleave", "drop"]) place.addEventListener(name, over(false));
  place.addEventListener("drop", (event) => take(event.dataTransfer));
}

/** A table that becomes a list of cards on a phone, unless it is narrow; `numbers` are the columns of numbers. */
export function table(columns, rows, { numbers = [], narrow = false } = {}) {
  const head = columns.map((name, i) => h("th", { scope: "col", class: numbers.includes(i) ? "number" : null }, name));
  const whole = h("table", { class: narrow ? null : "cards" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows));
  return h("div", { class: "scroll" }, whole);
}
