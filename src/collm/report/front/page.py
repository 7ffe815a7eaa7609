"""The report as one page: headline, what was run on what, and a section per benchmark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pandas as pd

from collm.domains.base import Domain, Metric
from collm.methods.registry import ROWS
from collm.report import health, table_text, tables
from collm.report.against_start import AgainstStart
from collm.report.evidence import captions, text_quality, timing
from collm.report.front.claims import claims, counted, setting, what_it_is, who_reads_whom
from collm.report.front.markup import estimates, facts, folded, picture, picture_file, sentences, table, text
from collm.report.front.overview_figure import overview, svg
from collm.report.health import RunHealth
from collm.report.results import Results

KINDS = {
    "curves": "Learning curves",
    "bars": "Final results",
    "worlds": "Final worlds",
    "health": "Health of the training runs",
}
REWARDS = "Reward of the last turn and the parts that sum to it, with 95 % intervals"
CHANGES = "Each method minus what its training started from, on the same seeds and tasks, with 95 % intervals"


@dataclass(frozen=True)
class Numbers:
    """All frames that the page shows, as the tables have them."""

    main: pd.DataFrame
    rewards: pd.DataFrame
    differences: pd.DataFrame
    marks: AgainstStart
    runs: Sequence[RunHealth]
    texts: pd.DataFrame  # of `evidence.text_quality`
    estimator: str


def page(results: Results, domains: Mapping[str, Domain], numbers: Numbers, folder: Path) -> str:
    """The whole page; drawings are taken from `figures` below `folder`, links go to pages beside it."""
    pieces = {
        "STYLE": _static("report.css"),
        "COUNTED": text(f"{counted(results)} {who_reads_whom(results)}"),
        "LINKS": _links(domains, folder),
        "OVERVIEW": _overview(results, domains, numbers),
        "CLAIMS": sentences(claims(numbers.main, numbers.differences, domains)),
        "CAUTIONS": _cautions(domains),
        "FIGURE": _figure(results, numbers, domains),
        "NOTES": sentences([*table_text.notes(numbers.main, numbers.estimator), *numbers.marks.notes]),
        "MISSING": _missing(results),
        "SECTIONS": "\n".join(_section(results, domain, numbers, folder) for domain in domains.values()),
    }
    return re.sub("@@([A-Z]+)@@", lambda match: pieces[match[1]], _static("report.html"))


def _links(domains: Mapping[str, Domain], folder: Path) -> str:
    sections = [f'<a href="#{text(name)}">{text(domain.title)}</a>' for name, domain in domains.items()]
    pages = [
        f'<a class="page" href="{name}">{words}</a>'
        for name, words in (("episodes.html", "Read the episodes"), ("workflow.html", "Jobs, run times and software"))
        if (folder / name).is_file()
    ]
    return "\n".join([*sections, *pages])


def _overview(results: Results, domains: Mapping[str, Domain], numbers: Numbers) -> str:
    frame = table_text.overview_frame(numbers.main, domains, numbers.marks)
    shown = list(dict.fromkeys(numbers.main["domain"]))
    notes = {place: _label(results, domains[name]) for place, name in enumerate(shown)}
    return table(frame, "Every benchmark's own metric on its test tasks", heads=2, notes=notes)


def _figure(results: Results, numbers: Numbers, domains: Mapping[str, Domain]) -> str:
    words = "Every method on every benchmark, with 95 % intervals"
    return picture(svg(overview(numbers.main, domains)), words, captions.overview(results, numbers.main))


def _cautions(domains: Mapping[str, Domain]) -> str:
    found = [text_quality.caution(domain) for domain in domains.values() if domain.caution]
    return f'<div class="warning">{sentences(found)}</div>' if found else ""


def _captions(results: Results, domain: Domain, numbers: Numbers) -> dict[str, str]:
    """What stands below each picture of a section; beside its file the same."""
    return {
        "curves": captions.learning_curves(results, domain.name, numbers.estimator),
        "bars": captions.final_bars(results, domain, numbers.main),
        "worlds": captions.worlds(results, domain.name),
        "health": captions.health(results, domain),
    }


def _texts(domain: Domain, numbers: Numbers) -> str:
    """The measures beside the score of a writing benchmark, with what the score does not see."""
    if not domain.caution and not domain.source_field:
        return ""
    warning = f'<div class="warning"><p>{text(text_quality.caution(domain))}</p></div>' if domain.caution else ""
    if not text_quality.measured(numbers.texts, domain.name):
        return f'{warning}<p class="note">Texts were not measured beside their score: evaluate again for it.</p>'
    shown = table(text_quality.display_frame(numbers.texts, domain), f"{domain.title}: texts beside their score")
    return warning + shown + folded("What these measures are", sentences(text_quality.NOTES))


def _section(results: Results, domain: Domain, numbers: Numbers, folder: Path) -> str:
    name = domain.name
    final = table_text.display_frame(numbers.main, name, domain.metrics, numbers.marks)
    below = _captions(results, domain, numbers)
    drawings = {
        kind: picture_file(folder / "figures" / f"{kind}_{name}.svg", f"{domain.title}: {words.lower()}", below[kind])
        for kind, words in KINDS.items()
        if kind != "worlds" or (folder / "figures" / f"worlds_{name}.svg").is_file()
    }
    notes = [*timing.notes(results), *tables.cut_notes(results), *numbers.marks.notes]
    runs = [run for run in numbers.runs if run.domain == name]
    episodes = f'<p><a href="episodes.html#domain={name}">Read what the teams said on {text(domain.title)}</a></p>'
    return "\n".join(
        [
            f'<section id="{text(name)}"><h2>{text(domain.title)}</h2>',
            f"<p>{text(what_it_is(domain))}</p>",
            facts(setting(results, name, _label(results, domain))),
            table(final, f"{domain.title}: final results"),
            _texts(domain, numbers),
            sentences(_about(domain.title, notes)),
            drawings["curves"],
            drawings["bars"],
            drawings.get("worlds", ""),
            episodes if (folder / "episodes.html").is_file() else "",
            folded("Rewards and their parts", _estimates(numbers.rewards, domain, REWARDS)),
            folded("What training changed", _estimates(numbers.differences, domain, CHANGES)),
            folded("Health of the training runs", _health(runs, drawings["health"], domain)),
            "</section>",
        ]
    )


def _health(runs: Sequence[RunHealth], drawing: str, domain: Domain) -> str:
    if not runs:
        return ""
    lines = table(health.display_frame(runs), "One line per training run")
    remarks = [_with_roles(line, domain) for line in health.remark_lines(runs)]
    return lines + folded("What the columns mean", sentences(health.NOTES)) + sentences(remarks) + drawing


def _with_roles(line: str, domain: Domain) -> str:
    """A remark in which agents and their critics, `agent_0` and `critic_0`, carry the name of their role."""

    def named(match: re.Match[str]) -> str:
        role = domain.roles[int(match[1])] if int(match[1]) < len(domain.roles) else ""
        return f"{match[0]} ({role.replace('_', ' ')})" if role else match[0]

    return re.sub(r"\b(?:agent|critic)_(\d+)\b", named, line)


def _estimates(frame: pd.DataFrame, domain: Domain, caption: str) -> str:
    own = frame[frame["domain"] == domain.name]
    if own.empty:
        return ""
    heads = {metric.name: _head(metric) for metric in (*domain.metrics, tables.TOKENS)}

    def head(name: str) -> str:
        words = name.removeprefix("part.").replace("_", " ")
        return heads.get(name, words[:1].upper() + words[1:])

    return table(estimates(own, lambda method: ROWS[method].label, head), caption)


def _head(metric: Metric) -> str:
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label


def _about(title: str, notes: Sequence[str]) -> list[str]:
    """The notes that speak of one benchmark."""
    return [note for note in notes if note.startswith((f"{title}:", f"† {title},"))]


def _label(results: Results, domain: Domain) -> str:
    method = results.methods(domain.name)[0]
    label = tables.origin(results, domain, method).label
    return f"{label[0].upper()}{label[1:]}"


def _missing(results: Results) -> str:
    if not results.missing:
        return ""
    files = sentences(str(path) for path in results.missing)
    return f'<div class="warning"><p>Runs are left out, because files are not there:</p>{files}</div>'


def _static(name: str) -> str:
    return resources.files("collm.report.front").joinpath("static", name).read_text(encoding="utf-8")
