"""The main table for people: Markdown that reads well in a terminal, and LaTeX with the booktabs package."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import pandas as pd

from collm.domains import title
from collm.domains.base import Domain, Metric
from collm.methods.registry import ROWS
from collm.report.against_start import NOTHING, AgainstStart
from collm.report.starts import MARK
from collm.report.tables import TIME, counted, number, overview_metric, table_metrics

ABSENT = "–"
LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "Δ": r"$\Delta$",
    "×": r"$\times$",
    "–": "--",
    "−": "$-$",
    "†": r"$\dagger$",
    "→": r"$\rightarrow$",
}
PREAMBLE = "% Needs \\usepackage{booktabs} and \\usepackage{graphicx}; take in with \\input{FILE}.\n"  # FILE: its name


def display_frame(
    main: pd.DataFrame, domain: str, metrics: Sequence[Metric], marks: AgainstStart = NOTHING
) -> pd.DataFrame:
    """One domain's rows of the main frame as text: "point [low, high]", headers with unit and direction.

    A metric of which the paper has comparable values is followed by them, with ours minus the paper's. The domain's own
    metrics and the labels of rows carry `marks`.
    """
    rows = main[main["domain"] == domain]
    beside = set(rows.loc[rows["paper"].notna(), "metric"])
    records = []
    for method in dict.fromkeys(rows["method"]):
        own = rows[rows["method"] == method].set_index("metric")
        record = {"Method": marked(ROWS[method].label, (domain, method) in marks.below)}
        for metric in table_metrics(metrics, own.index):
            mark = marks.cell(domain, method, metric.name) if metric in metrics else ""
            record |= _cells(own.loc[metric.name], metric, metric.name in beside, mark)
        record["n"] = counted(own.iloc[-1])
        records.append(record)
    return pd.DataFrame(records)


def overview_frame(main: pd.DataFrame, domains: Mapping[str, Domain], marks: AgainstStart = NOTHING) -> pd.DataFrame:
    """One line per domain: its metric of the overview for every method, as "point [low, high]", with `marks`."""
    records = []
    for domain in dict.fromkeys(main["domain"]):
        metric = overview_metric(domains[domain])
        rows = main[(main["domain"] == domain) & (main["metric"] == metric.name)].set_index("method")
        head = f"{metric.label}{f' ({metric.unit})' if metric.unit else ''} {'↑' if metric.higher_is_better else '↓'}"
        cells = {}
        for method, row in rows.iterrows():
            cell = _cell(row, metric) + marks.cell(domain, method, metric.name)
            cells[ROWS[method].label] = marked(cell, (domain, method) in marks.below)
        generated = domains[domain].generated_label
        own = not generated or generated not in _labels(main, domain)
        records.append({"Benchmark": title(domain) + ("" if own else " (generated)"), "Metric": head, **cells})
    return pd.DataFrame(records).fillna(ABSENT)


def overview(
    main: pd.DataFrame, domains: Mapping[str, Domain], marks: AgainstStart = NOTHING, further: Sequence[str] = ()
) -> str:
    """The overview as a Markdown table; under it what its marks say, and `further` notes."""
    found = [*marks.notes, *further]
    blocks = [aligned(overview_frame(main, domains, marks), left=2), *([listed(found)] if found else [])]
    return "\n\n".join(blocks) + "\n"


def marked(text: str, below: bool) -> str:
    """A label or cell, with the mark of a row of which a run ended below its start."""
    return f"{text} {MARK}" if below else text


def listed(sentences: Sequence[str]) -> str:
    """Sentences as a wrapped Markdown list."""
    wrapped = textwrap.TextWrapper(110, initial_indent="- ", subsequent_indent="  ")
    return "\n".join(wrapped.fill(sentence) for sentence in sentences)


def aligned(frame: pd.DataFrame, left: int) -> str:
    """A frame of texts as a Markdown table; its first `left` columns stand left, the others right."""
    align = ["left"] * left + ["right"] * (frame.shape[1] - left)
    return frame.to_markdown(index=False, disable_numparse=True, colalign=align)


def markdown(
    main: pd.DataFrame,
    domains: Mapping[str, Domain],
    estimator: str = "mean",
    further: Sequence[str] = (),
    marks: AgainstStart = NOTHING,
) -> str:
    """The main table as Markdown: an overview, a table per domain under its heading and label, then notes.

    `further` notes stand after those of `notes` and of `marks`.
    """
    blocks = ["# Main results"]
    if main["domain"].nunique() > 1:
        blocks.append(aligned(overview_frame(main, domains, marks), left=2))
    for domain in dict.fromkeys(main["domain"]):
        table = aligned(display_frame(main, domain, domains[domain].metrics, marks), left=1)
        label = _labels(main, domain)
        blocks += [f"## {title(domain)}", f"{label[0].upper()}{label[1:]}.", table]
    blocks.append(listed([*notes(main, estimator), *marks.notes, *further]))
    return "\n\n".join(blocks) + "\n"


def latex(
    main: pd.DataFrame,
    domains: Mapping[str, Domain],
    estimator: str = "mean",
    further: Sequence[str] = (),
    marks: AgainstStart = NOTHING,
) -> str:
    """The main table as LaTeX, one `environment` per domain; notes and marks as in `markdown`."""
    blocks = [PREAMBLE.replace("FILE", "main.tex")]
    explained = " ".join([*notes(main, estimator), *marks.notes, *further])
    for domain in dict.fromkeys(main["domain"]):
        frame = display_frame(main, domain, domains[domain].metrics, marks)
        caption = f"{title(domain)} ({_labels(main, domain)}). {explained}"
        blocks.append(environment(frame, caption, f"main-{domain}"))
        explained = "Cells as in the first table."
    return "\n".join(blocks)


def environment(frame: pd.DataFrame, caption: str, label: str) -> str:
    """A LaTeX `table` of texts, no wider than the page; its first column stands left."""
    frame = frame.map(escape).rename(columns=escape)
    tabular = frame.to_latex(index=False, escape=False, column_format="l" + "r" * (frame.shape[1] - 1)).strip()
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{tab:{label.replace('_', '-')}}}",
        r"\medskip",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        tabular + "%",
        "}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def notes(main: pd.DataFrame, estimator: str) -> list[str]:
    """What a reader must know to read the cells: estimator, interval, n, and how far to trust few seeds."""
    name = {"mean": "mean", "iqm": "interquartile mean"}[estimator]
    scores = main[main["metric"] != TIME.name]
    kinds = " and ".join(sorted(set(scores["interval"]) - {"no interval"})) or "no interval"
    lines = [f"Cells: {name} [95 % bootstrap {kinds}]; n = seeds × test tasks × samples per task."]
    seeds = int(scores["seeds"].min())
    if seeds == 1:
        lines.append("With one seed the interval says nothing about how another training run would end.")
    elif seeds < 5:
        lines.append(f"With {seeds} seeds the interval is at most the range of the runs: read it as a range.")
    lines.append(
        "Time: seconds per turn until the slowest agent has answered, agents in parallel, on the machine of "
        "the run; Cost: tokens generated per agent and turn."
    )
    if main["paper"].notna().any():
        lines.append("paper: the value it reports; Δ: ours minus the paper's (none for time: other machine).")
    return lines


def escape(text: str) -> str:
    """Text with everything that LaTeX would read as a command made printable."""
    return "".join(LATEX.get(character, character) for character in text)


def _cells(row: pd.Series, metric: Metric, beside: bool, mark: str) -> dict[str, str]:
    unit = f" ({metric.unit})" if metric.unit else ""
    head = f"{metric.label}{unit} {'↑' if metric.higher_is_better else '↓'}"
    cell = _cell(row, metric) + mark
    if not beside:
        return {head: cell}
    theirs = f"{row['paper']:g}" if pd.notna(row["paper"]) else ABSENT
    if pd.notna(row["difference"]):
        theirs += f" ({'+' if row['difference'] > 0 else ''}{number(row['difference'], metric)})"
    return {head: cell, f"{metric.label}: paper{'' if metric is TIME else ' (Δ)'}": theirs}


def _cell(row: pd.Series, metric: Metric) -> str:
    if pd.isna(row["point"]):
        return ABSENT
    interval = f" [{number(row['low'], metric)}, {number(row['high'], metric)}]" if pd.notna(row["low"]) else ""
    return number(row["point"], metric) + interval


def _labels(main: pd.DataFrame, domain: str) -> str:
    return "; ".join(dict.fromkeys(main.loc[main["domain"] == domain, "label"]))
