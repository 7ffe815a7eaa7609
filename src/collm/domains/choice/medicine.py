"""MMLU professional medicine: case histories with four options (protocol: `collm.domains.choice.protocol`).

Embedded rows are written (`medicine.jsonl`) or generated (`medicine_questions`), as `written` says.
"""

from __future__ import annotations

from collm.domains.base import RawRow
from collm.domains.choice import medicine_questions, written
from collm.domains.choice.mmlu import MmluDomain


class Medicine(MmluDomain):
    """A solver and a checker answer the same case; accuracy is that of their joint answer. No medical advice."""

    name = "medicine"
    licence = "MMLU MIT (Hendrycks et al.); embedded questions written or generated for this project (MIT)"
    hub = ("cais/mmlu", "professional_medicine")
    generated_label = "generated questions, not MMLU"
    subject = "professional_medicine"
    test_rows = 272
    declared_options = (*MmluDomain.declared_options, written.GENERATED)

    def embedded_slices(self) -> tuple[str, str]:
        """As `written.slices` says."""
        return written.slices(self.name, self.options["generated"])

    def embedded(self, seed: int) -> dict[str, list[RawRow]]:
        """The questions that ship with the project as split `train`, and those made from `seed` as `generated`."""
        return written.rows(self.name, medicine_questions.FAMILIES, seed, self.options["generated"])
