"""The scoring script: golden rows in, rewards out, malformed rows named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.golden_rows import FOLDER, differences, golden

import score
from collm import domains
from collm.common import cli

SCRIPT = Path(score.__file__)
PROGRAMS = ("coophe", "humaneval", "mbpp")  # theirs are run in tests/domains/coding
NAMES = [name for name in domains.NAMES if name not in PROGRAMS and (FOLDER / f"{name}.jsonl").is_file()]
HUT = golden("house_build")[0]["inputs"]["task"]


def run(capsys, *arguments):
    status = cli.run(score.main, [str(argument) for argument in arguments])
    output = capsys.readouterr()
    return status, [json.loads(line) for line in output.out.splitlines()], output.err


@pytest.mark.parametrize("domain", NAMES)
def test_golden_file_scores_as_expected(domain, capsys):
    status, rows, _ = run(capsys, "--domain", domain, "--profile", "released", FOLDER / f"{domain}.jsonl")
    assert status == 0
    for found, expected in zip(rows, golden(domain), strict=True):
        assert set(found) == {"id", "reward", "components"}
        assert found["id"] == expected["id"]
        assert found["reward"] == pytest.approx(expected["expected_reward"], abs=1e-9)
        assert differences(found["components"], expected["components"]) == {}


@pytest.mark.parametrize("domain", NAMES)
def test_paper_profile_scores_every_golden_row(domain, capsys):
    status, rows, _ = run(capsys, "--domain", domain, FOLDER / f"{domain}.jsonl")
    assert status == 0
    assert len(rows) == len(golden(domain))


def test_the_script_runs_on_its_own(tmp_path):
    cases = tmp_path / "cases.jsonl"
    cases.write_text(json.dumps(golden("tldr")[0]) + "\n")
    command = [sys.executable, SCRIPT, "--domain", "tldr", "--profile", "released", cases]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert json.loads(result.stdout)["reward"] == 0.0


def changed(domain, **changes):
    """The first golden row's inputs with some fields replaced; a field set to `...` is left out."""
    inputs = golden(domain)[0]["inputs"] | changes
    return {name: value for name, value in inputs.items() if value is not ...}


@pytest.mark.parametrize(
    ("domain", "changes", "field"),
    [
        ("tldr", {"completion2": ...}, "completion2"),
        ("tldr", {"completion1": 3}, "completion1"),
        ("str_build", {"string": ...}, "string"),
        ("str_build", {"string": ["H"]}, "string"),
        ("str_build", {"spacing": -1}, "spacing"),
        ("str_build", {"spacing": 10**9}, "spacing"),
        ("str_build", {"spacing": "2"}, "spacing"),
        ("str_build", {"num_agents": 0}, "num_agents"),
        ("str_build", {"num_agents": 3}, "block_agent3"),
        ("str_build", {"num_agents": True}, "num_agents"),
        ("str_build", {"max_commands": 0}, "max_commands"),
        ("str_build", {"local_z": 1.5}, "local_z"),
        ("str_build", {"block_agent1": ["air"]}, "block_agent1"),
        ("str_build", {"block_agent2": None}, "block_agent2"),
        ("str_build", {"block_agent2": [1, 2]}, "block_agent2"),
        ("str_build", {"completion2": 1}, "completion2"),
        ("str_build", {"target_rows_topdown": ["#"]}, "target_rows_topdown"),
        ("arxiv", {"completion2": 7}, "completion2"),
        ("house_build", {"task": ...}, "task"),
        ("house_build", {"task": {"inventory": {}, "layers_by_y": {}}}, "inventory"),
        ("house_build", {"task": HUT | {"inventory": {"P": "planks"}}}, "not in the inventory"),
        ("house_build", {"task": HUT | {"layers_by_y": {"0": ["PP", "P"]}}}, "ragged"),
        ("house_build", {"task": HUT | {"layers_by_y": {"a": ["PP"]}}}, "layers_by_y"),
        ("house_build", {"task": HUT | {"local_bbox_to": [9, 9, 9]}}, "local_bbox_to"),
        ("house_build", {"task": HUT | {"local_bbox_from": [0]}}, "local_bbox_from"),
        ("house_build", {"num_agents": 0}, "num_agents"),
        ("house_build", {"num_agents": 3}, "block_agent3"),
        ("house_build", {"max_commands": -1}, "max_commands"),
        ("house_build", {"limited_resource": 1}, "limited_resource"),
        ("house_build", {"player_hp": -1}, "player_hp"),
        ("house_build", {"spider_attacks": [-1]}, "spider_attacks"),
        ("house_build", {"block_agent2": [1]}, "block_agent2"),
        ("house_build", {"completion1": 1}, "completion1"),
    ],
)
def test_a_malformed_row_is_named_by_id_and_field(domain, changes, field, tmp_path, capsys):
    cases = tmp_path / "cases.jsonl"
    good = json.dumps(golden(domain)[0])
    cases.write_text(f"{good}\n{json.dumps({'id': 'row-7', 'inputs': changed(domain, **changes)})}\n{good}\n")
    status, rows, errors = run(capsys, "--domain", domain, cases)
    assert status == 2
    assert len(rows) == 2
    assert "row-7" in errors and field in errors


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{}", "line 2: field 'id' is missing"),
        (b"[1]", "line 2: a JSON list"),
        (b"not json", "line 2: not a JSON object"),
        (b'"\xff"', "line 2: not a JSON object"),
        (b"[" * 100_000, "line 2: not a JSON object"),
        (b'{"id": null, "inputs": {}}', "line 2: field 'id'"),
        (b'{"id": "x"}', "row \"x\": field 'inputs' is missing"),
        (b'{"id": "x", "inputs": []}', "row \"x\": field 'inputs'"),
    ],
)
def test_a_line_without_an_id_is_named_by_its_number(line, told, tmp_path, capsys):
    cases = tmp_path / "cases.jsonl"
    cases.write_bytes(b"\n" + line + b"\n")
    status, rows, errors = run(capsys, "--domain", "tldr", cases)
    assert (status, rows) == (2, [])
    assert told in errors


def test_hostile_texts_and_null_are_scored(tmp_path, capsys):
    cases = tmp_path / "cases.jsonl"
    texts = ["\ud800", "\x00", "🀄" * 1000, None]
    rows = [{"id": index, "inputs": {"completion1": text, "completion2": text}} for index, text in enumerate(texts)]
    cases.write_text("".join(json.dumps(row) + "\n" for row in rows))
    status, found, _ = run(capsys, "--domain", "tldr", cases)
    assert status == 0
    assert [row["reward"] for row in found] == [0.0] * 4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--domain", "tldrr"], "did you mean 'tldr'"),
        (["--domain", "tldr", "--profile", "papr"], "allowed are paper, released"),
    ],
)
def test_unknown_names_end_with_status_2(arguments, told, capsys):
    status, _, errors = run(capsys, *arguments, FOLDER / "tldr.jsonl")
    assert status == 2
    assert told in errors


def test_a_missing_file_ends_with_status_2(tmp_path, capsys):
    status, _, errors = run(capsys, "--domain", "tldr", tmp_path / "none.jsonl")
    assert status == 2
    assert "none.jsonl cannot be read" in errors
