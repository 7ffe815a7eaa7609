"""What stands below a figure: seeds, tasks and samples behind it, what its bands are, and what does not compare.

Text in the report page, and a file beside every figure (`figures/<name>.txt`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import pandas as pd

from collm.domains import title
from collm.domains.base import Domain
from collm.methods.registry import METHODS, ROWS
from collm.report.evidence import timing
from collm.report.results import Results

ESTIMATORS = {"mean": "mean", "iqm": "interquartile mean"}
ALIKE = 0.02  # runs whose lengths differ by less end at the same place, to the eye


def learning_curves(results: Results, domain: str, estimator: str = "mean") -> str:
    """Of `figures.learning_curves`."""
    curves = results.curves[results.curves["domain"] == domain]
    if curves.empty:
        return f"{title(domain)}: no trained method, so no learning curve."
    evaluations = curves[curves["event"] == "evaluation"]
    several = results.several_turns(domain)
    what = "Reward of the last turn and return of all turns" if several else "Reward"
    return joined(
        f"{title(domain)}, learning curves. {what} on test tasks against environment steps (joint actions whose reward "
        "was evaluated)",
        _points(results, domain, evaluations),
        _lines(evaluations, estimator),
        _start(results, domain, set(curves["method"])),
        _returns(curves) if several else "",
        _ends(evaluations),
    )


def final_bars(results: Results, domain: Domain, main: pd.DataFrame) -> str:
    """Of `figures.final_bars`; `main` is the main frame."""
    rows = main[(main["domain"] == domain.name) & (main["metric"] != "time_s")]
    diamonds = "Diamonds: the values of the paper" if rows["paper"].notna().any() else ""
    caution = _capital(domain.caution) if domain.caution else ""
    whiskers = f"Whiskers: 95 % bootstrap {rows['interval'].iloc[0]}, none where there is a single number"
    return joined(
        f"{domain.title}, final results on {sizes(results, domain.name)}",
        whiskers,
        "Metrics in per cent are drawn from 0 to 100, or to less where all bars are short",
        _capital(timing.sentence(results, domain.name)),
        diamonds,
        caution,
    )


def health(results: Results, domain: Domain) -> str:
    """Of `health_figure.health`."""
    seeds = span(results.curves.loc[results.curves["domain"] == domain.name].groupby("method")["seed"].nunique())
    return joined(
        f"{domain.title}, inside the training runs: one line per run, {seeds or 0} {plural(seeds, 'seed')}, in the "
        "colour of its method",
        "Numbers of updates and rollouts, of training tasks, are smoothed by an exponential moving average; there is "
        "no band",
        "The KL divergence to the start is measured at evaluations, on test tasks",
        pass_at_k(results, domain) if draws_of(domain) else "",
    )


def pass_at_k(results: Results, domain: Domain) -> str:
    """Of the panel of pass@k."""
    return (
        f"pass@k, on {sizes(results, domain.name)} of the final evaluation: the chance that one of k drawn samples of "
        "a task passes all tests (unbiased, arXiv 2107.03374); mean over seeds, bands: 95 % bootstrap over seeds"
    )


def worlds(results: Results, domain: str) -> str:
    """Of the pictures of final worlds."""
    return (
        f"{title(domain)}, final worlds: the last turn of the first test task, first seed, first sample of every "
        "method; n = 1 episode each, nothing was chosen, no band."
    )


def overview(results: Results, main: pd.DataFrame) -> str:
    """Of the figure at the head of the report."""
    kinds = " and ".join(sorted(set(main.loc[main["metric"] != "time_s", "interval"]) - {"no interval"}))
    each = "; ".join(f"{title(domain)} {sizes(results, domain)}" for domain in results.domains())
    return joined(
        "Every method on every benchmark, with 95 % bootstrap intervals" + (f" ({kinds})" if kinds else ""),
        each,
        "Filled marks are trained methods, hollow ones baselines; axes differ from panel to panel",
    )


def variants(results: Mapping[str, Results], domain: str, estimator: str = "mean") -> str:
    """Of the curves of variants beside each other."""
    reference = next(iter(results.values()))
    evaluations = [own.curves[(own.curves["domain"] == domain)] for own in results.values()]
    together = pd.concat(evaluations)
    together = together[together["event"] == "evaluation"]
    return joined(
        f"{title(domain)}, variants {', '.join(results)}: reward of the last turn on test tasks against environment "
        "steps",
        _points(reference, domain, together),
        _lines(together, estimator),
    )


def sizes(results: Results, domain: str) -> str:
    """Seeds, test tasks and samples of a task behind the final numbers of a domain, counted."""
    samples = results.samples[results.samples["domain"] == domain]
    seeds = span(samples.groupby("method")["seed"].nunique())
    tasks = span(samples.groupby(["method", "seed"])["task"].nunique())
    each = span(samples.groupby(["method", "seed", "task"]).size())
    counts = (seeds, "seed"), (tasks, "test task"), (each, "sample")
    return "n = " + " × ".join(f"{count} {plural(count, word)}" for count, word in counts)


def draws_of(domain: Domain) -> list[int]:
    """Numbers k of the domain's metrics pass@k beyond the first; [] of a domain without them."""
    return [metric.draws for metric in domain.metrics if metric.draws > 1]


def _points(results: Results, domain: str, evaluations: pd.DataFrame) -> str:
    """What a point of a curve is measured on, and whether the table is measured on the same."""
    samples = results.samples[results.samples["domain"] == domain]
    tasks = int(samples.groupby(["method", "seed"])["task"].nunique().max())
    each = int(samples.groupby(["method", "seed", "task"]).size().max())
    played = _during(results, domain, tasks)
    episodes = span(evaluations["episodes"].dropna())
    if played is None or (episodes and episodes != str(played[0] * played[1])):
        if not episodes:
            return "How many episodes a point holds was not recorded"
        return f"Every point: {episodes} episodes of test tasks (final numbers: {tasks} tasks × {each} samples)"
    words = f"Every point: {played[0]} of {tasks} test tasks × {played[1]} {plural(str(played[1]), 'sample')}"
    if played == (tasks, each):
        return f"{words}, the same tasks and samples as in the table"
    missing = "more tasks, so that curves and table need not agree" if played[0] < tasks else "the same tasks"
    return f"{words}; the table has {tasks} × {each}: {missing}"


def _during(results: Results, domain: str, tasks: int) -> tuple[int, int] | None:
    """Test tasks and samples of each at an evaluation while training; None where runs do not say or disagree."""
    found = set()
    for (name, method, _), record in results.records.items():
        plan = record["config"].get("evaluation", {})
        if name == domain and method in METHODS and "samples_during" in plan:
            found.add((min(plan["tasks_during"] or tasks, tasks), plan["samples_during"]))
    return found.pop() if len(found) == 1 else None


def _lines(evaluations: pd.DataFrame, estimator: str) -> str:
    """Points of a line, seeds, and what the band is."""
    counts = evaluations.groupby(["method", "seed"])["env_step"].nunique()
    points = f"{span(counts)} {plural(span(counts), 'point')} a run"
    seeds = span(evaluations.groupby("method")["seed"].nunique())
    if seeds == "1":
        return f"n = 1 seed, so there is no band; {points}; faint: the training reward, smoothed"
    return (
        f"n = {seeds} seeds: lines are the {ESTIMATORS[estimator]}, bands 95 % bootstrap intervals over seeds; {points}"
    )


def _start(results: Results, domain: str, methods: Collection[str]) -> str:
    warm = {
        bool(record["config"].get("warm_start", {}).get("enabled"))
        for (name, method, _), record in results.records.items()
        if name == domain and method in methods
    }
    start = "the warm start" if warm == {True} else "the untrained team" if warm == {False} else "the start"
    return f"Star and dashed line: {start}, measured as the curves are (their first evaluation)"


def _returns(curves: pd.DataFrame) -> str:
    words = "Return: discounted sum of what all turns pay, scaled and shifted as in training"
    if returns_at_evaluations(curves):
        return words
    return f"{words}; evaluations of these runs do not hold it, so that it is that of the training rollouts, smoothed"


def returns_at_evaluations(curves: pd.DataFrame) -> bool:
    """Whether all evaluations of some curves hold the return."""
    return bool(curves.loc[curves["event"] == "evaluation", "return"].notna().all())


def _ends(evaluations: pd.DataFrame) -> str:
    """Where runs end, if not all at about the same step."""
    ends = evaluations.groupby(["method", "seed"])["env_step"].max().groupby("method").mean()
    if ends.empty or ends.min() >= (1 - ALIKE) * ends.max():
        return ""
    listed = ", ".join(f"{ROWS[method].label} {ends[method]:.0f}" for method in ROWS if method in ends)
    return f"Runs end at different steps ({listed}); no line goes on beyond its run"


def span(counts: Iterable[float]) -> str:
    """The only number of several, or "low to high"; "" of none."""
    values = [int(count) for count in counts]
    if not values:
        return ""
    return str(min(values)) if min(values) == max(values) else f"{min(values)} to {max(values)}"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def plural(count: str, word: str) -> str:
    """`word` for a count of one, else its plural."""
    return word if count == "1" else f"{word}s"


def joined(*sentences: str) -> str:
    """Sentences that are not empty, each with a full stop."""
    return " ".join(f"{sentence.rstrip('.')}." for sentence in sentences if sentence)
