// Cards: one turn of one method: reward and its parts, what happened, and every agent's prompt, answer and feedback.

const textOf = (number) => state.domain.texts[number];

function block(number, name) {
  const text = textOf(number);
  const empty = !text.trim();
  return el("pre", { class: empty ? "empty" : null, tabindex: 0, "aria-label": name }, empty ? "(empty)" : marked(text, state.query));
}

function card(turn, place, last) {
  return [
    el("p", { class: "reward" }, el("span", {}, "Reward"), el("span", {}, fixed(turn.reward))),
    partsTable(turn.parts), turn.view ? viewOf(turn.view) : null,
    turn.agents.map((agent, who) => agentBlock(agent, who, place, last)),
  ];
}

function partsTable(parts) {
  const entries = Object.entries(parts);
  const least = Math.min(0, ...entries.map(([, value]) => value)), most = Math.max(0, ...entries.map(([, value]) => value));
  const width = most - least || 1;
  const rows = entries.map(([name, value]) => {
    const bar = svg("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect", { x: (100 * (Math.min(0, value) - least)) / width, y: 1.5, width: (100 * Math.abs(value)) / width, height: 5, class: value < 0 ? "down" : "up" }),
      svg("line", { x1: (-100 * least) / width, x2: (-100 * least) / width, y1: 0, y2: 8, class: "zero" }));
    return el("tr", {}, el("th", { scope: "row" }, name.replaceAll("_", " ")), el("td", {}, bar), el("td", {}, fixed(value)));
  });
  return el("table", { class: "parts" }, el("caption", { class: "quiet", hidden: true }, "Parts of the reward"), el("tbody", {}, rows));
}

function viewOf(view) {
  if (view.kind === "wall") return wall(view, state.colour);
  if (view.kind === "house") return house(view, state.colour);
  if (view.kind === "program") return program(view);
  if (view.kind === "answers") return answers(view);
  const shown = Object.keys(view.facts).length;
  return shown ? el("details", {}, el("summary", {}, "What was counted"), facts(view.facts, state.query)) : null;
}

function program(view) {
  const passed = view.errors.filter((error) => error === null).length;
  const count = Math.max(view.errors.length, view.checks.length);
  const tests = Array.from({ length: count }, (_, place) => {
    const error = place < view.errors.length ? view.errors[place] : undefined;
    const [kind, mark, word] = error === undefined ? ["quiet", "–", "not run"] : error === null ? ["yes", "✓", "passed"] : ["no", "✗", "failed"];
    const text = place < view.checks.length ? textOf(view.checks[place]) : `test ${place + 1}`;
    return el("li", {}, el("span", { class: kind, role: "img", "aria-label": word }, mark),
      el("span", {}, el("code", {}, marked(text, state.query)), error ? el("span", { class: "no" }, ` ${error}`) : null));
  });
  const total = view.tests || count;
  const why = view.problem ? `does not parse: ${view.problem}` : view.loaded ? `${passed} of ${total} tests passed` : "not run";
  return el("div", { class: "program" },
    el("p", { class: `verdict ${passed && passed === total ? "yes" : "no"}` }, why, view.timeouts ? `, ${view.timeouts} ran out of time` : ""),
    count ? el("ul", { class: "tests" }, tests) : null,
    textOf(view.program) ? el("details", {}, el("summary", {}, "The program that was run"), block(view.program, "Program")) : null);
}

function answers(view) {
  const tick = (letter) => view.answer === undefined ? letter ?? "no letter"
    : el("span", { class: letter === view.answer ? "yes" : "no" }, `${letter ?? "no letter"} ${letter === view.answer ? "✓" : "✗"}`);
  const line = (name, letter, more) => el("li", {}, el("span", { class: "quiet" }, name), tick(letter), el("span", { class: "quiet" }, more));
  const given = view.letters.map((letter, agent) =>
    line(roleName(agent), letter, letter === null ? "" : `confidence ${view.confidences[agent]}${view.formed[agent] ? "" : ", not in form"}`));
  return el("ul", { class: "letters" }, given, line("Team", view.joint_answer, view.answer === undefined ? "" : `right: ${view.answer}`));
}

function roleName(agent) {
  const role = state.domain.roles[agent];
  return `Agent ${agent + 1}${role ? `, ${role}` : ""}`;
}

const FAULTS = { empty: "empty", unparsed: "no usable answer" };

function agentBlock(agent, who, place, last) {
  const flags = [
    agent.fault ? FAULTS[agent.fault] || agent.fault : null,
    agent.cut_responses ? "cut off at the length limit" : null,
    agent.cut_prompts ? "prompt cut to fit" : null,
  ].filter(Boolean).map((text) => el("span", { class: "flag" }, text));
  return el("section", { class: "agent", "--agent": agentColour(who), "aria-label": `${roleName(who)}, turn ${place + 1}` },
    el("h4", {}, roleName(who), el("span", { class: "quiet" }, `${agent.tokens} tokens`), flags.length ? el("span", { class: "flags" }, flags) : null),
    shown(agent), agent.draft === undefined ? null : el("details", {}, el("summary", {}, "Its draft"), block(agent.draft, "Draft")),
    block(agent.answer, `Answer of ${roleName(who)}`), told(agent, last));
}

function shown(agent) {
  if (!agent.shown) return el("p", { class: "quiet" }, "Its prompt was not kept (evaluation.shown_samples).");
  const last = textOf(agent.shown[agent.shown.length - 1][1]);
  const peek = last.trim().split("\n")[0].slice(0, 60);
  const messages = agent.shown.flatMap(([role, number]) => [el("p", { class: "role" }, role), block(number, `Message, ${role}`)]);
  const plain = agent.shown.map(([, number]) => textOf(number)).join("\n\n");
  const same = plain.trim() === textOf(agent.prompt).trim();
  const exact = same ? null : el("details", {}, el("summary", {}, "As the model read it"), block(agent.prompt, "Prompt as the model read it"));
  return el("details", { class: "prompt", open: state.prompts },
    el("summary", {}, "Was shown ", el("span", { class: "peek" }, `“${peek}…”`)), messages, exact);
}

function told(agent, last) {
  if (!agent.told) return null;
  const inside = "text" in agent.told ? block(agent.told.text, "Feedback") : facts(agent.told.facts, state.query);
  return el("details", { open: state.prompts && !last }, el("summary", {}, last ? "Would be told, were there another turn" : "Was told afterwards"), inside);
}
