"""What a scratch model is pre-trained on: practice and prompts, no question without its answer where there is one."""

from __future__ import annotations

import random
from itertools import permutations

import pytest
from support.toy import Toy, tasks

from collm import domains
from collm.stages.make_model import training_text


class Practised(Toy):
    """Its first agent's prompt goes on in a text of the corpus, the second agent's does not."""

    def corpus(self, task, rng):
        (asked,) = self.observe(task, 0, 0, (), None)
        number = int(task.id.removeprefix("toy-"))
        return [f"{asked['content']} red", "one two", "one two", "one"] if number == 0 else ["one", str(rng.random())]


def test_a_text_that_another_of_its_task_goes_on_from_is_left_out():
    domain = Practised({})
    first, second = tasks(2)
    prompts = [[domain.observe(task, agent, 0, (), None)[0]["content"] for agent in (0, 1)] for task in (first, second)]
    drawn = str(random.Random(0).random())
    assert training_text(domain, [first, second]) == [
        f"{prompts[0][0]} red",
        "one two",
        "one two",  # neither goes on from the other
        prompts[0][1],
        "one",  # begins a text of another task
        drawn,
        *prompts[1],
    ]


@pytest.mark.parametrize("name", domains.NAMES)
def test_every_prompt_is_read_alone_or_with_what_follows_it(name):
    domain = domains.get(name)({})
    row = next(row for split in domain.embedded(0).values() for row in split)
    task = domain.task(row, 0)
    texts = training_text(domain, [task])
    told = domain.briefing(task, domain.start(task, 0))
    prompts = [one["content"] for agent, words in enumerate(told) for one in domain.observe(task, agent, 0, (), words)]
    assert prompts and all(any(text.startswith(prompt) for text in texts) for prompt in prompts)
    assert not [pair for pair in permutations(set(texts), 2) if pair[0].startswith(pair[1])]


def test_brief_questions_of_strbuild_are_never_read_without_their_answer():
    domain = domains.get("str_build")({"wording": "brief", "generated": 20, "difficulty": [0, 1]})
    given = [domain.task(row, index) for index, row in enumerate(domain.embedded(0)["generated"])]
    texts = training_text(domain, given)
    assert len(texts) >= 40 and all("Your blocks: " in text and "\n/setblock " in text for text in texts)
