"""MMLU abstract algebra: groups, rings, polynomials with four options (protocol: `collm.domains.choice.protocol`).

Embedded rows are generated (`algebra_questions`, and easier ones in `algebra_small`): answers are computed, seeded.
"""

from __future__ import annotations

from collm.domains.choice import algebra_questions, algebra_small
from collm.domains.choice.mmlu import GeneratedSubject


class Algebra(GeneratedSubject):
    """A solver and a checker answer the same question; accuracy is that of their joint answer."""

    name = "algebra"
    licence = "MMLU MIT (Hendrycks et al.); generated questions MIT (this project)"
    hub = ("cais/mmlu", "abstract_algebra")
    generated_label = "generated questions, not MMLU"
    subject = "abstract_algebra"
    test_rows = 100
    families = {"college": algebra_questions.FAMILIES, "small": algebra_small.FAMILIES}
