// Which episodes the list holds, and in which order.

const shownMethods = () => state.methods.filter((name) => !state.hidden.has(name));

function rewardsOf(entry) {
  const names = state.by === "all" ? shownMethods() : [state.by];
  return names.map((name) => entry.final[name]).filter(Boolean).map((episode) => episode.reward);
}

const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : NaN);

function spread(entry) {
  const rewards = shownMethods().map((name) => entry.final[name]).filter(Boolean).map((episode) => episode.reward);
  return rewards.length ? Math.max(...rewards) - Math.min(...rewards) : 0;
}

const ORDERS = {
  task: (one, other) => one.place - other.place,
  worst: (one, other) => mean(rewardsOf(one)) - mean(rewardsOf(other)) || one.place - other.place,
  best: (one, other) => mean(rewardsOf(other)) - mean(rewardsOf(one)) || one.place - other.place,
  spread: (one, other) => spread(other) - spread(one) || one.place - other.place,
};

const episodes = (entry) => shownMethods().map((name) => entry.final[name]).filter(Boolean);
const anyTurn = (entry, test) => episodes(entry).some((episode) => episode.turns.some(test));

const ONLY = {
  all: () => true,
  faulty: (entry) => anyTurn(entry, (turn) => turn.agents.some((agent) => agent.fault || agent.cut_responses)),
  split: (entry) => anyTurn(entry, ({ view }) => view && view.kind === "answers" && new Set(view.letters).size > 1),
  failed: (entry) => anyTurn(entry, ({ view }) => view && view.kind === "program" && view.passed < view.tests),
  training: (entry) => Object.keys(entry.training).length > 0,
};

// Kinds of filters that mean something in a benchmark.
function possibleFilters() {
  return Object.keys(ONLY).filter((name) => name === "all" || state.entries.some(ONLY[name]));
}

function numbersOf(entry) {
  if (!entry.numbers) {
    const found = new Set();
    for (const episode of [...Object.values(entry.final), ...Object.values(entry.training).flat()]) {
      for (const turn of episode.turns) {
        for (const agent of turn.agents) {
          found.add(agent.answer);
          for (const [, number] of agent.shown || []) found.add(number);
        }
        if (turn.view && turn.view.kind === "program") for (const number of [turn.view.program, ...turn.view.checks]) found.add(number);
      }
      found.add(episode.task);
    }
    entry.numbers = found;
  }
  return entry.numbers;
}

function matching(query) {
  const { domain } = state;
  domain.low = domain.low || domain.texts.map((text) => text.toLowerCase());
  return new Set(domain.low.flatMap((text, number) => (text.includes(query) ? [number] : [])));
}

function chosenEntries() {
  let found = state.entries.filter(ONLY[state.only]);
  if (state.query) {
    const numbers = matching(state.query);
    found = found.filter((entry) => [...numbersOf(entry)].some((number) => numbers.has(number)));
  }
  return found.sort(ORDERS[state.order]);
}
