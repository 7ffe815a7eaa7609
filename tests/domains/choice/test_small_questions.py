"""Generated questions for models made from scratch: answers worked out again from the text, splits, options."""

import random
import re
from collections import Counter, defaultdict
from fractions import Fraction

import pytest
from support.reasoning_oracles import numbers, quantities, walked

from collm.common.errors import ConfigError
from collm.data import prepare
from collm.domains.base import Exchange, RawRow
from collm.domains.choice.algebra import Algebra
from collm.domains.choice.arc_challenge import ArcChallenge
from collm.domains.choice.medicine import Medicine
from collm.domains.choice.navigate import Navigate
from collm.domains.choice.physics import Physics
from collm.domains.choice.questions import generate, listed_item

WALKS = {"generated": 300, "steps": [2, 4], "reach": 2, "kinds": "facing", "working": "steps"}
DOMAINS = {
    "algebra": (Algebra, {"generated": 300, "difficulty": "small"}),
    "physics": (Physics, {"generated": 300, "difficulty": "small"}),
    "arc_challenge": (ArcChallenge, {"generated": 300}),
    "medicine": (Medicine, {"generated": 300}),
    "navigate": (Navigate, WALKS),
}


def built(name, **changes):
    kind, options = DOMAINS[name]
    return kind(options | changes)


def generated(name, seed=0):
    domain = built(name)
    splits = domain.embedded(seed)
    return domain, splits.get("generated", splits["train"])


# Answers from the text alone


def algebra(question):
    """By counting round the group, one step at a time; products by adding again and again."""
    first, one, second, two, third, n = re.fullmatch(
        r"What is (\d) ([+*]) (\d) ([+*]) (\d) in Z_(\d)\?", question
    ).groups()
    value = int(first)
    for operation, other in ((one, int(second)), (two, int(third))):
        start, value = (value, value) if operation == "+" else (value, 0)
        for _ in range(other):
            value = (value + (1 if operation == "+" else start)) % int(n)
    return str(value)


def physics(question):
    """A difference where something is pulled back, lost or shared, else a quotient of the greater by the lesser."""
    values = [value for value in quantities(re.sub(r"(?:cm|m)\^\d", "", question)) if value]
    if any(word in question for word in ("net force", "loses", "share")):
        return values[0] - values[1]
    return Fraction(int(max(values)), int(min(values)))


def arc_challenge(question):
    values = numbers(question.replace("cm^3", ""))
    if "melts" in question:
        melts, boils, at = values
        return "solid" if at < melts else "liquid" if at < boils else "gas"
    if not values:
        hunter, hunted, eater, prey = re.match(
            r"The (\w+) eats the (\w+), the (\w+) eats the (\w+)\.", question
        ).groups()
        assert hunted == eater and f"No {eater} is left" in question
        return {hunter: "fewer", prey: "more"}[re.search(r"becomes of the (\w+)", question)[1]]
    first, second = values
    words = {"balance": ("left", "neither", "right"), "coin": ("colder", "unchanged", "warmer")}
    kind = next((kind for kind in words if kind in question), None)
    more, same, less = words.get(kind, ("sinks", "hovers", "floats"))
    return more if first > second else less if first < second else same


def medicine(question):
    values = numbers(question)
    if "low below" in question:
        low, high, value = values
        return "low" if value < low else "high" if value > high else "normal"
    if "is now" in question:
        return ("falling", "steady", "rising")[(values[1] >= values[0]) + (values[1] > values[0])]
    signs = re.search(r"has (.+)\. Which", question)[1].split(", ")
    return "stay" if sum(not sign.startswith("no ") for sign in signs) >= values[0] else "leave"


ORACLES = {"algebra": algebra, "arc_challenge": arc_challenge, "medicine": medicine}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ORACLES)
def test_answers_follow_from_the_text(name, seed):
    _, rows = generated(name, seed)
    for row in rows:
        fields = row.fields
        assert fields["choices"][fields["answer"]] == ORACLES[name](fields["question"]), fields
        assert len(set(fields["choices"])) == len(fields["choices"]), fields


@pytest.mark.parametrize("seed", range(3))
def test_physics_answers_follow_from_the_text(seed):
    _, rows = generated("physics", seed)
    for row in rows:
        value, _, unit = row.fields["choices"][row.fields["answer"]].partition(" ")
        assert int(value) == physics(row.fields["question"]), row.fields
        assert row.fields["choices"] == [f"{number} {unit}" for number in range(1, 6)], row.fields


@pytest.mark.parametrize("seed", range(3))
def test_walks_by_complex_numbers(seed):
    domain, rows = generated("navigate", seed)
    for row in rows:
        task = domain.task(row, 0)
        assert walked(task.fields["question"]) == (row.fields["target"] == "Yes"), row
        assert task.fields["why"].endswith(" +0,+0.") == (row.fields["target"] == "Yes"), row


def equations(why):
    """Sums, products and comparisons of a working, each as (left side, sign, right side)."""
    return re.findall(r"(\d+(?:[-+*/]\d+)*)([<>=])(\d+)", why)


@pytest.mark.parametrize("name", ["algebra", "physics", "arc_challenge", "medicine"])
def test_every_step_of_a_working_is_true_and_ends_at_the_answer(name):
    domain, rows = generated(name)
    for row in rows:
        why, answer = row.fields["why"], row.fields["choices"][row.fields["answer"]]
        assert why.startswith("Here ") and why.endswith(".")
        steps = equations(why)
        assert steps or "feeds" in why or "eats" in why
        modulus = int(row.fields["question"][-2]) if name == "algebra" else None
        for left, sign, right in steps:
            value = Fraction(eval(re.sub(r"\b(\d+)/(\d+)\b", r"Fraction(\1,\2)", left)))  # digits and operators alone
            value = value % modulus if modulus else value
            assert {"<": value < int(right), "=": value == int(right), ">": value > int(right)}[sign], (why, left)
        if name in ("algebra", "physics"):
            assert steps[-1][2] == answer.split()[0], row.fields


def test_a_working_with_steps_says_each_step_and_where_it_leads():
    domain, rows = generated("navigate")
    for row in rows:
        task = domain.task(row, 0)
        taken = re.findall(r"Take (\d+) steps? (\w+)", task.fields["question"])
        said = re.findall(r"(\d+) (\w+) ([+-]\d+),([+-]\d+)", task.fields["why"])
        assert [(count, side) for count, side, _, _ in said] == taken
        place = [0, 0]
        for count, side, right, ahead in said:
            place[side in ("forward", "backward")] += int(count) * (1 if side in ("forward", "right") else -1)
            assert [int(right), int(ahead)] == place


def test_the_working_of_walks_that_turn_names_sides_as_seen_from_the_start():
    domain = Navigate({"working": "steps"})
    walk = (
        "If you follow these instructions, do you return to the starting point? Turn left. Take 2 steps. Turn around. "
    )
    row = RawRow({"input": f"{walk}Take 3 steps.\nOptions:\n- Yes\n- No", "target": "No"}, "here:1")
    task = domain.task(row, 0)
    assert task.fields["why"] == "Here 2 left -2,+0 3 right +1,+0."


# Rows and splits


@pytest.mark.parametrize("name", DOMAINS)
def test_rows_come_from_the_seed_and_differ(name):
    domain, rows = generated(name, 1)
    assert rows == generated(name, 1)[1] != generated(name, 2)[1]
    tasks = [domain.task(row, number) for number, row in enumerate(rows)]
    assert len({domain.key(task) for task in tasks}) == len(rows) == 300
    assert all(row.origin == f"generated:{number}" for number, row in enumerate(rows, start=1))
    assert domain.generated_label.startswith("generated ")


@pytest.mark.parametrize("name", DOMAINS)
def test_default_slices_are_disjoint_quarters_of_the_generated_rows(name):
    domain, rows = generated(name)
    tasks = prepare.tasks(domain, {"source": "embedded", "train": None, "test": None}, 0)
    assert (len(tasks["train"]), len(tasks["test"])) == (225, 75)
    keys = {split: {domain.key(task) for task in part} for split, part in tasks.items()}
    assert not keys["train"] & keys["test"]
    assert tasks["train"][0].fields["question"] == domain.task(rows[0], 0).fields["question"]


@pytest.mark.parametrize("name", ["algebra", "physics", "arc_challenge", "medicine"])
def test_letters_are_balanced_in_every_family(name):
    """Options stand in one order; of those with as many options, each is right about equally often."""
    counts = defaultdict(Counter)
    for seed in range(2):
        for row in generated(name, seed)[1]:
            counts[row.fields["family"], tuple(row.fields["choices"])][row.fields["answer"]] += 1
    for (family, choices), letters in counts.items():
        total = sum(letters.values())
        if total >= 40:
            assert len(letters) == len(choices), (family, choices, letters)
            assert max(letters.values()) < 1.9 * total / len(choices), (family, choices, letters)


def test_neither_letter_nor_length_tells_where_a_walk_ends():
    lengths = defaultdict(Counter)
    for seed in range(2):
        for row in generated("navigate", seed)[1]:
            lengths[row.fields["input"].count("Take")][row.fields["target"]] += 1
    assert set(lengths) == {2, 3, 4}
    for counts in lengths.values():
        assert abs(counts["Yes"] - counts["No"]) <= 10 + 0.15 * counts.total(), lengths


@pytest.mark.parametrize("name", DOMAINS)
def test_demonstrations_and_text_are_short(name):
    domain, rows = generated(name)
    for number, row in enumerate(rows[:60]):
        task = domain.task(row, number)
        examples = domain.demonstrations(task, random.Random(number), 0.0)
        assert domain.step(task, 0, [item.response for item in examples], None).reward == domain.max_reward
        assert all(len(item.response) <= 120 for item in examples)
        assert all(item.response.startswith(task.fields["why"]) for item in examples)
        text = domain.corpus(task, random.Random(0))
        assert sum(item.endswith(("4", "5")) and "\n\nHere " in item for item in text) == len(text) - 1


# Options


@pytest.mark.parametrize("kind", [ArcChallenge, Medicine])
def test_written_questions_stay_a_split_of_their_own(kind):
    plain, both = kind({}), kind({"generated": 40})
    assert set(plain.embedded(0)) == {"train"} and plain.slices["embedded"] == ("train[0:48]", "train[48:64]")
    assert both.embedded(0)["train"] == plain.embedded(0)["train"]
    assert both.slices["embedded"] == ("generated[0:30]", "generated[30:40]")
    assert both.slices["hub"] == plain.slices["hub"] and both.slices["path"] == plain.slices["path"]
    with pytest.raises(ConfigError, match=r"generated: -1 is too low"):
        kind({"generated": -1})


@pytest.mark.parametrize("kind", [Algebra, Physics])
def test_difficulties(kind):
    families = {row.fields["family"] for row in kind({}).embedded(0)["train"]}
    small = {row.fields["family"] for row in kind({"difficulty": "small"}).embedded(0)["train"]}
    assert families == {row.fields["family"] for row in kind({"difficulty": "college"}).embedded(0)["train"]}
    assert small and not small & families
    with pytest.raises(ConfigError, match="difficulty: 'easy' is unknown.*college, small"):
        kind({"difficulty": "easy"})


@pytest.mark.parametrize("steps", [[1, 3], [4, 3], [2, 51], [2, True], [2, 3.0], [2], [2, 3, 4], []])
def test_lengths_of_walks_that_are_refused(steps):
    with pytest.raises(ConfigError, match=r"domain.navigate.options.steps: .* is not \[low, high\] with 2 <= low"):
        Navigate({"steps": steps})


@pytest.mark.parametrize("kinds", ["facing", "turning"])
def test_walks_keep_to_their_options(kinds):
    rows = Navigate({"generated": 60, "steps": [3, 5], "reach": 4, "kinds": kinds}).embedded(0)["train"]
    for row in rows:
        walk = row.fields["input"].split("? ", 1)[1].split("\n")[0]
        assert walk.startswith("Always face forward. ") == (kinds == "facing")
        assert 3 <= walk.removeprefix("Always face forward. ").count(".") <= 5
        assert 1 <= min(numbers(walk)) and max(numbers(walk)) <= 4
    assert {row.fields["target"] for row in rows} == {"Yes", "No"}


@pytest.mark.parametrize(
    ("options", "least"),
    [({"steps": [2, 2], "reach": 1, "kinds": "facing"}, 6), ({"steps": [2, 2], "kinds": "turning"}, 0)],
)
def test_more_walks_than_there_are_is_an_error(options, least):
    with pytest.raises(ConfigError, match="generated: 200 different walks of 2 to 2.*lower generated") as raised:
        Navigate(options).embedded(0)
    assert int(re.search(r"only (\d+)", str(raised.value))[1]) >= least


def test_a_position_that_runs_dry_gives_way_to_others():
    def lopsided(rng):
        number = rng.randrange(12)
        return listed_item(f"Is {number} 0?", ("Yes", "No"), "No" if number else "Yes", "so it is.")

    rows = generate([lopsided], 0, 12, "algebra")
    assert Counter(row.fields["answer"] for row in rows) == {0: 1, 1: 11}
    with pytest.raises(ConfigError, match="13 different questions cannot be made; at most 12"):
        generate([lopsided], 0, 13, "algebra")


@pytest.mark.parametrize("agents", [1, 2])
def test_brief_prompts_are_the_question_and_the_role(agents):
    domain = Navigate({**WALKS, "wording": "brief"}, "paper", agents)
    task = domain.task(domain.embedded(0)["train"][0], 0)
    question = f"{task.fields['question']}\nA) {task.fields['options'][0]}\nB) {task.fields['options'][1]}\n"
    for agent in range(agents):
        (message,) = domain.observe(task, agent, 0, (), None)
        assert message == {"role": "user", "content": f"{question}{domain.roles[agent].capitalize()}:\n"}
    (message,) = domain.observe(task, 0, 0, (), None)
    history, told = [Exchange((message,), "So Yes.\nAnswer: A 1")], {"agree": False, "formed": True}
    (later,) = domain.observe(task, 0, 1, history, told)
    assert later["content"].startswith("Turn 2.\nSo Yes.\nAnswer: A 1\n")
    assert later["content"].endswith(message["content"])


@pytest.mark.parametrize("name", ["navigate", "algebra", "medicine"])
def test_brief_practice_is_what_is_asked_with_a_right_answer(name):
    make, options = DOMAINS[name]
    domain = make({**options, "wording": "brief"})
    for index, row in enumerate(domain.embedded(0)["train"]):
        task = domain.task(row, index)
        answers = []
        for agent, text in enumerate(domain.corpus(task, random.Random(index))):
            (message,) = domain.observe(task, agent, 0, (), None)
            assert text.startswith(message["content"] + domain.reasoning(task, agent, task.fields["answer"]))
            answers.append(text.removeprefix(message["content"]))
        assert domain.step(task, 0, answers, None).reward == pytest.approx(domain.max_reward)
