"""MMLU college physics: questions with four options (protocol: `collm.domains.choice.protocol`).

Embedded rows are generated (`physics_questions`, and easier ones in `physics_small`): answers come from formulas.
The public test rows repeat 18 questions; the repetitions are dropped (`mmlu`).
"""

from __future__ import annotations

from collm.domains.choice import physics_questions, physics_small
from collm.domains.choice.mmlu import GeneratedSubject


class Physics(GeneratedSubject):
    """A solver and a checker answer the same question; accuracy is that of their joint answer."""

    name = "physics"
    licence = "MMLU MIT (Hendrycks et al.); generated questions MIT (this project)"
    hub = ("cais/mmlu", "college_physics")
    generated_label = "generated questions, not MMLU"
    subject = "college_physics"
    test_rows = 102
    families = {"college": physics_questions.FAMILIES, "small": physics_small.FAMILIES}
