"""What a job is in numbers, before it runs: tasks, lengths of prompts, joint samples, updates, tokens.

Upper bounds: every episode plays all its turns and every response is as long as it may be, unless a length measured
in an earlier run is given. torch is not imported.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from collm.config.job import Job
from collm.domains.base import Domain, Task
from collm.methods.registry import METHODS, WARM_STARTS

TOLD = 60  # tokens of what the environment says between turns, about
SAYS, SCRATCH_SAYS = 0.9, 0.6  # mean response over the longest allowed, about: pretrained models, scratch ones
INFORMATION = 60  # tokens of m_t and of the labels in a critic's text
EVALUATED_AT_ONCE = 64  # episodes
READ = 64  # tasks whose prompts are measured


@dataclass(frozen=True)
class Lengths:
    """Tokens per agent: prompt of the first turn (mean), the longest one of any turn, responses (most, mean)."""

    prompt: int
    longest: int
    response: int
    said: int
    turns: int = 1

    @property
    def growth(self) -> int:
        """What a follow-up prompt is longer by: the own last response and the environment's words."""
        return self.said + TOLD if self.turns > 1 else 0

    @property
    def last(self) -> int:
        """Mean prompt of the last turn."""
        return self.prompt + self.growth

    @property
    def mean(self) -> int:
        """Mean prompt over the turns of an episode."""
        return self.prompt + self.growth * (self.turns - 1) // self.turns


@dataclass(frozen=True)
class Workload:
    """Counts of one run; tokens are generated ones, over all agents."""

    samples: int  # joint actions whose reward is evaluated in training
    updates: int
    tokens: int  # in training rollouts
    watched: int  # in evaluations during training
    evaluated: int  # in the final evaluation
    episodes: int  # of the final evaluation


def lengths(job: Job, domain: Domain, tasks: Sequence[Task], count: Callable[[str], int]) -> Lengths:
    """Prompt lengths of (the first of) `tasks` by `count`, which gives the tokens of a text."""
    found = []
    for task in tasks[:READ]:
        for agent, told in enumerate(domain.briefing(task, domain.start(task, 0))):
            messages = domain.observe(task, agent, 0, (), told)
            found.append(count("\n\n".join(message["content"] for message in messages)))
    return known(job, round(sum(found) / len(found)), max(found))


def known(job: Job, mean: int, longest: int) -> Lengths:
    """Lengths from the mean and longest prompt of a first turn."""
    most = job.rollout.max_new_tokens
    scratch = all(spec["source"] == "scratch" for spec in job.models.values())
    first = Lengths(mean, longest, most, round(most * (SCRATCH_SAYS if scratch else SAYS)), job.rollout.turns)
    return dataclasses.replace(first, longest=longest + first.growth)


def per_task(job: Job) -> int:
    """Joint samples that one task gives at most: K + K^2 + ... over the turns."""
    rollout = job.rollout
    crossed = rollout.joint_mode == "cross"
    branching = rollout.generations ** (job.team.num_agents if crossed else 1)
    return sum(branching ** (turn + 1) for turn in range(rollout.turns))


def per_evaluation(job: Job) -> int:
    """Responses of one evaluation episode; a discussion's agents draft first."""
    return job.rollout.turns * job.team.num_agents * (2 if job.method == "discussion" else 1)


def training(job: Job, train: int) -> tuple[int, int, int]:
    """(rollouts, joint samples, updates) of a training run on `train` tasks, where `max_updates` may end it."""
    plan = job.training
    released = job.semantics == "released"
    in_rollout = min(plan.tasks_per_rollout, train) * per_task(job)
    each = math.ceil(in_rollout / plan.minibatch_size) * plan.update_epochs
    each *= job.team.num_agents if released else 1
    rollouts = math.ceil(train / plan.tasks_per_rollout) * plan.epochs
    samples, updates = train * plan.epochs * per_task(job), rollouts * each
    if plan.max_updates is None or updates <= plan.max_updates:
        return rollouts, samples, updates
    rollouts = math.ceil(plan.max_updates / each)
    return rollouts, min(samples, rollouts * in_rollout), plan.max_updates


def of(job: Job, train: int, test: int, response: float | None = None) -> Workload:
    """Workload of a method or baseline on `train` and `test` tasks.

    Args:
        response: mean tokens of a response if known; None takes rollout.max_new_tokens.
    """
    response = job.rollout.max_new_tokens if response is None else response
    plan, each = job.evaluation, per_evaluation(job)
    watched_tasks = min(test, plan.tasks_during or test) * plan.samples_during
    rollouts = samples = updates = evaluations = 0
    if job.method in METHODS:
        rollouts, samples, updates = training(job, train)
        evaluations = 2 + (max(0, rollouts - 1) // plan.every if plan.every else 0)
    elif job.method in WARM_STARTS:
        evaluations = 2
    episodes = test * plan.samples
    agents = job.team.num_agents
    return Workload(
        samples,
        updates,
        round(samples * agents * response),
        round(evaluations * watched_tasks * each * response),
        round(episodes * each * response),
        episodes,
    )


def fitted(job: Job, train: int, lengths: Lengths) -> int:
    """Tokens of prompts and responses that a warm start goes through, all agents and epochs."""
    plan = job.warm_start
    examples = min(train, plan.max_tasks or train) * plan.per_task * job.rollout.turns
    return examples * plan.epochs * job.team.num_agents * (lengths.mean + lengths.response)
