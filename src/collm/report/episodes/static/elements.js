// Making elements. Texts become text nodes, never markup; attributes get values of this script's own.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const byId = (id) => document.getElementById(id);

function number(value) {
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return String(value);
  return fixed(value);
}

// Two decimals, three below 0.01; a minus that one can tell from a dash.
function fixed(value) {
  const text = Math.abs(value).toFixed(value !== 0 && Math.abs(value) < 0.01 ? 3 : 2);
  return value < 0 && Number(text) !== 0 ? `\u2212${text}` : text;
}

// A text in which every place of `query` is marked.
function marked(text, query) {
  if (!query) return [text];
  const parts = [], low = text.toLowerCase();
  if (low.length !== text.length) return [text]; // letters whose lower case is longer: no places to trust
  let from = 0;
  for (let at = low.indexOf(query); at >= 0 && parts.length < 400; at = low.indexOf(query, from)) {
    parts.push(text.slice(from, at), el("mark", {}, text.slice(at, at + query.length)));
    from = at + query.length;
  }
  return [...parts, text.slice(from)];
}

// Plain facts (feedback, records) as a table, whatever their depth.
function facts(value, query) {
  if (value === null || typeof value !== "object") return el("span", {}, marked(String(value), query));
  if (Array.isArray(value)) {
    const flat = value.every((one) => one === null || typeof one !== "object");
    if (flat) return el("span", {}, marked(value.map(String).join(", "), query) || "–");
    return el("span", {}, marked(value.map((one) => (Array.isArray(one) ? one.join(" ") : JSON.stringify(one))).join("; "), query));
  }
  const rows = Object.entries(value).map(([name, one]) =>
    el("tr", {}, el("th", { scope: "row" }, name.replaceAll("_", " ")), el("td", {}, facts(one, query))));
  return el("table", { class: "facts" }, el("tbody", {}, rows));
}
