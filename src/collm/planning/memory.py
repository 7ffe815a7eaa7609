"""Memory of a job by part, in bytes, from shapes of models and lengths of texts alone; docs/memory.md says how the
numbers were fitted. torch is not imported.

What is there all the time (weights, adapters, optimiser states) is counted exactly. Generation and the update take
turns, so that the larger of the two makes the peak; numbers are for the passes of `collm.llm.packed` unless a comment
says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from collm.config.job import Job
from collm.methods.registry import METHODS, WARM_STARTS
from collm.planning.counts import CRITIC_LABEL_TOKENS, EVALUATED_AT_ONCE, Lengths
from collm.planning.model_shapes import DTYPE_BYTES, Shape

PACKED = 1 << 30  # bytes of a model up to which packed passes keep its weights a second time (packed/decoder.py)
KEPT = 256  # longest sequence whose attention weights are kept for the backward pass (packed/attention.py)
RUNTIME = {"cpu": 430e6, "cuda": 700e6}  # interpreter and libraries; CUDA's context and kernels
# Bytes of a number in NF4: 4 bits, and for 64 of them a scale of 8 bits, for 256 of those one in float32.
NF4 = (4 + (8 + 32 / 256) / 64) / 8
GENERAL_PER_LAYER = 34  # numbers kept per token, layer and hidden unit by transformers' own passes
CHUNK, FORMS = 4 << 22, 5  # bytes of logits there at once (packed/logprobs.py), and in how many forms
BLOCK = 96  # queries whose attention weights are there at once, twice (packed/attention.py)
RETAINED = {"cpu": 0.5, "cuda": 0.0}  # share of one phase's memory that the allocator keeps while the other runs
WORKING = {"float32": 1.0, "bfloat16": 1.5}  # what passes take on a CPU, relative to the tensors counted (oneDNN)
GENERATION = ("cache", "prefill", "drawing")
OF_BASES = ("runtime", "weights", "packed weights")  # there once for all teams of a process that share a base
UPDATE = ("activations", "attention weights", "backward", "logits")


@dataclass(frozen=True)
class Batches:
    """What stands in memory at once, in tokens and rows."""

    trained: int  # tokens of the largest micro-batch of a backward pass
    sequence: int  # tokens of one of its sequences
    scored: int  # response tokens in a micro-batch of an agent
    rows: int  # responses of one agent decoded together, if nothing limits them
    prompts: int  # distinct prompts among them
    prompt: int  # tokens of one
    room: int  # tokens that a row may grow by


def trained_models(job: Job, critics: str | None) -> list[str]:
    """The model of every trained part: agents, or the one part that they share, then critics."""
    count = {None: 0, "shared": 0, "joint": 1, "local": job.team.num_agents}[critics]
    agents = job.team.agents[:1] if job.team.one_for_all else job.team.agents
    return [*agents, *[job.team.critic] * count]


def critics_of(job: Job) -> str | None:
    """The critics that a method's team has: see `collm.llm.team`."""
    kind = METHODS[job.method].critics if job.method in METHODS else None
    return "shared" if kind == "local" and job.training.shared_backbone else kind


def evaluation_batches(job: Job, lengths: Lengths, tests: int) -> Batches:
    """The largest batches of the final evaluation on `tests` tasks; nothing is trained."""
    samples = job.evaluation.samples
    episodes = min(EVALUATED_AT_ONCE, tests * samples)
    prompts = episodes if job.rollout.turns > 1 else max(1, episodes // samples)
    return Batches(0, 0, 0, episodes, prompts, lengths.last, lengths.response)


def training_batches(job: Job, lengths: Lengths, critics: str | None, tests: int) -> Batches:
    """The largest batches of a training run whose test split has `tests` tasks."""
    team, rollout, plan, interim = job.team, job.rollout, job.training, job.evaluation
    fine_tuned = job.method in WARM_STARTS
    minibatch, group = (job.warm_start.batch_size, 1) if fine_tuned else (plan.minibatch_size, rollout.generations)
    agents, response = team.num_agents, lengths.mean_response
    groups = max(1, minibatch // group)
    text = (agents if critics == "joint" else 1) * lengths.mean + CRITIC_LABEL_TOKENS
    sequence = lengths.mean + response
    of_agent = groups * lengths.mean + minibatch * response
    of_critic = groups * text if critics else 0
    longest = max(lengths.longest + response, agents * lengths.longest if critics == "joint" else 0)
    if team.max_prompt_tokens is not None:
        longest = min(longest, team.max_prompt_tokens + response)
    trained = max(min(plan.micro_batch_tokens, max(of_agent, of_critic)), longest)
    episodes = min(EVALUATED_AT_ONCE, min(tests, interim.tasks_during or tests) * interim.samples_during)
    played = 0 if fine_tuned else plan.tasks_per_rollout * group**rollout.turns
    rows = max(episodes, played)
    distinct = episodes if rollout.turns > 1 else episodes // interim.samples_during
    prompts = max(distinct, played // group)
    scored = min(minibatch, max(1, plan.micro_batch_tokens // sequence)) * response
    return Batches(
        trained, text if of_critic > of_agent else sequence, scored, rows, prompts, lengths.last, lengths.response
    )


def bytes_by_part(
    job: Job,
    shapes: Mapping[str, Shape],
    critics: str | None,
    largest: Batches,
    device: str = "cpu",
    trained: bool = True,
) -> dict[str, float]:
    """Bytes by part.

    Args:
        shapes: of the job's models, by name.
        critics: None, "shared", "joint" or "local" (see `collm.llm.team`).
        largest: what stands in memory at once.
        device: cpu or cuda; host memory of a CUDA run is not counted.
        trained: False for an evaluation, which has neither gradients nor optimiser states.
    """
    team = job.team
    full, bytes_kept = team.adapter == "full", DTYPE_BYTES[team.dtype]
    names = trained_models(job, critics)
    loaded = names if full else sorted(set(names))
    numbers = sum(shapes[name].parameters if full else shapes[name].lora(team.lora["rank"]) for name in names)
    packs = not full and team.quantization == "none" and bytes_kept == 2
    twice = [name for name in loaded if packs and shapes[name].parameters * 2 <= PACKED]
    away = device == "cuda" and job.training.offload_optimiser
    per_number = gradient_bytes(job) + (0 if away else state_bytes(job))
    passes = [_passes(job, name, shapes[name], largest, device) for name in dict.fromkeys(names)]
    return {
        "runtime": RUNTIME[device],
        "weights": sum(_stored(job, shapes[name]) for name in loaded),
        "packed weights": sum(shapes[name].parameters * 2 for name in twice) if device == "cpu" else 0,
        "copies" if full else "adapters": 0 if full else numbers * 4,
        "gradients and optimiser": numbers * per_number * trained,
        **{part: max(model[part] for model in passes) for part in passes[0]},
    }


def _stored(job: Job, shape: Shape) -> float:
    """Bytes of a model's weights; in 4 bits its linear maps, of which one is in the dtype of products at a time."""
    plain = DTYPE_BYTES[job.team.dtype]
    if job.team.quantization == "none":
        return shape.parameters * plain
    one = shape.hidden * max(shape.intermediate, shape.queries)
    return shape.linear * NF4 + (shape.parameters - shape.linear + one) * plain


def gradient_bytes(job: Job) -> int:
    """Bytes of the gradient of a trained number: adapters are in float32, whole copies as they are stored."""
    return DTYPE_BYTES[job.team.dtype] if job.team.adapter == "full" else 4


def state_bytes(job: Job) -> int:
    """Bytes that an optimiser keeps of a trained number: two moments, and a float32 copy of what is in bfloat16."""
    if job.team.keeps_masters:
        return 12
    return 2 * gradient_bytes(job)


def peak(parts: Mapping[str, float], device: str = "cpu") -> float:
    """Largest sum in bytes of the parts (see `bytes_by_part`) that are there at the same time."""
    phases = [sum(parts[part] for part in phase) for phase in (GENERATION, UPDATE)]
    always = sum(value for part, value in parts.items() if part not in GENERATION + UPDATE)
    return always + max(phases) + RETAINED[device] * min(phases)


def _passes(job: Job, name: str, shape: Shape, largest: Batches, device: str) -> dict[str, float]:
    """Bytes that generation and a backward pass take on one base; its agents are decoded together."""
    alone = job.team.adapter == "full" and not job.team.one_for_all
    together = 1 if alone or job.rollout.decode == "sequential" else job.team.agents.count(name)
    parts = {**_update(job, shape, largest, device), **_generation(job, shape, largest, device, together)}
    factor = WORKING[job.team.dtype] if device == "cpu" else 1.0
    return {part: factor * value for part, value in parts.items()}


def _update(job: Job, shape: Shape, largest: Batches, device: str) -> dict[str, float]:
    """Bytes of a backward pass: inputs of all products and of attention are kept, h is computed again."""
    size = 2 if job.team.precision == "bf16" or (job.team.adapter == "full" and job.team.dtype == "bfloat16") else 4
    tokens, layers = largest.trained, shape.layers
    again = job.training.gradient_checkpointing  # the inputs of all layers stay, and the inside of one at a time
    backward = tokens * 6 * shape.intermediate * size
    if job.team.adapter == "full" or job.team.quantization != "none":
        per_unit = layers + GENERAL_PER_LAYER if again else layers * GENERAL_PER_LAYER
        general = tokens * shape.hidden * per_unit * size
        logits = 3 * largest.scored * shape.vocabulary * 4
        return {"activations": general, "attention weights": 0, "backward": backward, "logits": logits}
    inputs = 2 * shape.hidden + 2 * shape.queries + 2 * shape.keys + 2 * shape.intermediate
    inputs += 7 * job.team.lora["rank"] + (shape.queries + 2 * shape.keys) * shape.normed
    kept = layers * shape.hidden + inputs if again else layers * inputs
    inside = 1 if again else layers
    short = device == "cpu" and largest.sequence <= KEPT
    return {
        "activations": tokens * kept * size,
        "attention weights": tokens * inside * shape.heads * largest.sequence / 2 * size if short else 0,
        "backward": backward,
        "logits": FORMS * min(CHUNK, largest.scored * shape.vocabulary * 4),
    }


def _generation(job: Job, shape: Shape, largest: Batches, device: str, together: int) -> dict[str, float]:
    """Bytes of decoding the rows of `together` agents: keys and values, one layer of the prompts, sampling."""
    stored = DTYPE_BYTES[job.team.dtype]
    rows = min(job.rollout.max_rows, together * largest.rows)
    prefilled = min(rows, together * largest.prompts) * largest.prompt
    scores = 2 * BLOCK * shape.heads if device == "cpu" else 0
    return {
        "cache": rows * (largest.prompt + largest.room) * shape.layers * 2 * shape.keys * stored,
        "prefill": prefilled * (3 * shape.intermediate + 4 * shape.hidden + scores) * stored,
        "drawing": rows * shape.vocabulary * 4 * 6,
    }
