"""MMLU professional medicine: case histories with four options (protocol: `collm.domains.choice.protocol`)."""

from __future__ import annotations

from collm.domains import readers
from collm.domains.base import RawRow
from collm.domains.choice.mmlu import MmluDomain


class Medicine(MmluDomain):
    """Agents 0 and 1 are solver and checker of one case; accuracy of the joint answer. No medical advice."""

    name = "medicine"
    licence = "MMLU MIT (Hendrycks et al.); embedded questions written for this project (MIT)"
    hub = ("cais/mmlu", "professional_medicine")
    subject = "professional_medicine"
    test_rows = 272

    def embedded(self, seed: int) -> dict[str, list[RawRow]]:
        """The questions that ship with the project as split `train`; `seed` is not used."""
        return {"train": list(readers.embedded_rows("medicine.jsonl"))}
