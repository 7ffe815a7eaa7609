"""Options that all coding domains have."""

from __future__ import annotations

from collm.domains.coding import prompts
from collm.domains.coding.demonstrations import FAULTS
from collm.domains.coding.generated_problems import LEVELS
from collm.domains.options import Option

TURNS = 2
FEWEST = 4  # generated problems that can be cut into 3/4 and 1/4
FEEDBACK_TESTS = ("disjoint", "released")
_LEVELS = "; ".join(f"{level}: {what}" for level, what in LEVELS.items())

DECLARED = (
    Option(
        "feedback",
        "level_feedback",
        "level_feedback: states of all functions, syntax, tests, use of helpers; plain: to revise.",
        choices=prompts.MODES,
    ),
    Option(
        "feedback_tests",
        "disjoint",
        "Asserts that feedback shows never score (disjoint), or do both (released).",
        choices=FEEDBACK_TESTS,
    ),
    Option("feedback_slice", 1, "Asserts for feedback: n > 0 the first n, n < 0 the last, 0 all (released only)."),
    Option(
        "check_seconds",
        0.0,
        "Seconds that one test may take; 0: the profile's own, 8 (paper F.2) or 10 (released).",
        minimum=0,
        maximum=60,
    ),
    Option(
        "wording",
        "full",
        "Words of the first prompt. brief: the problem and one line of order, for models made from scratch.",
        choices=prompts.WORDINGS,
    ),
    Option(
        "generated",
        0,
        f"Problems of the seeded generator, split generated of source embedded: 0, or at least {FEWEST}.",
        minimum=0,
    ),
    Option(
        "difficulty",
        [1],
        f"Levels of the generated problems, in turn. {_LEVELS}.",
        minimum=min(LEVELS),
        maximum=max(LEVELS),
    ),
    Option(
        "faults",
        "form",
        "What noise does to demonstrations. form: no colon, nothing returned, prose, another name; operation: another "
        "operator, method or number, or a helper that is not used.",
        choices=tuple(FAULTS),
    ),
    Option(
        "demonstrated_turns",
        TURNS,
        "Turns of a demonstration; more than rollout.turns teach what is never played.",
        minimum=1,
        maximum=TURNS,
    ),
)
