"""config/claims.yaml: every claim with what is compared, and what would support or contradict it, before a study runs.

A claim has parts; a part is a measure over benchmarks and pairs of methods (or methods), and the region in which the
paper says that the true mean lies. One line of the table is a part on one benchmark, for one pair and set of options.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collm.common.errors import ConfigError
from collm.config.messages import known
from collm.config.read_files import read_files
from collm.domains import names as domain_names
from collm.methods.registry import METHODS, ROWS

MAIN = "main"  # in `metric`: the first one of the benchmark, that of the overview


@dataclass(frozen=True)
class Measure:
    """What is taken of every seed.

    Attributes:
        paired: of two methods, else of one.
        ratio: a logarithm is averaged, estimates are shown as ratios.
        needs: keys of a part beside `measure`, `domains` and the region.
        takes: keys that it may have.
        exact: a count without chance: it is judged by every seed lying in the region.
    """

    words: str
    paired: bool = True
    ratio: bool = False
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    exact: bool = False


MEASURES = {
    "difference": Measure("difference of {metric}", needs=("metric",)),
    "ratio": Measure("ratio of {metric}", ratio=True, needs=("metric",)),
    "steps_ratio": Measure("ratio of environment steps to a common level", ratio=True, needs=("share", "window")),
    "spread_ratio": Measure("ratio of spreads of the last third", ratio=True),
    "change": Measure("size of the change over the last third, share of the largest reward", paired=False),
    "calls": Measure("joint actions per task, measured over Proposition 4.3", paired=False, exact=True),
    "variance_slope": Measure("slope of log variance of the gradient on log K", paired=False),
    "trend": Measure("slope of the difference of {metric} along a dial", needs=("metric", "dial")),
}
REGIONS = ("within", "above", "below")
CLAIM_KEYS = ("id", "title", "paper", "text", "supported", "contradicted", "parts")


@dataclass(frozen=True)
class Region:
    """Where the true mean lies if the claim is right: above `low` and below `high`, of which one may be infinite."""

    low: float
    high: float

    @property
    def words(self) -> str:
        """`> 0`, `< 2` or `-5 to 5`."""
        if math.isinf(self.high):
            return f"> {self.low:g}"
        return f"< {self.high:g}" if math.isinf(self.low) else f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Line:
    """One comparison: what is measured on one benchmark with one set of options; `second` is None for one method."""

    claim: str
    options: str
    domain: str
    measure: str
    first: str
    second: str | None
    metric: str | None
    region: Region
    settings: Mapping[str, Any]

    @property
    def compared(self) -> str:
        """Labels of the methods."""
        names = [ROWS[name].label for name in (self.first, self.second) if name is not None]
        return (" / " if MEASURES[self.measure].ratio else " − ").join(names)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper in words, and its lines for every set of options."""

    id: str
    title: str
    paper: str
    text: str
    supported: str
    contradicted: str
    lines: tuple[Line, ...]

    def of(self, options: str) -> list[Line]:
        """Lines for one set of options."""
        return [line for line in self.lines if line.options == options]


@dataclass(frozen=True)
class Claims:
    """Everything that config/claims.yaml says; `level` is that of intervals and of verdicts."""

    level: float
    options: tuple[str, ...]
    claims: tuple[Claim, ...]


def read(file: Path) -> Claims:
    """The claims of a file.

    Raises:
        ConfigError: a key is missing or unknown, or names what does not exist.
    """
    content = read_files([file])[0]
    _keys(f"{file}", content, ("level", "options", "claims"))
    level = content["level"]
    if not isinstance(level, float) or not 0.5 < level < 1.0:
        raise ConfigError(f"{file}: level is {level!r}; write a number between 0.5 and 1, 0.95 say")
    claims = [_claim(f"{file}, claims", entry, content["options"]) for entry in content["claims"]]
    twice = [claim.id for claim in claims if [other.id for other in claims].count(claim.id) > 1]
    if twice:
        raise ConfigError(f"{file}: claim {twice[0]} stands twice; give each an id of its own")
    return Claims(level, tuple(content["options"]), tuple(claims))


def _claim(where: str, entry: Mapping[str, Any], options: Sequence[str]) -> Claim:
    where = f"{where} {entry.get('id', '?')}"
    _keys(where, entry, CLAIM_KEYS)
    name = str(entry["id"])
    lines = [
        line
        for number, part in enumerate(entry["parts"], start=1)
        for line in _lines(f"{where}, part {number}", name, part, options)
    ]
    words = {key: " ".join(str(entry[key]).split()) for key in CLAIM_KEYS[1:-1]}
    return Claim(name, **words, lines=tuple(lines))


def _lines(where: str, claim: str, part: Mapping[str, Any], options: Sequence[str]) -> Iterator[Line]:
    if "measure" not in part:
        raise ConfigError(f"{where}: the key measure is missing; write one of {', '.join(MEASURES)}")
    _known(where, "measure", part["measure"], MEASURES)
    measure = MEASURES[part["measure"]]
    who = "pairs" if measure.paired else "methods"
    regions = [key for key in REGIONS if key in part]
    if len(regions) != 1:
        raise ConfigError(f"{where}: names {' and '.join(regions) or 'no region'}; write one of {', '.join(REGIONS)}")
    needed = ("measure", "domains", who, *measure.needs, regions[0])
    _keys(where, part, needed, optional=("options", *measure.takes))
    for domain in part["domains"]:
        _known(where, "domain", domain, domain_names())
    settings = {key: part[key] for key in measure.needs if key != "metric"}
    region = _region(where, regions[0], part[regions[0]], measure)
    for chosen in part.get("options", options):
        for domain in part["domains"]:
            for names in part[who]:
                first, second = _methods(where, names, measure.paired)
                yield Line(claim, chosen, domain, part["measure"], first, second, part.get("metric"), region, settings)


def _methods(where: str, names: Any, paired: bool) -> tuple[str, str | None]:
    pair = list(names) if isinstance(names, list) else [names]
    if len(pair) != (2 if paired else 1):
        raise ConfigError(f"{where}: {names!r} is no {'pair of methods' if paired else 'method'}")
    for name in pair:
        _known(where, "method", name, ROWS)
    if not paired and pair[0] not in METHODS:
        raise ConfigError(f"{where}: {pair[0]} is not trained; name one of {', '.join(METHODS)}")
    return pair[0], pair[1] if paired else None


def _region(where: str, kind: str, value: Any, measure: Measure) -> Region:
    bounds = value if kind == "within" else [value]
    numbers = isinstance(bounds, list) and all(isinstance(bound, (int, float)) for bound in bounds)
    if not numbers or len(bounds) != (2 if kind == "within" else 1) or bounds[0] > bounds[-1]:
        raise ConfigError(f"{where}: {kind} is {value!r}; write {'[low, high]' if kind == 'within' else 'a number'}")
    if measure.ratio and bounds[0] <= 0:
        raise ConfigError(f"{where}: {kind} is {value!r}; a ratio is compared with numbers above 0")
    low = -math.inf if kind == "below" else float(bounds[0])
    return Region(low, math.inf if kind == "above" else float(bounds[-1]))


def _keys(where: str, entry: Mapping[str, Any], needed: Sequence[str], optional: Sequence[str] = ()) -> None:
    """ConfigError unless a mapping has all of `needed` and nothing but them and `optional`."""
    missing = [key for key in needed if key not in entry]
    if missing:
        raise ConfigError(f"{where}: the key {missing[0]} is missing; write it")
    for key in entry:
        _known(where, "key", key, (*needed, *optional))


def _known(where: str, kind: str, name: str, allowed: Iterable[str]) -> None:
    """`known`, with the place in the message."""
    try:
        known(kind, name, allowed)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
