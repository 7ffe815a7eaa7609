"""The model card of an exported team: what it is, what it scored, how to load it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
import yaml

from collm import __version__
from collm.api import prompts
from collm.api.trained import BASES, TrainedTeam
from collm.common.errors import DataError
from collm.methods.registry import ROWS
from collm.report import tables
from collm.report.results import Run, collect, read_json

SHOWN = ("training.epochs", "training.max_updates", "training.agent_learning_rate", "training.critic_learning_rate")
PLAYED = ("max_new_tokens", "temperature", "top_p", "top_k", "turns")


def scores(team: TrainedTeam, resamples: int = 10_000) -> pd.DataFrame | None:
    """The run's own rows of the main table, and those of what it started from with the same seed.

    None if the run was not evaluated, or the manifest of its data is not there.
    """
    if team.root is None or not (team.folder / "samples.jsonl").is_file():
        return None
    names = [*(name for name in tables.references(ROWS[team.job.method].single)), team.job.method]
    folders = {name: team.folder.resolve().parents[1] / name / f"seed{team.seed}" for name in names}
    runs = [Run(team.job.domain, name, team.seed, folder) for name, folder in folders.items()]
    whole = [run for run in runs if all(path.is_file() for path in run.files)]
    try:
        loaded = collect(whole, team.root / "data")
    except DataError:
        return None
    frame = tables.main_frame(loaded, {team.job.domain: team.domain()}, resamples=resamples)
    return frame[["method", "metric", "point", "low", "high", "interval", "seeds", "tasks", "samples", "label"]]


def card(
    team: TrainedTeam,
    facts: Mapping[str, Any],
    bases: Mapping[str, Mapping[str, Any]],
    asked: Mapping[str, Any],
    measured: pd.DataFrame | None,
    repository: str | None = None,
) -> str:
    """The text of README.md.

    Args:
        facts: run.json.
        bases: what adapters say of their bases, by name.
        asked: what `prompts.of_team` gives.
        measured: what `scores` gives.
        repository: of the hub, if it is to be pushed.
    """
    domain, row = team.domain(), ROWS[team.job.method]
    parts = [
        _front(bases, domain.title),
        f"# {domain.title}: a team trained by {row.label}",
        _intro(team, domain.title),
        f"## Agents\n\n{_agents(team, bases, domain.roles)}",
        f"## Scores\n\n{_scores(team, measured)}",
        f"## Load it\n\n{_loading(team, bases, repository)}",
        f"## Prompts\n\n{_prompts(team, asked)}",
        f"## Training\n\n{_training(team, facts)}",
        f"## Data\n\n{_data(team)}",
        "## Limits\n\nThe team was trained for this benchmark and for nothing else. A reward is a rule that a program "
        "can check: a high one says that the rule is met, not that a text is true or useful. One seed is no finding.",
    ]
    return "\n\n".join(parts) + "\n"


def _front(bases: Mapping[str, Mapping[str, Any]], title: str) -> str:
    ids = [base["id"] for base in bases.values() if "id" in base]
    head: dict[str, Any] = {"base_model": ids[0] if len(ids) == 1 else ids} if ids else {}
    head |= {"library_name": "peft", "pipeline_tag": "text-generation", "tags": ["collm", "lora", "multi-agent", title]}
    return f"---\n{yaml.safe_dump(head, sort_keys=False).strip()}\n---"


def _intro(team: TrainedTeam, title: str) -> str:
    job, row = team.job, ROWS[team.job.method]
    count, apart = "One agent answers", ""
    if job.team.num_agents > 1:
        count = f"{job.team.num_agents} agents answer"
        apart = " in parallel, without seeing each other, and are paid one shared reward"
    critic = {
        "joint": "a critic of the joint history",
        "local": "a critic per agent",
        None: "Monte Carlo returns of a group of answers",
    }.get(row.critics, str(row.critics))
    return (
        f"{count} tasks of {title}{apart}. Trained with CoLLM {__version__} by {row.label} ({critic}; "
        f"[arXiv 2601.21972](https://arxiv.org/abs/2601.21972)), seed {team.seed}, reward profile `{job.profile}`."
    )


def _agents(team: TrainedTeam, bases: Mapping[str, Mapping[str, Any]], roles: tuple[str, ...]) -> str:
    lines = ["| folder | role | base |", "|---|---|---|"]
    for agent, role in enumerate(roles):
        name = team.job.team.agents[agent]
        base = bases[name]
        if "id" in base:
            words = f"`{base['id']}` at commit `{base['revision']}`"
        else:
            words = f"`{BASES}/{name}/` in this folder ({base['label']}, {base['parameters']:,} parameters)"
        lines.append(f"| `agent_{agent}/` | {role} | {words} |")
    return "\n".join(lines)


def _scores(team: TrainedTeam, measured: pd.DataFrame | None) -> str:
    if measured is None:
        return "The run was not evaluated."
    units = {metric.name: metric for metric in tables.table_metrics(team.domain().metrics)}
    rows = list(dict.fromkeys(measured["method"]))
    first = measured.iloc[0]
    lines = ["| | " + " | ".join(ROWS[row].label for row in rows) + " |", "|---|" + "---|" * len(rows)]
    for name in dict.fromkeys(measured["metric"]):
        metric = units[name]
        cells = []
        for row in rows:
            value = measured[(measured["method"] == row) & (measured["metric"] == name)].iloc[0]
            bounds = "" if pd.isna(value["low"]) else f" [{tables.number(value['low'], metric)}, "
            bounds += f"{tables.number(value['high'], metric)}]" if bounds else ""
            cells.append(f"{tables.number(value['point'], metric)}{bounds}" if pd.notna(value["point"]) else "")
        unit = f" ({metric.unit})" if metric.unit else ""
        lines.append(f"| {metric.label}{unit} | " + " | ".join(cells) + " |")
    tasks = measured.loc[measured["metric"] != tables.TIME.name, "tasks"].max()
    counted = "1 test task" if tasks == 1 else f"{tasks} test tasks"
    note = f"Mean [95 % bootstrap interval over tasks], {counted}, seed {team.seed}; {first['label']}."
    return "\n".join([*lines, "", note])


def _loading(team: TrainedTeam, bases: Mapping[str, Mapping[str, Any]], repository: str | None) -> str:
    name = team.job.team.agents[0]
    base = bases[name]
    if team.job.team.adapter == "full":
        return (
            "Every agent is a whole model:\n\n```python\n"
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            'model = AutoModelForCausalLM.from_pretrained("FOLDER/agent_0")\n'
            'tokenizer = AutoTokenizer.from_pretrained("FOLDER/agent_0")\n```'
        )
    count = team.job.team.num_agents
    same = [agent for agent in range(count) if team.job.team.agents[agent] == name]
    modules = " ".join(f"agent_{agent}=FOLDER/agent_{agent}" for agent in same)
    served = f"{base['id']} --revision {base['revision']}" if "id" in base else f"FOLDER/{BASES}/{name}"
    moved = "" if "id" in base else _moved(repository, name)
    others = "" if len(same) == count else " Agents on another base need a server of their own.\n"
    return f"""With FOLDER as the place of this folder, each agent by itself:

```python
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

model = AutoPeftModelForCausalLM.from_pretrained("FOLDER/agent_0")
tokenizer = AutoTokenizer.from_pretrained("FOLDER/agent_0")
```
{moved}
All of them by one server, each under its own name as a model:

```
vllm serve {served} --enable-lora --max-lora-rank {_rank(team)} --lora-modules {modules}
```
{others}
The whole team, prompts and reward included: `collm ask FOLDER "..."` (pip install collm from its repository)."""


def _moved(repository: str | None, name: str) -> str:
    pushed = (
        f"\nOn the hub the base is `{repository}`, subfolder `{BASES}/{name}`; download the whole repository first.\n"
        if repository
        else ""
    )
    call = "Adapters name their base by its place: after moving this folder, call `python FOLDER/here.py` once."
    return f"\n{call}\n{pushed}"


def _rank(team: TrainedTeam) -> int:
    """The smallest rank that vLLM knows and that holds the adapters'."""
    rank = int(team.job.team.lora["rank"])
    return next((known for known in (8, 16, 32, 64, 128, 256, 320, 512) if known >= rank), rank)


def _prompts(team: TrainedTeam, asked: Mapping[str, Any]) -> str:
    kind = (
        "messages for the tokenizer's chat template"
        if asked["chat_template"]
        else "plain text, without a chat template"
    )
    parts = [f"Agents know these prompts alone ({kind}; `prompts.json` has them with an example and later turns)."]
    for name, facts in asked["agents"].items():
        parts.append(f"`{name}`, {facts['role']}:\n\n````\n{prompts.in_words(facts['template'])}\n````")
    played = {key: getattr(team.job.rollout, key) for key in PLAYED}
    parts.append("Sampling: " + ", ".join(f"{key} {value}" for key, value in played.items()) + ".")
    return "\n\n".join(parts)


def _training(team: TrainedTeam, facts: Mapping[str, Any]) -> str:
    job, counts = team.job, facts.get("counts", {})
    known = {key: value for key, value in ((key, _value(job.raw, key)) for key in SHOWN) if value is not None}
    lines = [f"- {key}: {value}" for key, value in known.items()]
    if job.team.adapter == "lora":
        lines.append(
            f"- LoRA: rank {job.team.lora['rank']}, alpha {job.team.lora['alpha']}, {job.team.lora['targets']}"
        )
    if job.team.one_for_all:
        lines.append("- all agents were trained as one: their folders hold the same numbers")
    if "update" in counts:
        lines.append(f"- {counts['update']} updates on {counts['env_step']} joint actions, {counts['tokens']} tokens")
    lines.append(f"- {facts['wall_seconds']} s on {facts.get('device_name') or facts['device']}")
    lines.append(f"- code: commit {facts.get('git_commit') or 'unknown'}; " + _versions(facts["versions"]))
    return "\n".join([*lines, "", "All settings are in `run.json` under `config`."])


def _value(settings: Mapping[str, Any], key: str) -> Any:
    block, _, name = key.partition(".")
    return settings.get(block, {}).get(name)


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in ("torch", "transformers", "peft") if name in versions)


def _data(team: TrainedTeam) -> str:
    file = None if team.root is None else team.root / "data" / team.job.domain / "manifest.json"
    if file is None or not file.is_file():
        kept = {key: team.job.data.get(key) for key in ("source", "train", "test")}
        return f"Settings of the run: `{json.dumps(kept)}`."
    manifest = read_json(file)
    splits = [f"{name}: {entry['rows']} tasks ({entry['slice']})" for name, entry in manifest["splits"].items()]
    return f"{manifest['label']}; {'; '.join(splits)}. Licence: {manifest.get('licence', 'not stated')}."
