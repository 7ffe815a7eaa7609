"""A trained team as a folder of its own: adapters, bases that are on no hub, prompts, scores, a model card.

FOLDER/README.md            the model card
FOLDER/agent_0/ ...         one adapter an agent in PEFT's format, with its tokenizer; a whole model if it was
                            trained as one
FOLDER/base/<name>/         a base that is not on the hub
FOLDER/prompts.json         what each agent is shown, as templates and for one task
FOLDER/scores.csv           the evaluation, if there was one
FOLDER/run.json             settings, versions and counts of the run
FOLDER/here.py              writes anew where the base is, after the folder has been moved
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collm.api import model_card, prompts
from collm.api.trained import BASES, TrainedTeam, open_team
from collm.common.errors import ConfigError, ModelError
from collm.common.files import atomic_folder, write_atomic, write_json
from collm.llm import sources

ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
) + ("vocab.json", "merges.txt", "chat_template.jinja")
PRIVATE = ("path", "device_map")  # keys of a model's settings that mean something on the machine of the run alone
HERE = '''"""Write anew where the base of these adapters is; call it after this folder has been moved or downloaded."""

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

for file in sorted(FOLDER.glob("agent_*/adapter_config.json")):
    settings = json.loads(file.read_text(encoding="utf-8"))
    base = FOLDER / "base" / json.loads((FOLDER / "run.json").read_text(encoding="utf-8"))["agents"][file.parent.name]
    if base.is_dir():  # one that is on the hub is found by its name
        settings["base_model_name_or_path"] = str(base)
        file.write_text(json.dumps(settings, indent=2) + "\\n", encoding="utf-8")
        print(f"{file.parent.name}: {base}")
'''


def export(
    run: str | Path,
    to: str | Path,
    *,
    models: str | Path | None = None,
    push: str | None = None,
    private: bool = True,
) -> Path:
    """Write the trained team of a results folder to a new folder; returns its path.

    Args:
        run: results/<domain>/<method>/seed<k>.
        to: the folder to write; it must not be there yet.
        models: folder of the prepared models, by default resources/models beside the results.
        push: "ORG/NAME" of a repository of the hub, to which the folder is uploaded afterwards.
        private: whether a repository that is made for it is private.
    Raises:
        ConfigError: the folder is there already, or the name of the repository is none.
        DataError, ModelError: there is no such run, it was not trained, or its base is not there.
    """
    to = Path(to)
    if push is not None:
        _check_name(push)
    if to.exists():
        raise ConfigError(f"{to} is there already; name a new folder")
    team = open_team(run, models)
    if team.adapters is None:
        raise ModelError(f"{team.label} was not trained: there is nothing to export; name the run of a method")
    facts = json.loads((team.folder / "run.json").read_text(encoding="utf-8"))
    bases = {name: _base(team, name) for name in dict.fromkeys(team.job.team.agents)}
    with atomic_folder(to) as folder:
        for name, base in bases.items():
            if "id" not in base and team.job.team.adapter == "lora":
                _copy_base(team.models[name], folder / BASES / name)
        for agent in range(team.job.team.num_agents):
            base = bases[team.job.team.agents[agent]]
            _copy_agent(team, agent, base, folder, to)
        write_json(folder / "run.json", _public(facts) | {"bases": bases, "agents": _agents(team)})
        asked = prompts.of_team(team)
        write_json(folder / "prompts.json", asked)
        scores = model_card.scores(team)
        if scores is not None:
            write_atomic(folder / "scores.csv", scores.to_csv(index=False, float_format="%.6g"))
        write_atomic(folder / "README.md", model_card.card(team, facts, bases, asked, scores, push))
        write_atomic(folder / "here.py", HERE)
    if push is not None:
        upload(to, push, private)
    return to


def upload(folder: Path, repository: str, private: bool = True) -> None:
    """Upload an export to the hub, where its base stands in the repository itself.

    Raises:
        ConfigError: nobody is logged in, or the hub refuses.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    api = huggingface_hub.HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="Adapters of a CoLLM team", ignore_patterns=CONFIGS
        )
        for file in sorted(folder.glob("agent_*/adapter_config.json")):
            settings = json.loads(file.read_text(encoding="utf-8"))
            if os.path.isabs(settings["base_model_name_or_path"]):  # a place on this machine; here.py writes it anew
                settings["base_model_name_or_path"] = repository
            content = json.dumps(settings, indent=2).encode()
            api.upload_file(path_or_fileobj=content, path_in_repo=f"{file.parent.name}/{file.name}", repo_id=repository)
    except (HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled, ConnectionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"{folder} is written, and the hub did not take it as {repository} ({reason}); log in with "
            f"`hf auth login`, unset HF_HUB_OFFLINE, and upload it with: hf upload {repository} {folder}"
        ) from error


CONFIGS = "agent_*/adapter_config.json"


def _check_name(repository: str) -> None:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ConfigError(f"--push {repository} names no repository; write ORG/NAME ({error})") from None
    if repository.count("/") != 1:
        raise ConfigError(f"--push {repository} names no repository; write ORG/NAME")


def _base(team: TrainedTeam, name: str) -> dict[str, Any]:
    """What an adapter has to say of its base: hub id and commit, or that it travels along."""
    made, spec = sources.describe(team.models[name]), team.job.models[name]
    facts = {"source": spec["source"], "label": made.get("label"), "parameters": made.get("parameters")}
    if spec["source"] == "hub":
        return facts | {"id": spec["id"], "revision": made["revision"]}
    return facts | ({"revision": made["revision"]} if "revision" in made else {})


def _agents(team: TrainedTeam) -> dict[str, str]:
    """The name of each agent's base."""
    return {f"agent_{agent}": name for agent, name in enumerate(team.job.team.agents)}


def _copy_base(source: Path, out: Path) -> None:
    """A base without what only this project reads."""
    out.mkdir(parents=True)
    for file in sorted(source.iterdir()):
        if file.is_file() and file.name not in ("model.json", sources.DIGESTS):
            shutil.copyfile(file, out / file.name)


def _copy_agent(team: TrainedTeam, agent: int, base: Mapping[str, Any], folder: Path, final: Path) -> None:
    """The adapter of an agent, which names its base, or its whole model; and its tokenizer.

    Args:
        folder: that is being filled.
        final: where it will be.
    """
    name = f"agent_{agent}"
    out = folder / name
    out.mkdir()
    whole = team.job.team.adapter == "full"
    for file in sorted((Path(str(team.adapters)) / name).iterdir()):
        if file.name in ADAPTER or (whole and file.name not in ("value_head.pt", "README.md")):
            shutil.copyfile(file, out / file.name)
    for file in team.base(agent).iterdir():
        if file.name in TOKENIZER:
            shutil.copyfile(file, out / file.name)
    if whole:
        return
    settings = json.loads((out / ADAPTER[0]).read_text(encoding="utf-8"))
    if "id" in base:
        settings |= {"base_model_name_or_path": base["id"], "revision": base["revision"]}
    else:
        place = final.resolve() / BASES / team.job.team.agents[agent]
        settings |= {"base_model_name_or_path": str(place), "revision": None}
    write_json(out / ADAPTER[0], settings)


def _public(facts: Mapping[str, Any]) -> dict[str, Any]:
    """run.json without places on the machine of the run."""
    config = json.loads(json.dumps(facts["config"]))
    config["data"].pop("path", None)
    for spec in config["models"].values():
        for key in PRIVATE:
            spec.pop(key, None)
    return {**facts, "config": config}
