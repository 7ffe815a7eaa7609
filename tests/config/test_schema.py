"""The schema: made of declarations, the same as what domains check, up to date for editors; keys renamed."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml
from support.configurations import DEFAULT, SHIPPED, refused
from support.places import ROOT

from collm import domains
from collm.common.errors import ConfigError
from collm.config.load import load_config
from collm.config.messages import RENAMED
from collm.config.resolve import resolve_settings
from collm.config.schema import FILE, editor_text, schema
from collm.domains import NAMES

OF_TESTS = sorted((ROOT / "tests" / "workflow").glob("*.yaml"))


def test_every_key_of_the_schema_says_what_it_is():
    def silent(schema, path):
        for name, part in schema.get("properties", {}).items():
            if isinstance(part, dict) and "$ref" not in part and "allOf" not in part:
                if "description" not in part and "properties" not in part:
                    yield f"{path}.{name}"
                yield from silent(part, f"{path}.{name}")

    whole = schema()
    assert list(silent(whole, "")) == []
    assert [name for key in whole["$defs"] for name in silent(whole["$defs"][key], key)] == []


def test_the_schema_for_editors_is_up_to_date():
    written = (ROOT / FILE).read_text(encoding="utf-8")
    assert written == editor_text(), f"{FILE} is out of date; run: PYTHONPATH=src python -m collm.config.schema"


@pytest.mark.parametrize("file", [DEFAULT, *SHIPPED, *OF_TESTS], ids=lambda path: path.name)
def test_every_file_names_the_schema_and_keeps_to_it(file):
    content = file.read_text(encoding="utf-8")
    place = content.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    read = json.loads((file.parent / place).read_text(encoding="utf-8"))
    assert list(jsonschema.Draft202012Validator(read).iter_errors(yaml.safe_load(content))) == []


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(schema())


def test_the_default_file_repeats_no_default_of_an_option():
    for name, block in load_config([DEFAULT])["domain"].items():
        declared = domains.get(name).default_options()
        assert {key for key, value in block.get("options", {}).items() if value == declared[key]} == set()


def test_options_that_no_file_names_are_as_declared(overlay):
    options = resolve_settings(overlay("domain: {str_build: {options: {spacing: 3}}}"), "str_build")["options"]
    assert options == {
        **domains.get("str_build").default_options(),
        "spacing": 3,
        "wording": "brief",
        "generated": 300,
        "difficulty": [0],
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_and_the_domain_refuse_the_same_options(name):
    kind = domains.get(name)
    validator = jsonschema.Draft202012Validator(schema()["properties"]["domain"]["properties"][name])
    assert validator.is_valid({"options": kind.default_options()}) and kind({}).options == kind.default_options()
    for option in kind.declared_options:
        bad = [{"a": 1}]
        if not isinstance(option.default, list):
            bad += [limit - 1 for limit in [option.minimum] if limit is not None]
            bad += [limit + 1 for limit in [option.maximum] if limit is not None]
        bad += ["no such choice"] if option.choices else []
        for value in bad:
            assert not validator.is_valid({"options": {option.name: value}})
            with pytest.raises(ConfigError, match=f"domain.{name}.options.{option.name}: "):
                kind({option.name: value})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "defaults: {training: {minibatch: 8}}",
            "unknown key defaults.training.minibatch (value 8): training.minibatch is now training.minibatch_size",
        ),
        ("domain: {tldr: {training: {passes: 2}}}", "training.passes is now training.update_epochs"),
        (
            "domain: {tldr: {methods: {magrpo: {warm_start: {batch: 4}}}}}",
            "warm_start.batch is now warm_start.batch_size",
        ),
        ("models: {scratch: {pretrain: {batch: 4}}}", "pretrain.batch is now pretrain.batch_size"),
        (
            "models: {scratch: {per_domain: {tldr: {pretrain: {batch: 4}}}}}",
            "pretrain.batch is now pretrain.batch_size",
        ),
    ],
)
def test_a_renamed_key_is_named_by_its_new_name(overlay, content, words):
    assert words in refused(overlay, content)


def test_new_names_of_keys_exist():
    blocks = {**schema()["$defs"], "pretrain": schema()["$defs"]["model"]["properties"]["pretrain"]}
    for (block, old), new in RENAMED.items():
        assert new in blocks[block]["properties"] and old not in blocks[block]["properties"]
