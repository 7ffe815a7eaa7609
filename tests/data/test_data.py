"""Data sets: slices, checks of rows and splits, the same bytes every time, and the real domains."""

from __future__ import annotations

import functools
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.collection import COLLECTION, needs_collection
from support.places import ROOT

from collm import domains
from collm.common import cli
from collm.common.errors import DataError, RowError, UnusableRow
from collm.common.files import read_jsonl
from collm.data import hub, licences, prepare
from collm.domains.base import RawRow, Task, require_text
from collm.domains.readers import read_rows
from collm.stages import prepare_data

EMBEDDED = {"source": "embedded", "path": None, "train": None, "test": None, "revision": None}


class Toy:
    """The part of a domain that data preparation uses; its rows are words."""

    name = "toy"
    licence = "MIT"
    public_licence = generated_licence = ""
    embedded_origin = "a test"
    generated_label = ""
    hub = ("owner/toy", None)
    slices = {source: ("train[0:4]", "test") for source in ("embedded", "path", "hub")}

    def __init__(self, train="abcdef", test="xyz"):
        self.rows = {"train": list(train), "test": list(test)}

    def embedded(self, seed):
        return {
            split: [RawRow({"text": text}, f"toy.jsonl:{split}:{number}") for number, text in enumerate(texts, 1)]
            for split, texts in self.rows.items()
        }

    def read(self, folder, seed=0):
        return {split: read_rows(folder / "toy" / f"{split}.jsonl") for split in ("train", "test")}

    def hub_rows(self, split, rows):
        return [RawRow(dict(row), f"owner/toy:{split}:{number}") for number, row in enumerate(rows, 1)]

    def task(self, row, index):
        text = require_text(row.fields, "text", row.origin)
        if text.startswith("short"):
            raise UnusableRow(f"{row.origin}: field 'text' has too few words")
        return Task(row.fields.get("id", f"toy_{index}"), self.name, {"text": text})

    def withheld(self, task):
        return None

    def key(self, task):
        return task.fields["text"].lower()


def prepared(out, domain=None, **settings):
    return prepare.prepare(domain or Toy(), {**EMBEDDED, **settings}, out, seed=0, lock=out.parent / "lock.json")


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# Slices


@given(
    length=st.integers(0, 12),
    bounds=st.lists(st.tuples(*[st.none() | st.integers(-15, 15)] * 2), min_size=1, max_size=3),
    blanks=st.sampled_from(["", " "]),
)
def test_slices_are_pythons(length, bounds, blanks):
    rows = [RawRow({}, str(number)) for number in range(length)]
    parts = ["train[" + ":".join("" if bound is None else str(bound) for bound in pair) + "]" for pair in bounds]
    expected = [list(range(length))[start:stop] for start, stop in bounds]
    expression = f"{blanks}+{blanks}".join(parts)
    if not all(expected):
        with pytest.raises(DataError, match="holds no row"):
            prepare.select(expression, {"train": rows}, "data.train")
    else:
        chosen = prepare.select(expression, {"train": rows}, "data.train")
        assert [number for number, _ in chosen] == [number for part in expected for number in part]
        assert all(row.origin == str(number) for number, row in chosen)


def test_a_bare_split_is_all_of_it_and_numbers_run_on_over_splits():
    splits = Toy(train="ab", test="xyz").embedded(0)
    assert [number for number, _ in prepare.select("test+train[1:]", splits, "data.train")] == [2, 3, 4, 1]


@pytest.mark.parametrize("expression", ["", "train[1]", "train[0:4:2]", "train[:10%]", "train[a:b]", "train+", "[0:2]"])
def test_other_forms_of_slices_are_refused(expression):
    with pytest.raises(DataError, match="is not understood; write"):
        prepare.parse_slices(expression)


# What is written


def test_the_three_files(tmp_path):
    manifest = prepared(tmp_path / "toy")
    train = read_jsonl(tmp_path / "toy" / "train.jsonl")
    assert train[1] == {"id": "toy_1", "domain": "toy", "fields": {"text": "b"}}
    assert manifest == json.loads((tmp_path / "toy" / "manifest.json").read_text())
    assert manifest["label"] == "embedded data"
    digest = hashlib.sha256((tmp_path / "toy" / "train.jsonl").read_bytes()).hexdigest()
    assert manifest["splits"]["train"] == {"slice": "train[0:4]", "rows": 4, "sha256": digest}
    assert [task.id for task in prepare.load_tasks(tmp_path / "toy" / "test.jsonl")] == ["toy_6", "toy_7", "toy_8"]


def test_a_second_run_writes_the_same_bytes_and_leaves_nothing_else(tmp_path):
    prepared(tmp_path / "toy")
    first = contents(tmp_path / "toy")
    (tmp_path / "toy" / "left.over").write_text("from an earlier version")
    prepared(tmp_path / "toy")
    assert contents(tmp_path / "toy") == first
    assert list(tmp_path.iterdir()) == [tmp_path / "toy"]


def test_a_refused_run_leaves_the_earlier_data(tmp_path):
    prepared(tmp_path / "toy")
    first = contents(tmp_path / "toy")
    with pytest.raises(DataError):
        prepared(tmp_path / "toy", train="train", test="train[0:1]")
    assert contents(tmp_path / "toy") == first
    assert list(tmp_path.iterdir()) == [tmp_path / "toy"]


def test_repeated_and_unusable_rows_are_dropped_and_listed(tmp_path):
    manifest = prepared(tmp_path / "toy", Toy(train=["a", "short", "A", "b"]), train="train+train[0:1]")
    assert manifest["dropped"] == [
        {
            "split": "train",
            "origin": "toy.jsonl:train:2",
            "reason": "toy.jsonl:train:2: field 'text' has too few words",
        },
        {"split": "train", "origin": "toy.jsonl:train:3", "reason": "the same content as toy.jsonl:train:1"},
        {"split": "train", "origin": "toy.jsonl:train:1", "reason": "the same content as toy.jsonl:train:1"},
    ]
    assert manifest["splits"]["train"]["rows"] == 2


# Bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "hubb"}, "data.source: 'hubb' is unknown; did you mean 'hub'"),
        (
            {"train": "trian[0:2]"},
            "domain.toy.data.train: the source has no split 'trian'; did you mean 'train'.*test, train",
        ),
        ({"test": "test[3:]"}, r"domain.toy.data.test: 'test\[3:\]' holds no row, split 'test' has 3"),
        ({"train": "train", "test": "train[-1:]"}, r"overlap in 1 rows: toy.jsonl:train:6 \(train\) and .*n:6 \(te"),
        ({"source": "path"}, "data.path is empty"),
        ({"source": "path", "path": "no/such/folder"}, "there is no folder no/such/folder.*embedded or hub"),
    ],
)
def test_bad_settings(tmp_path, settings, message):
    with pytest.raises(DataError, match=message):
        prepared(tmp_path / "toy", **settings)
    assert list(tmp_path.iterdir()) == []


def test_overlap_is_found_by_content_and_the_first_rows_are_named(tmp_path):
    with pytest.raises(DataError, match=r"overlap in 2 rows: toy.jsonl:train:2 \(train\) and toy.jsonl:test:2 \(te"):
        prepared(tmp_path / "toy", Toy(train="abc", test="xBA"))


def test_all_rows_unusable(tmp_path):
    with pytest.raises(DataError, match=r"domain.toy.data.test: all 1 rows were dropped.*too few words"):
        prepared(tmp_path / "toy", Toy(test=["short"]))


def test_a_domain_without_slices_for_the_source(tmp_path):
    domain = Toy()
    domain.slices = {"path": ("train", "test")}
    with pytest.raises(
        DataError, match="domain.toy.data.train is null and toy has no slice of its own for source embedded"
    ):
        prepared(tmp_path / "toy", domain)


def collection(tmp_path, train, test='{"text": "x"}\n'):
    folder = tmp_path / "collection" / "toy"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text(train)
    (folder / "test.jsonl").write_text(test)
    return {"source": "path", "path": str(folder.parent)}


def test_a_folder(tmp_path):
    settings = collection(tmp_path, '{"text": "a"}\n{"text": "b", "more": 1}\n')
    manifest = prepared(tmp_path / "toy", **settings)
    assert (manifest["source"], manifest["origin"]) == ("path", settings["path"])
    assert manifest["label"] == "data from a folder"
    assert manifest["splits"]["train"]["rows"] == 2


def test_ones_own_rows_have_no_public_licence(tmp_path):
    """The fault: the manifest claimed the public set's licence for whatever stood in the folder."""
    settings = collection(tmp_path, '{"text": "a"}\n')
    own = "not stated (own rows: toy/train.jsonl, toy/test.jsonl)"
    assert prepared(tmp_path / "toy", **settings)["licence"] == own
    assert prepared(tmp_path / "other")["licence"] == "MIT"


@needs_collection
def test_public_files_keep_their_licence_until_a_byte_changes(tmp_path):
    domain = domains.get("str_build")({"generated": 2})
    folder = tmp_path / "collection" / "str_build"
    folder.mkdir(parents=True)
    content = (COLLECTION / "str_build" / "data.csv").read_text()
    settings = {"source": "path", "path": str(folder.parent), "train": "paper[0:8]", "test": "generated"}
    ours = f"{domain.generated_licence}; "
    for more, licence in (("", domain.public_licence), ("ZZ,2\n", "not stated (own rows: str_build/data.csv)")):
        (folder / "data.csv").write_text(content.rstrip("\n") + "\n" + more if more else content)
        assert prepared(tmp_path / "out", domain, **settings)["licence"] == ours + licence


@needs_collection
@pytest.mark.parametrize("name", domains.NAMES)
def test_every_domains_public_files_are_known(tmp_path, name):
    domain = domains.get(name)({})
    settings = {"source": "path", "path": str(COLLECTION)}
    assert prepared(tmp_path / name, domain, **settings)["licence"] == domain.public_licence != ""


@pytest.mark.parametrize("name", domains.NAMES)
def test_shipped_and_generated_rows_have_the_licence_of_their_own_and_no_other(tmp_path, name):
    """The fault: manifests of shipped rows named the public set's licence as well."""
    kind = domains.get(name)
    few = {"generated": 12} if "generated" in kind.default_options() else {}
    domain = kind(few)
    splits = domain.embedded(0)
    shipped = [split for split in splits if not splits[split][0].origin.startswith("generated:")]
    cases = [(split, kind.licence) for split in shipped]
    cases += [(split, kind.generated_licence or kind.licence) for split in splits if split not in shipped]
    assert cases
    for split, licence in cases:
        manifest = prepared(tmp_path / split, domain, train=f"{split}[0:4]", test=f"{split}[4:6]")
        assert manifest["licence"] == licence
    if set(splits) - {"generated"} and "generated" in splits:
        both = prepared(tmp_path / "both", domain, train="generated[0:4]", test=f"{shipped[0]}[0:2]")
        assert both["licence"] == f"{kind.generated_licence}; {kind.licence}"


@pytest.mark.parametrize("card", ["mit (card of owner/toy)", ""])
def test_rows_of_the_hub_have_the_licence_of_their_card(card):
    origins = ["owner/toy:train:1", "owner/toy:test:1"]
    assert licences.licence(domains.get("tldr")({}), "hub", origins, card=card) == (card or "not stated")
    with_generated = licences.licence(domains.get("str_build")({}), "hub", [*origins, "generated:1"], card=card)
    assert with_generated.endswith(f"; {card or 'not stated'}") and "generated by this project" in with_generated


def test_lone_surrogates_are_recorded(tmp_path, capsys):
    """The fault: each became "?" and nobody was told."""
    folder = tmp_path / "collection" / "tldr"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text(r'{"prompt": "a \ud800 b \udfff", "completion": "\ud83d\ude00"}' + "\n")
    (folder / "test.jsonl").write_text('{"prompt": "c"}\n')
    settings = {"source": "path", "path": str(folder.parent), "train": "train", "test": "test"}
    manifest = prepared(tmp_path / "out", domains.get("tldr")({}), **settings)
    assert manifest["replaced"] == [{"split": "train", "origin": "tldr/train.jsonl:1", "characters": 2}]
    assert read_jsonl(tmp_path / "out" / "train.jsonl")[0]["fields"]["prompt"] == "a ? b ?"
    assert "tldr: 2 lone surrogates" in capsys.readouterr().err
    assert prepared(tmp_path / "plain")["replaced"] == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"title": "b"}', "toy/train.jsonl:2: field 'text' is missing"),
        ('{"text": 7}', "toy/train.jsonl:2: field 'text' is of type int"),
        ('{"text": ', "toy/train.jsonl:2: not a JSON object"),
        (r'{"text": "\ud800"}', "toy/train.jsonl:2: a field cannot be written as UTF-8"),
        ('{"text": "c", "id": "toy_0"}', "toy/train.jsonl:2: id 'toy_0' is taken by toy/train.jsonl:1"),
    ],
)
def test_a_malformed_row_names_file_line_and_field(tmp_path, line, message):
    settings = collection(tmp_path, f'{{"text": "a"}}\n{line}\n')
    with pytest.raises(RowError, match=message):
        prepared(tmp_path / "toy", **settings)
    assert not (tmp_path / "toy").exists()


def test_a_row_outside_the_slices_is_not_checked(tmp_path):
    settings = collection(tmp_path, '{"text": "a"}\n{"title": "b"}\n')
    assert prepared(tmp_path / "toy", train="train[:1]", **settings)["splits"]["train"]["rows"] == 1


@pytest.mark.parametrize("content", ["", '{"id": "a"}\n'])
def test_tasks_of_another_form_are_refused(tmp_path, content):
    (tmp_path / "train.jsonl").write_text(content)
    with pytest.raises(DataError, match="prepare the data again"):
        prepare.load_tasks(tmp_path / "train.jsonl")


# The hub, without one


def test_hub_rows_carry_the_commit(tmp_path, monkeypatch):
    commit = "a" * 40
    rows = {"train": [{"text": text} for text in "abcde"], "test": [{"text": "x"}], "extra": ()}
    asked = []
    monkeypatch.setattr(hub, "resolve", lambda kind, repository, revision, lock: asked.append(lock) or commit)
    monkeypatch.setattr(hub, "announce", lambda *arguments, **keywords: asked.append("announced"))
    monkeypatch.setattr(hub, "load_splits", lambda *arguments: asked.append(arguments) or rows)
    manifest = prepared(tmp_path / "toy", source="hub")
    assert asked == [tmp_path / "lock.json", "announced", ("owner/toy", None, commit, {"train", "test"})]
    assert (manifest["revision"], manifest["origin"], manifest["label"]) == (commit, "owner/toy", "hub data")
    with pytest.raises(DataError, match="domain.toy.data.test: the source has no split 'tests'.*extra, test, train"):
        prepared(tmp_path / "toy", source="hub", test="tests")


def test_a_domain_that_is_not_on_the_hub(tmp_path):
    domain = Toy()
    domain.hub = None
    with pytest.raises(DataError, match="toy has no data set on the hub"):
        prepared(tmp_path / "toy", domain, source="hub")


# The real domains


@functools.cache
def real(name):
    return domains.get(name)({})


@pytest.mark.parametrize("name", domains.NAMES)
def test_embedded_data_of_every_domain(tmp_path, name):
    manifest = prepared(tmp_path / name, real(name))
    # Only five of the ten published houses differ; the rest is listed, not used twice.
    assert len(manifest["dropped"]) == (5 if name == "house_build" else 0)
    assert all(entry["rows"] > 0 for entry in manifest["splits"].values())
    first = contents(tmp_path / name)
    prepared(tmp_path / name, real(name))
    assert contents(tmp_path / name) == first


def test_the_stage_script_prints_the_first_dropped_rows_only(tmp_path, capsys):
    default, overlay = str(ROOT / "config" / "config.yaml"), tmp_path / "overlay.yaml"
    overlay.write_text("domain: {tldr: {options: {max_words: 120}}}\n")
    files = ["--config", default, str(overlay), "--domain", "tldr", "--out", str(tmp_path / "tldr")]
    assert cli.run(prepare_data.main, files) == 0
    lines = capsys.readouterr().out.splitlines()
    dropped = json.loads((tmp_path / "tldr" / "manifest.json").read_text())["dropped"]
    assert len(dropped) > 5
    assert sum(line.startswith("dropped from ") for line in lines) == 5
    assert lines[-1].startswith(f"... and {len(dropped) - 5} more dropped rows")


def test_the_stage_script(tmp_path, capsys):
    default = str(ROOT / "config" / "config.yaml")
    out = tmp_path / "str_build"
    assert cli.run(prepare_data.main, ["--config", default, "--domain", "str_build", "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "test.jsonl", "train.jsonl"]
    assert f"{out}/test.jsonl: 60 tasks from generated[240:300] (embedded data)" in capsys.readouterr().out
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("data: {source: path, path: no/such/folder}\n")
    files = ["--config", default, str(overlay)]
    assert cli.run(prepare_data.main, [*files, "--domain", "tldr", "--out", str(tmp_path / "tldr")]) == 2
    assert capsys.readouterr().err.startswith("error: data.path: there is no folder no/such/folder")
    assert not (tmp_path / "tldr").exists()


@needs_collection
@pytest.mark.parametrize(("name", "rows"), [("tldr", (1000, 100)), ("str_build", None)])
def test_real_data(tmp_path, name, rows):
    manifest = prepared(tmp_path / name, real(name), source="path", path=str(COLLECTION))
    assert manifest["dropped"] == []
    if rows is not None:
        assert tuple(entry["rows"] for entry in manifest["splits"].values()) == rows
    tasks = [prepare.load_tasks(tmp_path / name / f"{split}.jsonl") for split in prepare.SPLITS]
    assert len({task.id for part in tasks for task in part}) == sum(map(len, tasks))
