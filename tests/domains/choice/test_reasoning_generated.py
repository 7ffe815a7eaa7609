"""Generated multiple-choice questions: seeds, and every answer checked by an independent computation."""

import random
from fractions import Fraction
from math import isclose

import pytest
from support.reasoning_oracles import UNITS, brute_force, laws, quantities, walked

from collm.common.errors import ConfigError
from collm.domains.choice.algebra import Algebra
from collm.domains.choice.algebra_questions import FAMILIES as ALGEBRA
from collm.domains.choice.navigate import Navigate
from collm.domains.choice.physics import Physics
from collm.domains.choice.physics_questions import FAMILIES as PHYSICS
from collm.domains.choice.questions import generate


@pytest.mark.parametrize("kind", (Algebra, Physics, Navigate))
def test_generated_rows_come_from_the_seed(kind):
    domain = kind({})
    first = domain.embedded(1)["train"]
    assert len(first) == 200
    assert first == kind({}).embedded(1)["train"] != domain.embedded(2)["train"]
    assert kind({"generated": 8}).embedded(1)["train"] == first[:8]
    answers = [domain.task(row, number).fields["answer"] for number, row in enumerate(first)]
    options = len(domain.task(first[0], 0).fields["options"])
    assert all(answers.count(position) > 200 / options / 1.5 for position in range(options))
    with pytest.raises(ConfigError, match="generated: 3 is too low"):
        kind({"generated": 3})


def test_families_that_run_dry_are_named():
    with pytest.raises(ConfigError, match="generated: 9999 different questions.*at most 12"):
        generate([lambda rng: ALGEBRA[8](random.Random(rng.randrange(12)))], 0, 9999, "algebra")


def rows_by_family(domain, seeds):
    by_family = {}
    for seed in seeds:
        for row in domain.embedded(seed)["train"]:
            by_family.setdefault(row.fields["family"], []).append(row.fields)
    return by_family


def test_algebra_answers_by_brute_force():
    by_family = rows_by_family(Algebra({}), range(4))
    assert set(by_family) == {family.__name__ for family in ALGEBRA} and len(by_family) >= 12
    for family, rows in by_family.items():
        for fields in rows:
            answer = str(brute_force(family, fields["question"]))
            assert fields["choices"][fields["answer"]] == answer, fields
            assert fields["choices"].count(answer) == 1 and len(set(fields["choices"])) == 4


def test_physics_answers_from_the_laws():
    by_family = rows_by_family(Physics({}), range(4))
    assert set(by_family) == {family.__name__ for family in PHYSICS} == set(UNITS) and len(by_family) >= 12
    for family, rows in by_family.items():
        for fields in rows:
            values = [read(text, UNITS[family]) for text in fields["choices"]]
            expected = float(laws(family, quantities(fields["question"])))
            right = values.pop(fields["answer"])
            assert isclose(right, expected, rel_tol=6e-3), fields
            assert all(abs(value - expected) > 0.03 * expected for value in values), fields


def read(text, unit):
    value, _, rest = text.partition(" ")
    assert rest == unit
    return float(Fraction(value))


def test_generated_walks_by_complex_numbers():
    for seed in range(3):
        for row in Navigate({}).embedded(seed)["train"]:
            task = Navigate({}).task(row, 0)
            assert walked(task.fields["question"]) == (row.fields["target"] == "Yes"), row
            assert task.fields["why"].endswith(" 0,0.") == (row.fields["target"] == "Yes"), row
