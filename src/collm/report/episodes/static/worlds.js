// Worlds turn by turn: walls (StrBuild) from the front, houses (HouseBuild) in space and layer by layer, spiders.

const MATERIALS = INDEX.materials;
const SPARES = ["#009E73", "#56B4E9", "#CC79A7", "#F0E442"];
const COSINE = Math.cos(Math.PI / 6);

const agentColour = (agent) => `var(--agent-${agent === null || agent > 3 ? "none" : agent})`;
const agentName = (agent) => (agent === null ? "nobody known" : `agent ${agent + 1}`);

function blockColour(block, owner, mode) {
  if (mode === "agent") return agentColour(owner);
  if (MATERIALS[block]) return MATERIALS[block];
  let sum = 0;
  for (const letter of block) sum += letter.charCodeAt(0);
  return SPARES[sum % SPARES.length];
}

const keyOf = (cell) => cell.slice(0, 3).join(" ");

function compared(view) {
  const wanted = new Map(view.targets.map((cell) => [keyOf(cell), cell[3] || null]));
  const built = new Map(view.built.map((cell) => [keyOf(cell), { block: cell[3], owner: cell[4] }]));
  let right = 0, other = 0, extra = 0;
  for (const [key, { block }] of built) {
    if (!wanted.has(key)) extra += 1;
    else if (wanted.get(key) && wanted.get(key) !== block) other += 1;
    else right += 1;
  }
  return { wanted, built, right, other, extra };
}

function summary(view, { right, other, extra, built }) {
  const counts = new Map();
  for (const { owner } of built.values()) counts.set(owner, (counts.get(owner) || 0) + 1);
  const shares = [...counts].sort((a, b) => (a[0] ?? 9) - (b[0] ?? 9)).filter(([owner]) => owner !== null)
    .map(([owner, count]) => `${agentName(owner)}: ${count}`);
  const lines = [`${right} of ${view.targets.length} wanted cells`];
  if (other) lines.push(`${other} of another block`);
  lines.push(`${extra} extra`);
  const refused = (view.rejected || []).map((count, agent) => (count ? `agent ${agent + 1}: ${count}` : null)).filter(Boolean);
  return `${lines.join(", ")}${shares.length ? `; standing: ${shares.join(", ")}` : ""}` +
    (refused.length ? `; refused lines: ${refused.join(", ")}` : "");
}

// Hatching of extra blocks; every picture has a pattern of its own, for ids are the page's.
let patterns = 0;
function hatching() {
  const id = `hatch-${(patterns += 1)}`;
  const pattern = svg("pattern", { id, width: 0.24, height: 0.24, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("rect", { width: 0.09, height: 0.24, fill: "#000", "fill-opacity": 0.6 }));
  return { id, defs: svg("defs", {}, pattern) };
}

function cellOf(x, y, cell, wanted, mode, hatch, name) {
  const parts = [], isWanted = wanted !== undefined;
  if (cell) {
    parts.push(svg("rect", { x, y, width: 1, height: 1, fill: blockColour(cell.block, cell.owner, mode), stroke: "#0006", "stroke-width": 0.03 }));
    if (!isWanted) parts.push(svg("rect", { x, y, width: 1, height: 1, fill: `url(#${hatch})` }));
  }
  if (isWanted) {
    const wrong = cell && wanted && wanted !== cell.block;
    if (!cell || wrong || !wanted) {
      parts.push(svg("rect", {
        x: x + 0.07, y: y + 0.07, width: 0.86, height: 0.86, fill: cell ? "none" : "var(--target)", "fill-opacity": 0.08, stroke: "var(--target)",
        "stroke-width": wrong ? 0.12 : 0.07, "stroke-dasharray": cell ? null : "0.2 0.14",
      }));
    }
  }
  if (!parts.length) return null;
  const words = cell ? `${cell.block} of ${agentName(cell.owner)}${isWanted ? "" : ", extra"}` : `missing${wanted ? `: ${wanted}` : ""}`;
  return svg("g", {}, svg("title", {}, `${name}: ${words}`), parts);
}

function wall(view, mode) {
  const [width, height] = view.size, state = compared(view), { id, defs } = hatching(), cells = [];
  const depth = (view.targets[0] || view.built[0] || [0, 0, 0])[2];
  for (let x = 0; x < width; x += 1) {
    for (let y = 0; y < height; y += 1) {
      const key = `${x} ${y} ${depth}`;
      cells.push(cellOf(x, height - 1 - y, state.built.get(key), state.wanted.has(key) ? state.wanted.get(key) : undefined, mode, id, `x ${x}, y ${y}`));
    }
  }
  const text = summary(view, state);
  const picture = svg("svg", { viewBox: `-0.1 -0.1 ${width + 0.2} ${height + 0.2}`, class: "flat", role: "img", "aria-label": `World: ${text}`, "--wide": `${Math.min(36, Math.max(8, width * 2.2))}rem` },
    defs, svg("rect", { width, height, fill: "var(--ground)" }), cells);
  return el("div", { class: "world" }, picture, el("p", { class: "quiet" }, text));
}

const project = ([x, y, z]) => `${(COSINE * (x + z)).toFixed(3)},${(-(y + 0.5 * (z - x))).toFixed(3)}`;

// Cubes from back to front; faces behind another block are left out. x runs to the right and down, z away, y up.
function cubes(view, built, mode) {
  const order = [...view.built].sort((a, b) => (a[0] - a[2] + a[1]) - (b[0] - b[2] + b[1]) || a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);
  return order.flatMap(([x, y, z, block, owner]) => {
    const faces = [
      [[x, y + 1, z], [[x, y + 1, z], [x + 1, y + 1, z], [x + 1, y + 1, z + 1], [x, y + 1, z + 1]], 0],
      [[x, y, z - 1], [[x, y, z], [x + 1, y, z], [x + 1, y + 1, z], [x, y + 1, z]], 0.18],
      [[x + 1, y, z], [[x + 1, y, z], [x + 1, y, z + 1], [x + 1, y + 1, z + 1], [x + 1, y + 1, z]], 0.36],
    ];
    return faces.filter(([next]) => !built.has(keyOf(next))).flatMap(([, corners, shade]) => {
      const points = corners.map(project).join(" ");
      return [
        svg("polygon", { points, fill: blockColour(block, owner, mode), stroke: "#0008", "stroke-width": 0.03 }),
        shade ? svg("polygon", { points, fill: "#000", "fill-opacity": shade }) : null,
      ];
    });
  });
}

function house(view, mode) {
  const [x0, y0, z0] = view.from, [width, height, depth] = view.size, state = compared(view), text = summary(view, state);
  const ground = [[x0, y0, z0], [x0 + width, y0, z0], [x0 + width, y0, z0 + depth], [x0, y0, z0 + depth]];
  const left = COSINE * (x0 + z0), wide = COSINE * (width + depth);
  const top = -(y0 + height + 0.5 * (z0 + depth - x0)), tall = height + 0.5 * (width + depth);
  const space = svg("svg", { viewBox: `${left - 0.1} ${top - 0.1} ${wide + 0.2} ${tall + 0.2}`, width: Math.round(Math.min(300, wide * 26)), role: "img", "aria-label": `House: ${text}` },
    svg("polygon", { points: ground.map(project).join(" "), fill: "var(--ground)" }), cubes(view, state.built, mode));
  const layers = Array.from({ length: height }, (_, level) => layer(view, state, y0 + level, mode));
  return el("div", { class: "world" }, space, el("div", { class: "layers" }, layers), el("p", { class: "quiet" }, text), spiders(view));
}

// One layer from above, the front row at the bottom.
function layer(view, state, y, mode) {
  const [x0, , z0] = view.from, [width, , depth] = view.size, { id, defs } = hatching(), cells = [];
  for (let z = z0; z < z0 + depth; z += 1) {
    for (let x = x0; x < x0 + width; x += 1) {
      const key = `${x} ${y} ${z}`;
      cells.push(cellOf(x - x0, depth - 1 - (z - z0), state.built.get(key), state.wanted.has(key) ? state.wanted.get(key) : undefined, mode, id, `x ${x}, y ${y}, z ${z}`));
    }
  }
  return el("figure", {},
    svg("svg", { viewBox: `-0.1 -0.1 ${width + 0.2} ${depth + 0.2}`, width: Math.max(44, Math.min(110, width * 13)), role: "img", "aria-label": `Layer y ${y}` },
      defs, svg("rect", { width, height: depth, fill: "var(--ground)" }), cells),
    el("figcaption", {}, `y ${y}`));
}

// Spiders of the turn: those that live on bite; the dead are crossed out. Hits take the first, so the last live on.
function spiders(view) {
  if (!view.attacks) return null;
  const dead = view.attacks.length - view.alive;
  const drawn = view.attacks.map((attack, place) => spider(attack, place < dead));
  const bites = view.attacks.slice(dead).reduce((sum, attack) => sum + attack, 0);
  const who = (view.kills || []).map((kill, agent) => (kill ? `agent ${agent + 1} sent /kill` : null)).filter(Boolean);
  const text = `${dead} of ${view.attacks.length} spiders killed${who.length ? ` (${who.join(", ")})` : ""}, damage ${number(bites)}`;
  return el("div", { class: "spiders", role: "group", "aria-label": "Spiders" }, drawn, el("span", {}, text));
}

function spider(attack, dead) {
  const legs = [-1, 1].flatMap((side) => [-5, -1.5, 2, 5.5].map((rise, place) =>
    svg("path", { d: `M ${16 + side * 4} ${17 + place} L ${16 + side * 9} ${12 + rise} L ${16 + side * 13} ${18 + rise * 1.3}`, fill: "none", stroke: "currentColor", "stroke-width": 1.4 })));
  return svg("svg", { viewBox: "0 0 32 32", role: "img", "aria-label": `spider, attack ${number(attack)}, ${dead ? "killed" : "alive"}`, opacity: dead ? 0.45 : null },
    legs, svg("circle", { cx: 16, cy: 20, r: 6, fill: "currentColor" }), svg("circle", { cx: 16, cy: 12, r: 3.6, fill: "currentColor" }),
    svg("text", { x: 16, y: 23, "text-anchor": "middle", "font-size": 8, fill: "var(--card)", "font-weight": 700 }, number(attack)),
    dead ? svg("path", { d: "M 4 4 L 28 28 M 28 4 L 4 28", stroke: "var(--bad)", "stroke-width": 2.5 }) : null);
}

function legend(views, mode) {
  const entry = (attributes, text) => el("li", {}, el("span", attributes), text);
  const kinds = new Map();
  for (const view of views) {
    for (const [, , , block, owner] of view.built) {
      const name = mode === "agent" ? (owner === null ? "not known who" : agentName(owner)) : block;
      if (!kinds.has(name)) kinds.set(name, blockColour(block, owner, mode));
    }
  }
  const names = [...kinds].sort(([one], [other]) => one.localeCompare(other));
  return el("ul", { class: "legend" },
    names.map(([name, colour]) => el("li", {}, el("span", { class: "swatch", style: `background:${colour}` }), name)),
    entry({ class: "swatch missing" }, "wanted, missing"), entry({ class: "swatch extra" }, "extra"),
    entry({ class: "swatch wanted" }, views.some((view) => view.kind === "house") ? "another block is wanted" : "wanted"));
}
