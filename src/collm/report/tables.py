"""Tables from results: tidy frames with intervals, and the same for people as Markdown and LaTeX.

The main table has the columns of the paper's table 1: response time, cost in tokens, and the domain's own
metrics, for every method of the configuration. All numbers come from `collm.report.statistics`; within one domain
the seeds form one stratum (see there). Every estimate starts the same seeded generator, so a number does not
depend on which other rows the table holds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from collm.common.errors import DataError
from collm.domains import title
from collm.domains.base import Domain, Metric
from collm.methods.registry import ROWS, UNTRAINED, WARM_STARTS
from collm.report import paper, statistics
from collm.report.results import Results
from collm.report.statistics import Estimate

BOOTSTRAP_SEED = 2108
DECIMALS = {"%": 1, "tokens": 1}  # digits after the point by unit; anything else gets two
TIME = Metric("time_s", "Time", "s", higher_is_better=False)
TOKENS = Metric("tokens", "Cost", "tokens", higher_is_better=False)
ESTIMATE = ["point", "low", "high", "interval", "seeds", "tasks", "samples"]
MAIN = ["domain", "method", "metric", *ESTIMATE, "paper", "difference", "label"]


def table_metrics(metrics: Sequence[Metric], present: Collection[str] | None = None) -> list[Metric]:
    """Columns of a domain's main table: time, cost, then the domain's metrics that belong in a table.

    `present`: names that a main frame holds, of which the others are left out (pass@k beyond the samples drawn).
    """
    chosen = [TIME, TOKENS, *(metric for metric in metrics if metric.in_table)]
    return [metric for metric in chosen if present is None or metric.name in present]


def overview_metric(domain: Domain) -> Metric:
    """The metric that stands for a domain in the overview: the first of its own that belongs in a table."""
    return next(metric for metric in domain.metrics if metric.in_table)


def number(value: float, metric: Metric) -> str:
    """A value of `metric` as people read it, without its unit."""
    return f"{value:.{DECIMALS.get(metric.unit, 2)}f}"


def main_frame(
    results: Results, domains: Mapping[str, Domain], estimator: str = "mean", resamples: int = 10_000
) -> pd.DataFrame:
    """One row per domain, method and metric (columns `MAIN`).

    `domains` holds every domain of the results by name. `paper` and `difference` (ours minus the paper's) are
    filled only where the two are comparable (see `paper.provenance`); of the response time the paper's value
    is given without a difference, because it depends on the machine.
    """
    published = paper.values()
    rows = []
    for domain, method in _cells(results):
        from_where = origin(results, domains[domain], method)
        for metric in _possible(results, table_metrics(domains[domain].metrics), domain):
            value = _estimate(results, domain, method, metric, estimator, resamples)
            theirs = published.get((domain, method, metric.name)) if from_where.comparable else None
            difference = None if theirs is None or metric is TIME else value.point - theirs
            rows.append(
                estimate_row(domain, method, metric.name, value)
                | {"paper": theirs, "difference": difference}
                | {"label": from_where.label}
            )
    return pd.DataFrame(rows, columns=MAIN).astype({"paper": float, "difference": float})


def reward_frame(results: Results, estimator: str = "mean", resamples: int = 10_000) -> pd.DataFrame:
    """Raw reward of the last turn (`metric` = reward) and each of its named parts, per domain and method.

    Of domains with several turns also the return: what all turns pay together, as training counts it.
    """
    rows = []
    for domain, method in _cells(results):
        frame = results.of(domain, method).dropna(axis="columns", how="all")
        returns = ["return"] if "return" in frame and results.several_turns(domain) else []
        for column in ["reward", *returns, *(name for name in map(str, frame) if name.startswith("part."))]:
            # A part that an early turn or another branch of the reward does not name adds nothing: zero.
            value = _from_samples(frame.fillna({column: 0.0}), column, estimator, resamples)
            rows.append(estimate_row(domain, method, column, value))
    return pd.DataFrame(rows, columns=["domain", "method", "metric", *ESTIMATE])


def difference_frame(
    results: Results, domains: Mapping[str, Domain], estimator: str = "mean", resamples: int = 10_000
) -> pd.DataFrame:
    """What training changed: every other method minus what it starts from (see `reference`), paired.

    One row per domain, method and metric (the domain's own, cost, and the reward), over the seeds that both
    have (all of them unless the results are partial); a method without a reference row is left out.
    """
    rows = []
    for domain in results.domains():
        metrics = _possible(results, [metric for metric in domains[domain].metrics if metric.in_table], domain)
        for method in results.methods(domain):
            start = reference(results, domain, method)
            if start is None:
                continue
            sides = results.of(domain, method), results.of(domain, start)
            for name, value in paired_differences(*sides, metrics, estimator, resamples).items():
                rows.append(estimate_row(domain, method, name, value) | {"reference": start})
    return pd.DataFrame(rows, columns=["domain", "method", "reference", "metric", *ESTIMATE])


def paired_differences(
    ours: pd.DataFrame, theirs: pd.DataFrame, metrics: Sequence[Metric], estimator: str, resamples: int
) -> dict[str, Estimate]:
    """Samples of one run minus those of another over the seeds that both have, by reward, tokens and metric.

    Empty if they share no seed. Raises DataError if they were evaluated on different tasks.
    """
    paired = set(ours["seed"]) & set(theirs["seed"])
    if not paired:
        return {}
    columns = {"reward": "reward", "tokens": "tokens", **{metric.name: f"metric.{metric.name}" for metric in metrics}}
    sides = [with_draws(side[side["seed"].isin(paired)], metrics) for side in (ours, theirs)]
    found = {}
    for name, column in columns.items():
        first, second = (statistics.score_matrix(side, column) for side in sides)
        strata = statistics.one_stratum(len(first.tasks))
        found[name] = statistics.difference(
            first, second, _rng(), statistic=estimator, resamples=resamples, strata=strata
        )
    return found


def possible_metrics(first: Results, domain: Domain, second: Results) -> list[Metric]:
    """Metrics of a domain's table that both results have samples enough for."""
    metrics = [metric for metric in domain.metrics if metric.in_table]
    return _possible(second, _possible(first, metrics, domain.name), domain.name)


def reference(results: Results, domain: str, method: str) -> str | None:
    """The row that a method is compared with; None for a reference row itself and where there is none.

    A team with its warm start, else with the untrained team. One agent alone with its own warm start, and with the
    raw model only if it was trained from that: a team's rows say nothing about what its training changed.
    """
    present = results.methods(domain)
    single = ROWS[method].single
    if method in references(single):
        return None
    if not single:
        return next((name for name in references(single) if name in present), None)
    warm_start, untrained = references(single)
    if warm_start in present:
        return warm_start
    seed = results.of(domain, method)["seed"].iloc[0]
    enabled = results.records[domain, method, seed]["config"]["warm_start"]["enabled"]
    return untrained if untrained in present and not enabled else None


def references(single: bool) -> tuple[str, ...]:
    """Rows that training starts from, of teams or of one agent alone: the fine-tuned one first, then the untrained.

    Rows that are not decentralised are no start: nothing is trained from them.
    """
    return tuple(
        name for name in (*WARM_STARTS, *UNTRAINED) if ROWS[name].single == single and ROWS[name].decentralised
    )


def without_reference(results: Results) -> list[str]:
    """One sentence per domain whose `difference_frame` leaves out single agents."""
    sentences = []
    for domain in results.domains():
        names = [name for name in results.methods(domain) if ROWS[name].single and name not in references(True)]
        alone = [name for name in names if reference(results, domain, name) is None]
        if alone:
            sentences.append(
                f"{domain}: differences leave out {', '.join(alone)}; the row that one agent alone starts from is not "
                "there: add warm_start_single to baselines"
            )
    return sentences


def cut_notes(results: Results) -> list[str]:
    """One sentence per domain and kind of text about the share that was cut, by method; none where nothing was.

    A prompt, or a text that critics read, is cut in its middle to fit the model; a response that had not ended after
    `rollout.max_new_tokens` was scored as it stood.
    """
    sentences = []
    for domain in results.domains():
        shares: dict[str, list[str]] = {}
        for method in results.methods(domain):
            frame, label = results.of(domain, method), ROWS[method].label
            critics = [share for (*cell, _), share in results.critic_cuts.items() if cell == [domain, method]]
            kinds = {
                "prompts cut to fit": frame["cut_prompts"].sum() / frame["prompts"].sum(),
                "responses cut off at the length limit": frame["cut_responses"].sum() / frame["prompts"].sum(),
                "texts of critics cut to fit": sum(critics) / len(critics) if critics else 0.0,
            }
            for kind, share in kinds.items():
                if share > 0:
                    shares.setdefault(kind, []).append(f"{label} {percent(share)}")
        sentences += [f"{title(domain)}: {kind}: {', '.join(cells)}." for kind, cells in shares.items()]
    return sentences


def percent(share: float) -> str:
    """A share above 0 in per cent, never rounded to 0 or, below all, to 100."""
    if share < 0.005:
        return "under 1 %"
    return "over 99 %" if 0.995 <= share < 1 else f"{100 * share:.0f} %"


def metric_tree(main: pd.DataFrame, rewards: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """Points as {domain: {method: {metric: point}}} for `dvc metrics show`; rewards without their parts."""
    tree: dict[str, dict[str, dict[str, float]]] = {}
    both = pd.concat([main, rewards[rewards["metric"] == "reward"]])
    cells = both.dropna(subset="point")[["domain", "method", "metric", "point"]]
    for domain, method, metric, point in cells.to_numpy():
        tree.setdefault(domain, {}).setdefault(method, {})[metric] = float(f"{point:.6g}")
    return tree


def curve_table(results: Results) -> pd.DataFrame:
    """Learning curves as a tidy frame: `curves` of the results with a `series` column "domain/method"."""
    curves = results.curves
    return curves.assign(series=curves["domain"].astype(str) + "/" + curves["method"].astype(str))


def _cells(results: Results) -> Iterator[tuple[str, str]]:
    for domain in results.domains():
        for method in results.methods(domain):
            yield domain, method


def _possible(results: Results, metrics: Sequence[Metric], domain: str) -> list[Metric]:
    """Metrics that every method has samples enough for: pass@k needs k of each task."""
    samples = results.samples[results.samples["domain"] == domain]
    least = samples.groupby(["method", "seed", "task"]).size().min()
    return [metric for metric in metrics if metric.draws <= least]


def with_draws(frame: pd.DataFrame, metrics: Sequence[Metric]) -> pd.DataFrame:
    """The samples of one method with columns for the metrics that are made from several of them."""
    columns = {
        f"metric.{metric.name}": statistics.drawn_at_least_once(frame, f"metric.{metric.of}", metric.draws)
        for metric in metrics
        if metric.draws > 1
    }
    return frame.assign(**columns)


def origin(results: Results, domain: Domain, method: str) -> paper.Provenance:
    """Where the rows and models of a method's runs are from; DataError if its seeds ran with different models."""
    manifest, papers = results.manifests[domain.name], paper.papers_rows(domain)
    seeds = results.of(domain.name, method)["seed"].unique()
    records = [results.records[domain.name, method, seed] for seed in seeds]
    origins = {paper.provenance(manifest, record, papers) for record in records}
    if len(origins) > 1:
        raise DataError(f"{domain.name}/{method}: seeds ran with different models; train and evaluate again")
    return origins.pop()


def _estimate(results: Results, domain: str, method: str, metric: Metric, estimator: str, resamples: int) -> Estimate:
    frame = results.of(domain, method)
    if metric is TIME:
        return _latency(results, domain, method, sorted(frame["seed"].unique()), estimator, resamples)
    column = metric.name if metric is TOKENS else f"metric.{metric.name}"
    frame = with_draws(frame, [metric])
    if column not in frame or frame[column].isna().any():
        raise DataError(f"{domain}/{method}: samples lack the metric {metric.name!r}; evaluate again")
    return _from_samples(frame, column, estimator, resamples)


def _from_samples(frame: pd.DataFrame, column: str, estimator: str, resamples: int) -> Estimate:
    matrix = statistics.score_matrix(frame, column)
    strata = statistics.one_stratum(len(matrix.tasks))
    return statistics.estimate(matrix, _rng(), statistic=estimator, strata=strata, resamples=resamples)


def _latency(
    results: Results, domain: str, method: str, seeds: Sequence[int], estimator: str, resamples: int
) -> Estimate:
    """Response time: one mean over the timed tasks per seed, of which seeds are drawn; of one seed its timed tasks,
    where the record has them. NaN if none was timed."""
    timed = []
    for seed in seeds:
        latency = results.records[domain, method, seed].get("latency")
        if not latency:
            raise DataError(f"{domain}/{method}/seed{seed}/evaluation.json has no latency; evaluate again")
        timed.append(latency)
    tasks = [int(latency["tasks"]) for latency in timed]
    if not all(tasks):
        nothing = float("nan")
        return Estimate(nothing, nothing, nothing, statistics.NO_INTERVAL, len(seeds), 0, 0)
    seconds = np.array([[float(latency["seconds"])] for latency in timed])
    matrix = statistics.ScoreMatrix(seconds, tuple(seeds), ("timed tasks",), len(seeds))
    value = statistics.estimate(matrix, _rng(), statistic=estimator, resamples=resamples)
    each = timed[0].get("per_task", [])
    if len(seeds) == 1 and len(each) > 1:
        cells = statistics.ScoreMatrix(np.array([each]), tuple(seeds), tuple(map(str, range(len(each)))), len(each))
        over = statistics.estimate(cells, _rng(), statistic=estimator, resamples=resamples)
        value = dataclasses.replace(value, low=over.low, high=over.high, interval=over.interval)
    return dataclasses.replace(value, tasks=min(tasks), samples=sum(tasks))


def _rng() -> np.random.Generator:
    return np.random.default_rng(BOOTSTRAP_SEED)


def counted(row: pd.Series) -> str:
    """Seeds, tasks and samples of a task behind an estimate: 3 × 20 × 4."""
    each, rest = divmod(int(row["samples"]), int(row["seeds"] * row["tasks"]))
    per_task = str(each) if rest == 0 else f"{row['samples'] / (row['seeds'] * row['tasks']):.1f}"
    return f"{row['seeds']} × {row['tasks']} × {per_task}"


def estimate_row(domain: str, method: str, metric: str, value: Estimate) -> dict[str, object]:
    """An estimate as a row of a frame."""
    return {"domain": domain, "method": method, "metric": metric, **dataclasses.asdict(value)}
