// What the page holds: an index, and one compressed block of episodes per benchmark, unpacked when it is chosen.

const INDEX = JSON.parse(byId("index").textContent);
const METHODS = new Map(INDEX.methods.map((method) => [method.name, method]));
const loaded = new Map();

async function unpack(name) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("this browser cannot unpack gzip; take a newer one (Chrome 80, Firefox 113, Safari 16.4 or later)");
  }
  const letters = atob(byId(`pack-${name}`).textContent);
  const bytes = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

async function load(name) {
  if (!loaded.has(name)) {
    const facts = INDEX.domains.find((one) => one.name === name);
    const { texts, runs } = await unpack(name);
    loaded.set(name, { ...facts, texts, runs, low: null, seeds: [...new Set(runs.map((run) => run.seed))] });
  }
  return loaded.get(name);
}

// One entry per task and sample of a seed: the episode of every method, and those kept while training, by step.
function entriesOf(domain, seed) {
  const entries = new Map();
  const entry = (episode) => {
    const key = `${episode.task}/${episode.sample}`;
    if (!entries.has(key)) {
      entries.set(key, {
        key, task: domain.texts[episode.task], sample: episode.sample, place: entries.size, final: {}, training: {},
      });
    }
    return entries.get(key);
  };
  for (const run of domain.runs) {
    if (run.seed !== seed) continue;
    for (const episode of run.episodes) entry(episode).final[run.method] = episode;
    for (const episode of run.training) {
      const kept = entry(episode).training;
      (kept[run.method] = kept[run.method] || []).push(episode);
    }
  }
  return [...entries.values()].filter((one) => Object.keys(one.final).length);
}

// Steps at which episodes of an entry were kept, over all methods, in order.
function stepsOf(entry) {
  const steps = new Set(Object.values(entry.training).flat().map((episode) => episode.step));
  return [...steps].sort((one, other) => one - other);
}

// The episode of a method at a step: the newest that is not later. `step` null: the final evaluation.
function episodeAt(entry, method, step) {
  const kept = entry.training[method];
  if (step === null || !kept) return { episode: entry.final[method], step: null };
  const before = kept.filter((episode) => episode.step <= step);
  const episode = before.length ? before[before.length - 1] : kept[0];
  return { episode, step: episode.step };
}
