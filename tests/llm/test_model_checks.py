"""Model folders with something wrong: one line with what to do, when the model is prepared and when it is loaded."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.architectures import make
from support.toy import make_team

from collm.common.errors import ModelError
from collm.llm import sources
from collm.llm.tokenizer import load_tokenizer

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Say red."},
    {"role": "assistant", "content": "red"},
    {"role": "user", "content": "Again."},
]
GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{{ '<' + message['role'] + '>' + message['content'] | trim + '<end>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<model>' }}{% endif %}"
)
FORGETFUL = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ '<' + message['role'] + '>' + message['content'] + '<end>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<model>' }}{% endif %}"
)


@pytest.fixture
def folder(models_folder, tmp_path):
    """A model as a user may bring it, to be damaged."""
    return shutil.copytree(models_folder / "tiny", tmp_path / "mine")


def prepared(folder):
    """The folder that `make_model` makes of `folder`."""
    out = folder.parent / "models" / "tiny"
    sources.make("tiny", {"source": "folder", "path": str(folder)}, out, [], 0, folder.parent / "lock.json")
    return out


def edit(file, **changes):
    facts = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in {**facts, **changes}.items() if value is not None}))


def weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_good_folder_passes(folder):
    assert make_team(prepared(folder).parent).agents[0].base.context == 256


def without_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def with_a_nan(tensors):
    tensors["model.norm.weight"][3] = torch.nan


def with_another_shape(tensors):
    tensors["model.norm.weight"] = torch.ones(5)


FAULTS = {
    "no tokenizer": (without_tokenizer, "tokenizer"),
    "tokenizer is no JSON": (lambda f: (f / "tokenizer.json").write_text("{"), "its tokenizer in .* cannot be loaded"),
    "no end token": (
        lambda f: (
            edit(f / "tokenizer_config.json", eos_token=None),
            edit(f / "config.json", eos_token_id=None),
            (f / "generation_config.json").unlink(),
        ),
        "has no end token; responses could never end: set eos_token",
    ),
    "template fails": (
        lambda f: (f / "chat_template.jinja").write_text("{{ raise_exception('no') }}"),
        "its chat template cannot be used .*mend it in chat_template.jinja",
    ),
    "template is no template": (
        lambda f: (f / "chat_template.jinja").write_text("{% for %}"),
        "its chat template cannot be used .*TemplateSyntaxError",
    ),
    "template loses the user": (
        lambda f: (f / "chat_template.jinja").write_text("hello"),
        "its chat template cannot be used .it loses the system text",
    ),
    "no config.json": (lambda f: (f / "config.json").unlink(), "holds no config.json"),
    "config.json is no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json is damaged"),
    "config.json is a list": (lambda f: (f / "config.json").write_text("[]"), "holds a list, not an object"),
    "unknown kind": (
        lambda f: edit(f / "config.json", model_type="unheard_of"),
        "is of no model that transformers .*'unheard_of'",
    ),
    "no language model": (
        lambda f: edit(f / "config.json", model_type="vit"),
        "'vit', which is no causal language model",
    ),
    "no length": (
        lambda f: (
            edit(f / "config.json", model_type="bloom", max_position_embeddings=None),
            edit(f / "tokenizer_config.json", model_max_length=None),
        ),
        "does not say how many tokens it can read",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "cannot be loaded from"),
    "weights cut off": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]),
        "SafetensorError",
    ),
    "empty weights": (lambda f: (f / "model.safetensors").write_bytes(b""), "are damaged"),
    "a weight is missing": (
        lambda f: weights(f, lambda tensors: tensors.pop("model.norm.weight")),
        "are missing: model.norm.weight; they would be random numbers",
    ),
    "a weight of another shape": (
        lambda f: weights(f, with_another_shape),
        "have other shapes: model.norm.weight; they would be random numbers",
    ),
    "a weight is NaN": (lambda f: weights(f, with_a_nan), "model.norm.weight in .* is not finite"),
    "tokenizer of another model": (
        lambda f: (
            edit(f / "config.json", vocab_size=200)
            or weights(
                f, lambda t: t.update({"model.embed_tokens.weight": t["model.embed_tokens.weight"][:200].clone()})
            )
        ),
        "its tokenizer has ids up to 319, its embedding has 200 rows",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_make_model_refuses(folder, fault):
    damage, message = FAULTS[fault]
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        prepared(folder)
    assert "\n" not in str(caught.value)
    assert not (folder.parent / "models" / "tiny").exists()


@pytest.mark.parametrize("fault", [name for name in FAULTS if name not in ("a weight is NaN", "no config.json")])
def test_loading_refuses_what_was_damaged_later(folder, fault):
    out = prepared(folder)
    damage, message = FAULTS[fault]
    damage(out)
    with pytest.raises(ModelError, match=message.replace("are damaged", "cannot be loaded")) as caught:
        make_team(out.parent)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("template", "trouble"), [(GEMMA, "System role not supported"), (FORGETFUL, "loses the system")]
)
def test_system_text_goes_before_the_first_user_message(folder, capsys, template, trouble):
    (folder / "chat_template.jinja").write_text(template)
    tokenizer = load_tokenizer("model 'mine'", folder)
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert trouble in err and "the system text goes before the first user message" in err
    text = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    assert text == "<user>Be brief.\n\nSay red.<end><assistant>red<end><user>Again.<end><model>"
    alone = tokenizer.apply_chat_template(MESSAGES[:1], tokenize=False, add_generation_prompt=True)
    assert alone == "<user>Be brief.<end><model>"
    plain = tokenizer.apply_chat_template(MESSAGES[1:], tokenize=False, add_generation_prompt=True)
    assert plain == "<user>Say red.<end><assistant>red<end><user>Again.<end><model>"


def test_agents_on_a_model_that_refuses_the_system_role(folder):
    (folder / "chat_template.jinja").write_text(GEMMA)
    team = make_team(prepared(folder).parent)
    ids = team.prompt(0, MESSAGES[:2], 8)
    assert team.agents[0].base.tokenizer.decode(ids) == "<user>Be brief.\n\nSay red.<end><model>"


def test_good_templates_are_left_alone(models_folder, capsys):
    tokenizer = load_tokenizer("model 'tiny'", models_folder / "tiny")
    assert tokenizer.chat_template == sources.CHAT_TEMPLATE and not capsys.readouterr().err


@pytest.mark.parametrize("kind", ["gpt2", "mixtral", "gemma3", "qwen3_5"])
def test_models_of_other_architectures_pass(kind, models_folder, tmp_path):
    prepared(make(kind, models_folder / "tiny", tmp_path / kind))
