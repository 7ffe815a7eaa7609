"""The table of claims: a frame with a row per line, and Markdown and LaTeX with a row per claim above them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import pandas as pd

from collm.domains import title
from collm.report.claims.declared import MEASURES, Claims
from collm.report.claims.measures import metric_label, metric_name
from collm.report.claims.verdicts import NOT_RUN, UNMEASURED, Reading, Verdict
from collm.report.table_text import ABSENT, PREAMBLE, aligned, environment, listed

COLUMNS = [
    *("claim", "options", "verdict", "p", "p_holm"),
    *("domain", "measure", "metric", "first", "second", "region", "state", "seeds"),
    *("estimate", "low", "high", "iqm", "boot_low", "boot_high", "probability"),
    *("p_supports", "p_against", "spread_seeds", "spread_tasks", "both_low", "both_high", "note"),
]
NOTES = (
    "Verdict: supported if all lines of a claim support it, contradicted if one speaks against it, after Holm's "
    "correction for the number of claims that were run with the same options (p: two-sided, corrected); else "
    "inconclusive.",
    "Estimate: mean over seeds [interval by Student's t]; two methods are compared seed by seed. A line supports its "
    "claim where the interval lies inside the region, and speaks against it where it lies outside; lines are not "
    "corrected.",
    "P: probability that a run of the first method ends better than one of the second, any seed against any, ties "
    "half. Spread: standard deviation of the difference over seeds, and over tasks.",
    "claims.csv has the interquartile mean and percentile bootstraps beside it: over seeds (too narrow for few), and "
    "over seeds and tasks.",
)


def frame(found: Sequence[Verdict]) -> pd.DataFrame:
    """One row per line, with the verdict of its claim."""
    return pd.DataFrame([_row(verdict, one) for verdict in found for one in verdict.readings], columns=COLUMNS)


def _row(verdict: Verdict, one: Reading) -> dict[str, object]:
    line = one.line
    row = {"claim": verdict.claim.id, "options": verdict.options, "verdict": verdict.verdict}
    numbers = {key: value for key, value in dataclasses.asdict(one).items() if key in COLUMNS}
    return {
        **row,
        **numbers,
        "p": verdict.p,
        "p_holm": verdict.holm,
        "domain": line.domain,
        "measure": line.measure,
        "metric": metric_name(line) if line.metric else None,
        "first": line.first,
        "second": line.second,
        "region": line.region.words,
        "p_supports": one.supports if one.seeds else math.nan,
        "p_against": one.against if one.seeds else math.nan,
    }


def overview(found: Sequence[Verdict]) -> pd.DataFrame:
    """One row per claim and set of options, as people read it."""
    return pd.DataFrame(
        {
            "Claim": one.claim.id,
            "In short": one.claim.title,
            "Paper": one.claim.paper,
            "Options": one.options,
            "Verdict": one.verdict,
            "p": _p(one.holm),
            "Lines": _states(one.readings),
        }
        for one in found
    )


def _states(readings: Sequence[Reading]) -> str:
    """`2 support, 1 open`."""
    states = [one.state for one in readings]
    return ", ".join(f"{states.count(name)} {name}" for name in dict.fromkeys(states))


def lines(verdict: Verdict) -> pd.DataFrame:
    """The lines of one claim, as people read them."""
    return pd.DataFrame(
        {
            "Benchmark": title(one.line.domain),
            "Compared": one.line.compared,
            "Measure": measure_words(one),
            "Claimed": one.line.region.words,
            "Estimate": estimate_words(one),
            "P": _short(one.probability),
            "Seeds": str(one.seeds) if one.seeds else ABSENT,
            "Spread: seeds": _short(one.spread_seeds),
            "Spread: tasks": _short(one.spread_tasks),
            "Alone": f"{one.state}{f' ({one.note})' if one.note else ''}",
        }
        for one in verdict.readings
    )


def measure_words(one: Reading) -> str:
    """What was measured, with the metric's name."""
    words = MEASURES[one.line.measure].words
    return words.format(metric=metric_label(one.line)) if one.line.metric else words


def estimate_words(one: Reading) -> str:
    """`1.2 [0.8, 1.6]`."""
    if one.state in (NOT_RUN, UNMEASURED):
        return ABSENT
    interval = "" if math.isnan(one.low) else f" [{one.low:.3g}, {one.high:.3g}]"
    return f"{one.estimate:.3g}{interval}"


def markdown(claims: Claims, found: Sequence[Verdict]) -> str:
    """All claims in one table, then each with what it says, what was to decide it, and its lines."""
    blocks = ["# Claims of the paper", aligned(overview(found), left=7), listed(NOTES)]
    for claim in claims.claims:
        blocks += [f"## {claim.id}: {claim.title}", f"{claim.text} ({claim.paper})"]
        blocks.append(listed([f"Supported: {claim.supported}", f"Contradicted: {claim.contradicted}"]))
        for verdict in [one for one in found if one.claim is claim]:
            p = "" if math.isnan(verdict.holm) else f" (p = {_p(verdict.holm)})"
            blocks += [f"Options `{verdict.options}`: **{verdict.verdict}**{p}.", aligned(lines(verdict), left=4)]
    return "\n\n".join(blocks) + "\n"


def latex(found: Sequence[Verdict]) -> str:
    """The table of claims as LaTeX, then one table per claim and set of options."""
    blocks = [PREAMBLE.replace("FILE", "claims.tex")]
    blocks.append(environment(overview(found), f"Claims of the paper. {' '.join(NOTES)}", "claims"))
    for verdict in found:
        caption = f"Claim {verdict.claim.id} ({verdict.claim.title}), options {verdict.options}: {verdict.verdict}."
        blocks.append(environment(lines(verdict), caption, f"claim-{verdict.claim.id}-{verdict.options}"))
    return "\n".join(blocks)


def _p(value: float) -> str:
    if math.isnan(value):
        return ABSENT
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _short(value: float) -> str:
    return ABSENT if math.isnan(value) else f"{value:.2f}"
