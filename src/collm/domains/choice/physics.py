"""MMLU college physics: questions with four options (protocol: `collm.domains.choice.protocol`).

Embedded rows are generated (`physics_questions`): answers from formulas, distractors from usual mistakes.
The public test rows repeat 18 questions; the repetitions are dropped (`mmlu`).
"""

from __future__ import annotations

from collm.domains.choice.mmlu import GeneratedSubject
from collm.domains.choice.physics_questions import FAMILIES


class Physics(GeneratedSubject):
    """Agents 0 and 1 are solver and checker of one question; accuracy of the joint answer."""

    name = "physics"
    licence = "MMLU MIT (Hendrycks et al.); generated questions MIT (this project)"
    hub = ("cais/mmlu", "college_physics")
    subject = "college_physics"
    test_rows = 102
    families = FAMILIES
