"""Prepared data and models that a plan may use: those that were made with the plan's own settings, no others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collm.config.job import Job
from collm.llm.sources import folder
from collm.pipeline import provenance
from collm.pipeline.dependencies import model_settings


def data_differences(data: Path, made_with: Mapping[str, Any]) -> list[str] | None:
    """How the settings of prepared data differ from `made_with`, in words; None if no data are there."""
    file = data / "manifest.json"
    if not file.is_file():
        return None
    recorded = json.loads(file.read_text(encoding="utf-8")).get("settings", {})
    return provenance.differences(recorded, made_with)


def model_folder(root: Path, job: Job, name: str) -> Path:
    """Where a job's model lies or will lie."""
    return folder(root / "resources" / "models", name, job.models[name]["source"], job.domain)


def has_model(root: Path, job: Job, name: str) -> bool:
    """Whether a job's model is there, made from the job's own specification."""
    file = model_folder(root, job, name) / "model.json"
    if not file.is_file():
        return False
    spec = json.loads(file.read_text(encoding="utf-8")).get("spec", {})
    return model_settings(spec) == model_settings(job.models[name])
