// The state of the page, its controls, list and keys.

const state = {
  domain: null, seed: null, entries: [], listed: [], methods: [], hidden: new Set(), entry: null, step: null,
  order: "task", by: "all", only: "all", query: "", prompts: false, colour: "agent",
};

function options(select, pairs, value) {
  select.replaceChildren(...pairs.map(([name, text]) => el("option", { value: name }, text)));
  select.value = value;
}

// choosing

async function chooseDomain(name, wanted = {}) {
  byId("domain").value = name;
  byId("episode").replaceChildren(el("p", { class: "quiet" }, "Loading …"));
  state.domain = await load(name);
  options(byId("seed"), state.domain.seeds.map((seed) => [seed, seed]), state.domain.seeds[0]);
  const left = state.domain.left_out ? ` ${state.domain.left_out} further episodes are not on this page but in the files samples.jsonl (setting report.episodes).` : "";
  byId("label").textContent = `${state.domain.title}: ${state.domain.label}. Rewards from ${number(state.domain.rewards[0])} to ${number(state.domain.rewards[1])}.${left}`;
  chooseSeed(state.domain.seeds.includes(wanted.seed) ? wanted.seed : state.domain.seeds[0], wanted);
}

function chooseSeed(seed, wanted = {}) {
  state.seed = seed;
  byId("seed").value = seed;
  state.entries = entriesOf(state.domain, seed);
  const present = new Set(state.domain.runs.filter((run) => run.seed === seed).map((run) => run.method));
  state.methods = [...METHODS.keys()].filter((name) => present.has(name));
  const worlds = state.entries.some((entry) => anyTurn(entry, ({ view }) => view && (view.kind === "wall" || view.kind === "house")));
  byId("colouring").hidden = !worlds;
  showMethods();
  options(byId("by"), [["all", "all shown"], ...state.methods.map((name) => [name, METHODS.get(name).label])], state.methods.includes(state.by) ? state.by : "all");
  state.by = byId("by").value;
  const possible = possibleFilters();
  for (const option of byId("only").options) option.hidden = option.disabled = !possible.includes(option.value);
  if (!possible.includes(state.only)) byId("only").value = state.only = "all";
  refresh(state.entries.find((entry) => entry.task === wanted.task && entry.sample === (wanted.sample || 0)), wanted.step ?? null);
}

function refresh(entry = state.entry, step = null) {
  state.listed = chosenEntries();
  const same = entry && state.listed.find((one) => one.key === entry.key);
  showList();
  show(same || state.listed[0] || null, step);
}

function show(entry, step = null) {
  state.entry = entry;
  state.step = entry && stepsOf(entry).includes(step) ? step : null;
  select();
  showEpisode();
  if (entry) {
    const place = new URLSearchParams({ domain: state.domain.name, seed: state.seed, task: entry.task, sample: entry.sample });
    if (state.step !== null) place.set("step", state.step);
    history.replaceState(null, "", `#${place}`);
  }
}

function move(by) {
  if (!state.listed.length) return;
  const place = state.listed.indexOf(state.entry) + by;
  show(state.listed[Math.min(state.listed.length - 1, Math.max(0, place))]);
}

function moveStep(by) {
  if (!state.entry) return;
  const steps = [...stepsOf(state.entry), null];
  const place = steps.indexOf(state.step) + by;
  if (steps.length > 1 && place >= 0 && place < steps.length) show(state.entry, steps[place]);
}

// the list

function showMethods() {
  const chips = state.methods.map((name) => {
    const { label, colour } = METHODS.get(name);
    const box = el("input", { type: "checkbox", checked: !state.hidden.has(name), onchange: (event) => {
      if (event.target.checked) state.hidden.delete(name); else state.hidden.add(name);
      refresh(state.entry, state.step);
    } });
    return el("label", { class: "chip" }, box, el("span", { class: "dot", style: `background:${colour}` }), label);
  });
  byId("methods").replaceChildren(byId("methods").querySelector("legend"), ...chips);
}

function showList() {
  const rewards = state.entries.flatMap((entry) => episodes(entry).map((episode) => episode.reward));
  const least = Math.min(...rewards), width = Math.max(...rewards) - least || 1;
  const items = state.listed.map((entry, place) => {
    const ticks = shownMethods().filter((name) => entry.final[name]).map((name) => {
      const { colour } = METHODS.get(name);
      return svg("circle", { cx: 5 + (190 * (entry.final[name].reward - least)) / width, cy: 6, r: 4, fill: colour, "fill-opacity": 0.85 });
    });
    const strip = svg("svg", { class: "strip", viewBox: "0 0 200 12", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("line", { x1: 0, x2: 200, y1: 6, y2: 6 }), ticks);
    const average = mean(rewardsOf(entry));
    return el("li", { role: "option", id: `option-${place}`, "aria-selected": "false", onclick: () => show(entry) },
      el("span", { class: "name" }, el("span", {}, entry.task, entry.sample ? ` · sample ${entry.sample + 1}` : "", Object.keys(entry.training).length ? el("span", { class: "tag" }, "training steps") : null),
        el("span", { class: "mean" }, Number.isNaN(average) ? "–" : fixed(average))), strip);
  });
  byId("list").replaceChildren(...items);
  byId("count").textContent = state.listed.length === state.entries.length ? `${state.entries.length} episodes` : `${state.listed.length} of ${state.entries.length} episodes`;
}

function select() {
  const place = state.listed.indexOf(state.entry);
  [...byId("list").children].forEach((item, other) => item.setAttribute("aria-selected", String(other === place)));
  const chosen = byId("list").children[place];
  if (!chosen) return byId("list").removeAttribute("aria-activedescendant");
  byId("list").setAttribute("aria-activedescendant", chosen.id);
  const box = byId("list"), top = chosen.offsetTop - box.offsetTop;
  if (top < box.scrollTop) box.scrollTop = top;
  if (top + chosen.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = top + chosen.offsetHeight - box.clientHeight;
}

// the episode

function showEpisode() {
  const main = byId("episode"), { entry } = state;
  if (!entry) {
    main.replaceChildren(el("p", { class: "quiet" }, "No episode here; change the search or the filter."));
    return;
  }
  const names = shownMethods();
  const columns = names.map((name) => ({ name, ...episodeAt(entry, name, state.step) }));
  const turns = Math.max(0, ...columns.map(({ episode }) => (episode ? episode.turns.length : 0)));
  const views = columns.flatMap(({ episode }) => (episode ? episode.turns : [])).map((turn) => turn.view).filter((view) => view && view.built);
  const grid = el("div", { class: "columns", tabindex: 0, role: "region", "aria-label": "Methods side by side", style: `grid-template-columns: repeat(${Math.max(1, names.length)}, minmax(min(84vw, 16.5rem), 1fr))` },
    columns.map(head), Array.from({ length: turns }, (_, place) => [
      turns > 1 ? el("h3", {}, `Turn ${place + 1}`) : null,
      columns.map(({ name, episode }) => turnCard(name, episode, place)),
    ]));
  main.replaceChildren(titleBar(entry), slider(entry), views.length ? legend(views, state.colour) : "", names.length ? grid : el("p", { class: "quiet" }, "No method is chosen."));
}

function turnCard(name, episode, place) {
  const label = METHODS.get(name).label;
  if (!episode) return el("section", { class: "card none", "aria-label": label }, "This episode is not in the page.");
  const turn = episode.turns[place];
  if (!turn) return el("section", { class: "card none", "aria-label": label }, "The episode had ended.");
  return el("section", { class: "card", "aria-label": `${label}, turn ${place + 1}` }, card(turn, place, place === episode.turns.length - 1));
}

function head({ name, episode, step }) {
  const { label, colour } = METHODS.get(name);
  const metrics = episode ? state.domain.metrics.filter((metric) => metric.name in episode.metrics).map((metric) =>
    el("li", {}, `${metric.label} ${number(Math.round(episode.metrics[metric.name] * 100) / 100)}${metric.unit === "%" ? " %" : ""}`)) : [];
  const turns = episode ? episode.turns.length : 0;
  const when = step !== null && step !== undefined ? `after ${step} environment steps` : "final evaluation";
  return el("header", { class: "head", "--method": colour }, el("h3", {}, label),
    el("p", {}, el("span", { class: "score" }, episode ? fixed(episode.reward) : "–"), el("span", { class: "quiet" }, ` reward${turns > 1 ? " of the last turn" : ""}, ${when}`)), el("ul", {}, metrics));
}

function titleBar(entry) {
  const samples = state.entries.filter((one) => one.task === entry.task);
  const place = state.listed.indexOf(entry);
  return el("div", { class: "bar" }, el("h2", {}, marked(entry.task, state.query)),
    samples.length > 1 ? el("span", { class: "samples", role: "group", "aria-label": "Sample" }, el("span", { class: "quiet" }, "sample"),
      samples.map((one) => el("button", { type: "button", "aria-pressed": String(one === entry), onclick: () => show(one) }, one.sample + 1))) : null,
    el("button", { type: "button", disabled: place <= 0, onclick: () => move(-1), "aria-label": "Episode before" }, "←"),
    el("button", { type: "button", disabled: place >= state.listed.length - 1, onclick: () => move(1), "aria-label": "Next episode" }, "→"));
}

function slider(entry) {
  const steps = [...stepsOf(entry), null];
  if (steps.length < 2) return "";
  const place = steps.indexOf(state.step);
  const words = (at) => (steps[at] === null ? "after training (final evaluation)" : `${steps[at]} environment steps`);
  const range = el("input", { type: "range", id: "step", min: 0, max: steps.length - 1, value: place, "aria-label": "Training step", "aria-valuetext": words(place),
    oninput: (event) => { show(entry, steps[Number(event.target.value)]); byId("step").focus(); } });
  return el("div", { class: "steps" }, el("label", { for: "step", class: "quiet" }, "Training step"), range, el("output", { for: "step" }, words(place)));
}

// controls and keys

function setPrompts(open) {
  state.prompts = byId("prompts").checked = open;
  showEpisode();
}

function setColour(mode) {
  state.colour = byId("colour").value = mode;
  showEpisode();
}

function toggleHelp() {
  byId("keys").hidden = !byId("keys").hidden;
  byId("help").setAttribute("aria-expanded", String(!byId("keys").hidden));
}

const KEYS = {
  ArrowLeft: () => move(-1), ArrowRight: () => move(1), ",": () => moveStep(-1), ".": () => moveStep(1),
  "/": () => byId("query").focus(), p: () => setPrompts(!state.prompts), "?": toggleHelp,
  c: () => setColour(state.colour === "agent" ? "material" : "agent"),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const inside = event.target;
  if (inside.id === "query" && event.key === "Escape") {
    if (inside.value) setQuery(""); else inside.blur();
    return event.preventDefault();
  }
  if (inside.id === "query" && event.key === "Enter") {
    inside.blur();
    return event.preventDefault();
  }
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(inside.tagName) && inside.type !== "checkbox") return;
  const upDown = inside.id === "list" && { ArrowUp: () => move(-1), ArrowDown: () => move(1), Home: () => move(-1e9), End: () => move(1e9) }[event.key];
  const action = upDown || KEYS[event.key];
  if (action) { action(); event.preventDefault(); }
}

function setQuery(text) {
  byId("query").value = text;
  state.query = text.trim().toLowerCase();
  refresh(state.entry, state.step);
}

function wanted() {
  const text = location.hash.slice(1);
  const place = new URLSearchParams(text.includes("=") ? text : { domain: text });
  const whole = (name) => (place.has(name) ? Number(place.get(name)) : undefined);
  return { domain: place.get("domain"), seed: whole("seed"), task: place.get("task"), sample: whole("sample"), step: whole("step") };
}

async function start() {
  const names = INDEX.domains.map((one) => one.name);
  byId("heading").textContent = INDEX.heading;
  options(byId("domain"), INDEX.domains.map((one) => [one.name, `${one.title} (${one.episodes})`]), names[0]);
  const report = (promise) => promise.catch((error) => byId("episode").replaceChildren(el("p", { class: "notice" }, `The episodes cannot be read: ${error.message}`)));
  byId("domain").addEventListener("change", (event) => report(chooseDomain(event.target.value, { seed: state.seed })));
  byId("seed").addEventListener("change", (event) => chooseSeed(Number(event.target.value), { ...state.entry }));
  for (const name of ["order", "by", "only"]) byId(name).addEventListener("change", (event) => { state[name] = event.target.value; refresh(null); });
  byId("query").addEventListener("input", (event) => setQuery(event.target.value));
  byId("prompts").addEventListener("change", (event) => setPrompts(event.target.checked));
  byId("colour").addEventListener("change", (event) => setColour(event.target.value));
  byId("help").addEventListener("click", toggleHelp);
  document.addEventListener("keydown", onKey);
  const place = wanted();
  window.addEventListener("hashchange", () => { const next = wanted(); if (names.includes(next.domain)) report(chooseDomain(next.domain, next)); });
  await report(chooseDomain(names.includes(place.domain) ? place.domain : names[0], place));
  document.documentElement.dataset.ready = "yes";
}

start();
