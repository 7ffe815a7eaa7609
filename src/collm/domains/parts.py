"""What a domain tells of the parts of its reward, so that they can be weighted and joined (`collm.domains.reward`)."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from collm.common.errors import RowError

Range = tuple[float, float]
"""Least and greatest value."""

_ANSWERS = re.compile(r"completion(\d+)")


class RewardParts(ABC):
    """The declared parts of a domain's reward, and where a case in the golden format holds them.

    Attributes:
        parts: the range of every part by name, of the class or of an instance; empty: not declared, so that
            `options.weights` is refused.
    """

    name: ClassVar[str]
    parts: Mapping[str, Range] = {}

    def knows_part(self, name: str) -> bool:
        """Whether a weight may name this part; also where only a larger team earns it."""
        return name in self.parts

    def case_parts(self, components: Mapping[str, Any], names: Iterable[str]) -> dict[str, float]:
        """The domain's parts, of these names, of a case that was scored; by default components have the same names."""
        return {name: components[name] for name in names}

    def case_row(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The row of a case: what it brings besides answers."""
        return {key: value for key, value in inputs.items() if key != "completions" and not _ANSWERS.fullmatch(key)}

    def case_answers(self, inputs: Mapping[str, Any]) -> list[str | None]:
        """The answers that a case brings: `completions`, or else `completion1`, `completion2`, ..."""
        if isinstance(texts := inputs.get("completions"), list):
            return list(texts)
        found = {int(match[1]): inputs[key] for key in inputs if (match := _ANSWERS.fullmatch(key))}
        if not found:
            raise RowError(f"a case of {self.name} holds its answers under names that options.reward does not know")
        return [found[number] for number in sorted(found)]
