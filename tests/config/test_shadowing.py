"""What an overlay says in vain is told with the line that works, and overlays of the guides do what their text says."""

from __future__ import annotations

import re

import pytest
import yaml
from support.places import ROOT

from collm.config import variants
from collm.config.load import check_files, load_config
from collm.config.resolve import resolve_job, resolve_settings
from collm.domains import NAMES

DEFAULT = ROOT / "config" / "config.yaml"
GUIDES = ("README.md", "config/README.md", "docs/running.md", "docs/smol.md", "docs/teams.md", "docs/faq.md")
SHIPPED = sorted(path for path in (ROOT / "config").glob("*.yaml") if path.name != "claims.yaml")


@pytest.fixture
def load(tmp_path, capsys):
    """Loads overlays on the default configuration; gives the configuration and the lines on stderr."""

    def read(*texts):
        files = [tmp_path / f"{number}.yaml" for number in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)
        merged = load_config([DEFAULT, *files])
        return merged, capsys.readouterr().err.splitlines()

    return read


def test_defaults_that_a_domain_shadows_are_told_with_the_line_that_works(load):
    text = "domains: [tldr, mbpp]\nmethods: [collm_cc]\nbaselines: []\ndefaults: {warm_start: {epochs: 10}}\n"
    merged, lines = load(text)
    assert lines == [
        "warning: defaults.warm_start.epochs: 10 does not reach tldr (domain.tldr.warm_start.epochs: 4 wins); "
        "write domain: {tldr: {warm_start: {epochs: 10}}}"
    ]
    epochs = {name: resolve_job(merged, name, "collm_cc").warm_start.epochs for name in ("tldr", "mbpp")}
    assert epochs == {"tldr": 4, "mbpp": 10}
    cured, lines = load(text, lines[0].partition("; write ")[2])
    assert lines == []
    assert resolve_job(cured, "tldr", "collm_cc").warm_start.epochs == 10


def test_the_example_of_the_fault_list(load):
    _, lines = load("defaults: {rollout: {discount: 1.0}}\ndomain: {tldr: {rollout: {discount: 0.5}}}")
    assert lines == []
    _, lines = load("domain: {tldr: {rollout: {discount: 0.5}}}", "defaults: {rollout: {discount: 1.0}}")
    assert lines == [
        "warning: defaults.rollout.discount: 1.0 does not reach tldr (domain.tldr.rollout.discount: 0.5 wins); "
        "write domain: {tldr: {rollout: {discount: 1.0}}}"
    ]


@pytest.mark.parametrize(
    ("texts", "loser", "winner"),
    [
        # A method's block of the defaults wins over the defaults.
        (
            [
                "defaults: {methods: {magrpo: {training: {tasks_per_rollout: 4}}}}",
                "defaults: {training: {tasks_per_rollout: 5}}",
            ],
            "defaults.training.tasks_per_rollout: 5",
            "magrpo (defaults.methods.magrpo.training.tasks_per_rollout: 4 wins)",
        ),
        # A method's block of a domain wins over the domain's.
        (
            [
                "domain: {tldr: {methods: {magrpo: {training: {epochs: 2}}}}}",
                "domain: {tldr: {training: {epochs: 10}}}",
            ],
            "domain.tldr.training.epochs: 10",
            "tldr/magrpo (domain.tldr.methods.magrpo.training.epochs: 2 wins)",
        ),
        # A row's own block wins over that of the row it is like.
        (
            ["methods: [marloo]\ndefaults: {methods: {magrpo: {training: {normalize_advantage: true}}}}"],
            "defaults.methods.magrpo.training.normalize_advantage: true",
            "marloo (defaults.methods.marloo.training.normalize_advantage: false wins)",
        ),
        # Settings of a block inside a block.
        (
            ["domain: {tldr: {team: {lora: {rank: 4}}}}", "defaults: {team: {lora: {rank: 8}}}"],
            "defaults.team.lora.rank: 8",
            "tldr (domain.tldr.team.lora.rank: 4 wins)",
        ),
        # Models made from scratch differ per domain.
        (
            ["models: {scratch: {pretrain: {steps: 9}}}"],
            "models.scratch.pretrain.steps: 9",
            "tldr (models.scratch.per_domain.tldr.pretrain.steps: 120 wins)",
        ),
        # A domain has a source of its own.
        (
            ["domain: {str_build: {data: {source: embedded}}}", "data: {source: hub}"],
            "data.source: hub",
            "str_build (domain.str_build.data.source: embedded wins)",
        ),
        # The warm start that a method starts from is no row of its own here.
        (
            ["domains: [algebra]\nbaselines: []\ndefaults: {warm_start: {noise: 0.1}}"],
            "defaults.warm_start.noise: 0.1",
            "algebra (domain.algebra.warm_start.noise: 0.2 wins)",
        ),
    ],
)
def test_every_pair_of_layers(load, texts, loser, winner):
    _, lines = load(*texts)
    mine = [line for line in lines if line.startswith(f"warning: {loser} does not reach ")]
    assert len(mine) == 1 and winner in mine[0]
    _, lines = load(*texts, mine[0].partition("; write ")[2])
    assert [line for line in lines if loser in line] == []


@pytest.mark.parametrize(
    "text",
    [
        "defaults: {evaluation: {examples: 7}}",
        # Equal values shadow nothing.
        "domains: [tldr]\nmethods: [collm_cc]\nbaselines: []\ndefaults: {warm_start: {epochs: 4}}",
        # What one file says of both is meant.
        "domains: [tldr]\nmethods: [collm_cc]\nbaselines: []\ndefaults: {warm_start: {epochs: 9}}\n"
        "domain: {tldr: {warm_start: {epochs: 3}}}",
        # Domains and methods that do not run.
        "domains: [mbpp]\nmethods: [collm_cc]\nbaselines: []\ndefaults: {warm_start: {epochs: 9}}",
        # One agent alone plays one turn, whatever domains say of teams.
        "domains: [str_build]\nmethods: [ac]\nbaselines: []\ndomain: {str_build: {rollout: {turns: 3}}}",
    ],
)
def test_what_reaches_all_it_is_meant_for_is_not_told(load, text):
    assert load(text)[1] == []


@pytest.mark.parametrize("file", SHIPPED, ids=lambda path: path.name)
def test_shipped_overlays_say_nothing_in_vain(file, capsys):
    before = [ROOT / "config" / "paper.yaml"] if file.name == "paper_full.yaml" else []
    load_config([DEFAULT, *before, file])
    assert capsys.readouterr().err == ""


def test_files_that_snakemake_has_merged_are_told_of_too(tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_text("domains: [tldr]\nmethods: [collm_cc]\nbaselines: []\ndefaults: {warm_start: {epochs: 10}}\n")
    merged = load_config([DEFAULT, file])
    (expected,) = capsys.readouterr().err.splitlines()
    check_files([DEFAULT, DEFAULT.parent.parent / "config" / "config.yaml", file], merged)
    assert capsys.readouterr().err.splitlines() == [expected]


def test_of_several_processes_one_speaks(tmp_path, capsys, monkeypatch):
    (tmp_path / "mine.yaml").write_text("defaults: {warm_start: {epochs: 10}}\n")
    monkeypatch.setenv("RANK", "1")
    load_config([DEFAULT, tmp_path / "mine.yaml"])
    assert capsys.readouterr().err == ""


def test_a_resolved_file_is_one_file_and_warns_of_nothing(tmp_path, capsys):
    (tmp_path / "all.yaml").write_text(yaml.safe_dump(load_config([DEFAULT])))
    load_config([tmp_path / "all.yaml"])
    assert capsys.readouterr().err == ""


# guides


def blocks(name, kind):
    """Code blocks of one kind in a guide."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return [block for own, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.M) if own == kind]


def inline(name):
    """Examples inside a sentence of a guide that are mappings of the configuration."""
    text = " ".join((ROOT / name).read_text(encoding="utf-8").split())
    keys = "|".join((*yaml.safe_load(DEFAULT.read_text(encoding="utf-8")), "team", "rollout"))
    return re.findall(rf"`((?:{keys}): [\[{{][^`]*)`", text)


def test_the_readmes_own_overlay_does_what_it_says(load):
    (text,) = (block for block in blocks("README.md", "yaml") if "# mine.yaml" in block)
    merged, lines = load(text)
    assert lines == []
    assert (merged["domains"], merged["seeds"]) == (["tldr"], [0, 1, 2, 3, 4])
    for method in ("magrpo", "collm_dc", "collm_cc"):
        job = resolve_job(merged, "tldr", method)
        assert job.training.max_updates == 100
        assert job.training.agent_learning_rate == (5.0e-4 if method == "magrpo" else 2.0e-3)
        assert (job.data["source"], job.data["path"]) == ("path", "/where/my/data/is")


def test_the_warning_in_the_guide_is_what_a_start_prints(load):
    _, lines = load("domains: [tldr]\ndefaults: {warm_start: {epochs: 10}}")
    (printed,) = (block for block in blocks("docs/running.md", "text") if block.startswith("warning: "))
    assert [" ".join(printed.split())] == lines


def test_the_posts_of_the_guide(tmp_path, capsys):
    (text,) = (block for block in blocks("docs/smol.md", "yaml") if "only short posts" in block)
    (tmp_path / "posts.yaml").write_text(text)
    merged = load_config([DEFAULT, ROOT / "config" / "smol.yaml", tmp_path / "posts.yaml"])
    assert capsys.readouterr().err == ""
    for method in ("magrpo", "collm_cc"):
        job = resolve_job(merged, "tldr", method)
        assert (job.data["source"], job.data["path"]) == ("path", "/where/the/data/is")
        assert job.data["test"] == "train[1000:1300]"
        assert (job.team.agents, job.options["max_words"], job.training.max_updates) == (("smol", "smol"), 150, 30)


def test_the_variants_of_the_guide(load):
    (text,) = (block for block in blocks("docs/running.md", "yaml") if "# variants.yaml" in block)
    merged, lines = load(text)
    assert lines == [] and (merged["name"], merged["seeds"], [*merged["variants"]]) == (
        "discounts",
        [0, 1, 2],
        ["g09", "g10"],
    )
    for name, discount in (("g09", 0.9), ("g10", 1.0)):
        assert resolve_job(variants.merged(merged, name), "str_build", "collm_cc").rollout.discount == discount


def test_the_team_of_three_of_the_guide(load):
    (text,) = (block for block in blocks("docs/teams.md", "yaml") if "num_agents" in block)
    merged, lines = load(text)
    assert lines == []
    assert {method: resolve_job(merged, "navigate", method).team.num_agents for method in ("magrpo", "collm_cc")} == {
        "magrpo": 3,
        "collm_cc": 3,
    }


def test_every_overlay_of_these_guides_is_tested_here():
    counts = {name: len(blocks(name, "yaml")) for name in GUIDES}
    assert {name: count for name, count in counts.items() if count} == {
        "README.md": 1,
        "docs/running.md": 1,
        "docs/smol.md": 1,
        "docs/teams.md": 1,
    }


def test_examples_inside_sentences(load):
    mentioned = {example for name in GUIDES for example in inline(name)}
    assert mentioned == {
        "data: {source: path, path: FOLDER}",
        "defaults: {training: {together: seeds}}",  # tests/workflow/test_side_by_side.py
        "defaults: {warm_start: {epochs: 10}}",
        "domain: {navigate: {team: {num_agents: 3}}}",  # as the block of docs/teams.md
        "domain: {tldr: {warm_start: {epochs: 10}}}",
        "plugins: [my_module]",  # tests/config/test_plugins.py
        "report: {tracker: tensorboard}",  # tests/config/test_trackers.py
        "rollout: {backend: vllm}",
        "team: {adapters: shared}",  # tests/config/test_team_sharing.py
        "team: {agents: [qwen2.5-3b, qwen3-4b], critic: qwen3-4b}",
    }
    merged, _ = load("data: {source: path, path: FOLDER}")
    assert all(resolve_settings(merged, name)["data"]["path"] == "FOLDER" for name in NAMES)
    assert {resolve_settings(merged, name)["data"]["source"] for name in NAMES} == {"path"}
    merged, lines = load("defaults: {training: {together: seeds}}")
    assert lines == []
    assert {resolve_settings(merged, name, "collm_cc")["training"]["together"] for name in NAMES} == {"seeds"}
    merged, lines = load("defaults: {warm_start: {epochs: 10}}")
    assert [resolve_job(merged, "tldr", name).warm_start.epochs for name in ("collm_cc", "magrpo")] == [4, 4]
    assert len(lines) == 1
    merged, _ = load("domain: {tldr: {warm_start: {epochs: 10}}}")
    assert [resolve_job(merged, "tldr", name).warm_start.epochs for name in ("collm_cc", "magrpo")] == [10, 10]
    merged, lines = load("defaults: {team: {dtype: bfloat16}, rollout: {backend: vllm}}")
    assert lines == []
    assert {resolve_job(merged, name, "collm_cc").rollout.backend for name in NAMES} == {"vllm"}


def test_different_models_per_agent_as_the_guide_says(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "domains: [algebra]\nmethods: [collm_cc]\nbaselines: [parallel]\n"
        "domain: {algebra: {team: {agents: [qwen2.5-3b, qwen3-4b], critic: qwen3-4b}}}"
    )
    merged = load_config([DEFAULT, ROOT / "config" / "paper.yaml", file])
    job = resolve_job(merged, "algebra", "collm_cc")
    assert (job.team.agents, job.team.critic) == (("qwen2.5-3b", "qwen3-4b"), "qwen3-4b")
