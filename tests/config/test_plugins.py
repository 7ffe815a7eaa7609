"""Domains and methods of other modules: found, entered, configured, and refused in words."""

from __future__ import annotations

import sys
from importlib import metadata

import pytest
from support.configurations import refused
from support.places import ROOT

from collm import domains
from collm.common.errors import ConfigError, ContractError
from collm.config import plugins
from collm.config.load import load_config
from collm.config.resolve import job_of, resolve_job
from collm.config.schema import editor_text
from collm.methods import monte_carlo, registry
from collm.pipeline import code_version
from collm.report import figures

DOMAIN = """
from collm.domains.base import Metric
from collm.domains.options import Option
from collm.domains.rows import RowDomain


class Echo(RowDomain):
    name = "echo"
    licence = "CC0"
    team_sizes = (2, 3)
    fields = ("word",)
    min_reward, max_reward = 0.0, 1.0
    declared_options = (Option("loud", False, "Capitals."),)

    def rows(self, seed):
        return {"train": [{"word": "a"}], "test": [{"word": "b"}]}

    def prompt(self, row, agent):
        return row["word"]

    def best(self, row, agent):
        return row["word"]

    def score(self, row, texts):
        return {"echo": float(all(text == row["word"] for text in texts))}
"""
METHOD = """
from collm.methods.registry import Row


def half(returns):
    return returns / 2


HALF = Row("half", "Half", like="magrpo", advantage="my_half:half")
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a domain and a method; what they bring is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(domains, "_TABLE", dict(domains._TABLE))
    rows, methods = dict(registry.ROWS), dict(registry.METHODS)
    (tmp_path / "my_echo.py").write_text(DOMAIN)
    (tmp_path / "my_half.py").write_text(METHOD)
    yield tmp_path
    for table, before in ((registry.ROWS, rows), (registry.METHODS, methods)):
        for name in set(table) - set(before):
            del table[name]
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


OWN = "plugins: [my_echo, my_half]\ndomains: [echo]\nmethods: [half]\nbaselines: [parallel]\n"
TEAM = "domain: {echo: {team: {num_agents: %d}, options: {loud: true}}}\n"


def test_a_module_brings_domain_options_and_method(here, overlay):
    config = overlay(OWN + TEAM % 3)
    job = resolve_job(config, "echo", "half")
    assert (job.team.num_agents, job.options, job.raw["plugins"]) == (3, {"loud": True}, ["my_echo", "my_half"])
    assert domains.get("echo").title == "Echo"
    assert monte_carlo.advantage_of("half")(4.0) == 2.0
    assert figures.COLOURS["half"] in figures._SPARE_COLOURS and figures.MARKERS["half"] in figures._SPARE_MARKERS
    named = code_version.modules("train", "echo", method="half")
    assert {"my_echo", "my_half", "collm.domains.rows"} <= set(named)


def test_no_experiment_has_the_name_of_a_plugins_domain(here, overlay):
    assert "'echo' is the name of another folder below results" in refused(overlay, f"name: echo\n{OWN}")


def test_a_finished_run_brings_its_plugins_along(here, overlay):
    raw = resolve_job(overlay(OWN + TEAM % 2), "echo", "half").raw
    del domains._TABLE["echo"]
    assert job_of(raw).domain == "echo" and "echo" in domains.names()


def test_the_shipped_schema_knows_no_plugin(here, overlay):
    overlay(OWN + TEAM % 2)
    assert editor_text() == (ROOT / "config" / "config.schema.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OWN + TEAM % 4, "echo/half: team.num_agents is 4; echo is played by 2 or 3 agents: set team.num_agents"),
        (OWN + TEAM.replace("loud", "lout") % 2, "unknown key domain.echo.options.lout"),
        (OWN.replace("my_echo", "my_ecco"), "plugins: there is no module 'my_ecco'; it is looked for among installed"),
        ("plugins: my_echo", "plugins: 'my_echo' is refused"),
        ("plugins: [json]", "plugins: json holds neither a Domain with a name nor a Row"),
        ("domains: [echo]", "domains.0: 'echo' is not allowed"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(here, overlay, text, said):
    assert refused(overlay, text).startswith(said)


def test_a_module_that_fails_is_named(here, overlay):
    (here / "my_fault.py").write_text("1 / 0")
    assert refused(overlay, "plugins: [my_fault]") == (
        "plugins: my_fault fails while it is loaded: ZeroDivisionError: division by zero"
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('    licence = "CC0"', "    licence = None", r"my_echo.Echo.licence is None; write a text"),
        ('name = "echo"', 'name = "My Echo"', r"my_echo.Echo.name is 'My Echo'; it names folders"),
        ("def score", "def scored", r"my_echo.Echo lacks score; write these methods"),
        ("team_sizes = (2, 3)", "team_sizes = (0,)", r"my_echo.Echo.team_sizes is \(0,\)"),
        ('name = "echo"', 'name = "tldr"', r"my_echo.Echo: the name 'tldr' is that of collm.domains.writing.tldr.Tldr"),
    ],
)
def test_a_class_that_is_no_whole_domain_is_named_with_its_field(here, old, new, said):
    (here / "my_echo.py").write_text(DOMAIN.replace(old, new))
    with pytest.raises((ContractError, ConfigError), match=said):
        plugins.load(["my_echo"])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"my_half:half"', '"my_half:quarter"', "advantage 'my_half:quarter' is not there"),
        (', advantage="my_half:half"', "", "has critics or an advantage"),
        ('like="magrpo"', 'like="nobody"', "like is 'nobody', which is no method"),
        ('Row("half"', 'Row("magrpo"', "there is another one of that name"),
    ],
)
def test_a_row_that_cannot_be_trained_is_refused(here, old, new, said):
    (here / "my_half.py").write_text(METHOD.replace(old, new))
    with pytest.raises(ConfigError, match=said):
        plugins.load(["my_half"])


def test_entry_points_of_packages_are_entered(here, monkeypatch):
    points = {
        "collm.domains": [metadata.EntryPoint("echo", "my_echo:Echo", "collm.domains")],
        "collm.methods": [metadata.EntryPoint("half", "my_half:HALF", "collm.methods")],
    }
    sys.path.append(str(here))
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: points[group])
    plugins._load_entry_points.__wrapped__()
    assert "echo" in domains.names() and "half" in registry.METHODS
    points["collm.domains"] = [metadata.EntryPoint("echo", "my_echo:nothing", "collm.domains")]
    with pytest.raises(ConfigError, match="entry point collm.domains 'echo' of a package .* fails while it is loaded"):
        plugins._load_entry_points.__wrapped__()


def test_the_default_configuration_names_no_plugin():
    assert load_config([ROOT / "config" / "config.yaml"])["plugins"] == []
