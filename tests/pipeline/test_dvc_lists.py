"""The lists of benchmarks in dvc.yaml follow from a configuration."""

from __future__ import annotations

import pytest
import yaml
from support.configurations import DEFAULT
from support.places import ROOT

from collm.common.errors import ConfigError
from collm.config.load import load_config
from collm.pipeline import dvc_lists

TEXT = (ROOT / "dvc.yaml").read_text(encoding="utf-8")


def test_the_shipped_file_is_that_of_the_default_configuration():
    assert dvc_lists.with_domains(TEXT, load_config([DEFAULT])["domains"]) == TEXT


def test_an_overlay_gives_both_lists(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.yaml").write_text("domains: [navigate, tldr]\n")
    with pytest.raises(ConfigError, match="there is no dvc.yaml here"):
        dvc_lists.main(["two.yaml"])
    (tmp_path / "dvc.yaml").write_text(TEXT)
    assert dvc_lists.main(["two.yaml"]) == 0
    assert capsys.readouterr().out == "dvc.yaml: navigate, tldr\n"
    stages = yaml.safe_load((tmp_path / "dvc.yaml").read_text())["stages"]
    assert stages["reproduce"]["matrix"]["domain"] == ["navigate", "tldr"]
    deps = [dep for dep in stages["report"]["deps"] if dep.startswith("results/")]
    assert deps == ["results/navigate", "results/tldr"]
    assert stages["reproduce"]["outs"] == yaml.safe_load(TEXT)["stages"]["reproduce"]["outs"]


def test_a_file_without_the_lists_is_refused():
    with pytest.raises(ConfigError, match="matrix of domain is not there once"):
        dvc_lists.with_domains("stages: {}\n", ["tldr"])
