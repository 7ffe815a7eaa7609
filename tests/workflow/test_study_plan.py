"""The workflow plans the study, and gives verdicts from small files in a new clone, where nothing has run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.made_up_study import score_rows, write_study
from support.workflow import NOTHING, copy_of_repository, planned, snakemake

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(900)]
STUDY = ("config/study.yaml", "config/study_paper_options.yaml")


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A copy in which nothing has run."""
    return copy_of_repository(tmp_path_factory.mktemp("clone"))


@pytest.mark.parametrize("overlays", [STUDY[:1], STUDY], ids=["stable", "paper"])
def test_the_study_is_planned(clone, overlays):
    jobs = planned(snakemake(clone, "-n", overlays=overlays))
    trained = [wildcards for rule, wildcards in jobs if rule.startswith("train")]
    assert len({wildcards.split("domain=")[1].split(",")[0] for wildcards in trained}) == 5
    assert sum(rule == "warm_start" for rule, _ in jobs) == 5 * 5 * 2  # of the team, and of one agent
    assert ("tables", "") in jobs and "claims" not in {rule for rule, _ in jobs}


def test_verdicts_on_a_new_clone(clone):
    pairs = {("stable", "tldr", m, "score"): [60.0 + i, 61.0, 59.0 - i] for i, m in enumerate(("magrpo", "collm_cc"))}
    for file in (clone / "docs/study").glob("*.csv"):
        file.unlink()
    write_study(clone / "docs/study", scores=score_rows(pairs))
    assert {rule for rule, _ in planned(snakemake(clone, "-n", "claims"))} == {"claims"}
    snakemake(clone, "--cores", "1", "claims")
    frame = pd.read_csv(clone / "results/tables/claims.csv")
    assert frame["seeds"].max() == 3 and "not run" in set(frame["verdict"])
    assert (clone / "results/figures/claims.png").is_file() and (clone / "results/tables/claims.md").is_file()
    assert NOTHING in snakemake(clone, "-n", "claims")
