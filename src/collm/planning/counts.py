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

FEEDBACK_TOKENS = 60  # what the environment says between turns, about
RESPONSE_SHARE, SCRATCH_RESPONSE_SHARE = 0.9, 0.6  # mean response over the longest allowed: pretrained, scratch models
CRITIC_LABEL_TOKENS = 60  # m_t and the labels in a critic's text
EVALUATED_AT_ONCE = 64  # episodes
MEASURED_TASKS = 64  # tasks whose prompts are measured


@dataclass(frozen=True)
class Lengths:
    """Tokens per agent and turn.

    Attributes:
        prompt: mean prompt of the first turn.
        longest: longest prompt of any turn.
        response: longest response allowed.
        mean_response: a response, on average.
        turns: H of an episode.
    """

    prompt: int
    longest: int
    response: int
    mean_response: int
    turns: int = 1

    @property
    def growth(self) -> int:
        """What a follow-up prompt is longer by: the own last response and the environment's words."""
        return self.mean_response + FEEDBACK_TOKENS if self.turns > 1 else 0

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
    training_tokens: int  # in training rollouts
    interim_tokens: int  # in evaluations during training
    final_tokens: int  # in the final evaluation
    episodes: int  # of the final evaluation


def lengths(job: Job, domain: Domain, tasks: Sequence[Task], count: Callable[[str], int]) -> Lengths:
    """Prompt lengths of (the first of) `tasks` by `count`, which gives the tokens of a text."""
    prompts = []
    for task in tasks[:MEASURED_TASKS]:
        for agent, feedback in enumerate(domain.briefing(task, domain.start(task, 0))):
            messages = domain.observe(task, agent, 0, (), feedback)
            prompts.append(count("\n\n".join(message["content"] for message in messages)))
    return lengths_from_prompts(job, round(sum(prompts) / len(prompts)), max(prompts))


def lengths_from_prompts(job: Job, mean: int, longest: int) -> Lengths:
    """Lengths from the mean and the longest prompt of a first turn, in tokens."""
    most = job.rollout.max_new_tokens
    scratch = all(spec["source"] == "scratch" for spec in job.models.values())
    share = SCRATCH_RESPONSE_SHARE if scratch else RESPONSE_SHARE
    first = Lengths(mean, longest, most, round(most * share), job.rollout.turns)
    return dataclasses.replace(first, longest=longest + first.growth)


def joint_samples_per_task(job: Job) -> int:
    """Joint samples that one task gives at most: K + K^2 + ... over the turns."""
    rollout = job.rollout
    crossed = rollout.joint_mode == "cross"
    branching = rollout.generations ** (job.team.num_agents if crossed else 1)
    return sum(branching ** (turn + 1) for turn in range(rollout.turns))


def responses_per_episode(job: Job) -> int:
    """Responses of one evaluation episode; a discussion's agents draft first."""
    return job.rollout.turns * job.team.num_agents * (2 if job.method == "discussion" else 1)


def training_counts(job: Job, train: int) -> tuple[int, int, int]:
    """(rollouts, joint samples, updates) of a training run on `train` tasks, where `max_updates` may end it.

    Under semantics paper minibatches are full over the whole run: what a rollout leaves over waits for the next one.
    """
    plan = job.training
    released = job.semantics == "released"
    samples_per_rollout = min(plan.tasks_per_rollout, train) * joint_samples_per_task(job)
    rollouts = math.ceil(train / plan.tasks_per_rollout) * plan.epochs
    samples = train * plan.epochs * joint_samples_per_task(job)
    if released:
        per_rollout = math.ceil(samples_per_rollout / plan.minibatch_size) * plan.update_epochs * job.team.num_agents
        updates_per_rollout, updates = float(per_rollout), rollouts * per_rollout
    else:
        updates_per_rollout = samples_per_rollout / plan.minibatch_size * plan.update_epochs
        updates = math.ceil(samples / plan.minibatch_size) * plan.update_epochs
    if plan.max_updates is None or updates <= plan.max_updates:
        return rollouts, samples, updates
    rollouts = math.ceil(plan.max_updates / updates_per_rollout)
    return rollouts, min(samples, rollouts * samples_per_rollout), plan.max_updates


def workload(job: Job, train: int, test: int, response: float | None = None) -> Workload:
    """What a method or baseline has to do on `train` and `test` tasks.

    Args:
        response: mean tokens of a response if known; None takes rollout.max_new_tokens.
    """
    response = job.rollout.max_new_tokens if response is None else response
    plan, responses = job.evaluation, responses_per_episode(job)
    interim_episodes = min(test, plan.tasks_during or test) * plan.samples_during
    rollouts = samples = updates = evaluations = 0
    if job.method in METHODS:
        rollouts, samples, updates = training_counts(job, train)
        evaluations = 2 + (max(0, rollouts - 1) // plan.every if plan.every else 0)
    elif job.method in WARM_STARTS:
        evaluations = 2
    episodes = test * plan.samples
    agents = job.team.num_agents
    return Workload(
        samples,
        updates,
        round(samples * agents * response),
        round(evaluations * interim_episodes * responses * response),
        round(episodes * responses * response),
        episodes,
    )


def fine_tuning_tokens(job: Job, train: int, lengths: Lengths) -> int:
    """Tokens of prompts and responses that a warm start goes through, all agents and epochs."""
    plan = job.warm_start
    examples = min(train, plan.max_tasks or train) * plan.per_task * job.rollout.turns
    return examples * plan.epochs * job.team.num_agents * (lengths.mean + lengths.response)
