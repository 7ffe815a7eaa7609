"""Decoding in fixed shapes against transformers' own passes on padded batches, token for token, without any device that
could capture a graph; and the book-keeping of graphs against a stand-in."""

from __future__ import annotations

import contextlib

import pytest
import torch
from support.architectures import make, team_of
from support.passes import settings
from torch.fx.experimental.proxy_tensor import make_fx

from collm.common.errors import ModelError
from collm.common.seeds import derive
from collm.llm.packed.passes import PackedPasses
from collm.llm.padded import probe
from collm.llm.padded.passes import PaddedPasses
from collm.llm.sampling import Sampling
from collm.llm.static import decoding, graphs
from collm.llm.static.arena import row_bucket

KINDS = ("llama", "qwen2", "qwen3", "gemma3_text", "mistral", "phi3", "gpt2", "qwen3_moe")
PROMPTS = [
    (agent, tuple(range(20, 20 + n)), [derive(agent, n, k) for k in range(3)]) for n in (3, 9, 17) for agent in (0, 1)
]
SAMPLINGS = {
    "greedy": Sampling(20, top_k=1),
    "keyed": Sampling(20),
    "nucleus": Sampling(20, temperature=0.8, top_p=0.9),
}


@pytest.fixture(scope="module")
def folders(models_folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("static")
    return {kind: make(kind, models_folder / "tiny", root / kind) for kind in KINDS}


def passes_of(team, kind, **changes):
    """The same team on passes of a kind."""
    for base in {id(member.base): member.base for member in team.members}.values():
        chosen = settings(team, **changes)
        if kind is PackedPasses:
            base.passes = PackedPasses(base.model, chosen)
        else:
            base.passes = PaddedPasses(base.model, base.adapted, base.pad, chosen)
    return team


def answers(team, sampling, mode="mixed", rows=64, prompts=PROMPTS):
    return [
        [(r.tokens, round(r.logprob, 2), r.ended) for r in group]
        for group in team.respond(prompts, sampling, mode, rows)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_those_of_padded_passes(kind, folders):
    team = team_of(kind, folders[kind])
    ways = [PaddedPasses, *([PackedPasses] if isinstance(team.agents[0].base.passes, PackedPasses) else [])]
    expected = {name: answers(passes_of(team, PaddedPasses), sampling) for name, sampling in SAMPLINGS.items()}
    assert len({tokens for group in expected["keyed"] for tokens, _, _ in group}) > len(PROMPTS)  # they do differ
    for way in ways:
        passes_of(team, way, cache="static")
        assert {name: answers(team, sampling) for name, sampling in SAMPLINGS.items()} == expected


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "qwen3_moe"])
def test_it_is_chosen_by_the_setting_and_serves_whole_copies(kind, folders):
    ask = {"adapter": "full"}
    team, expected = team_of(kind, folders[kind], cache="static", **ask), team_of(kind, folders[kind], **ask)
    assert team.agents[0].base.passes._static is not None and expected.agents[0].base.passes._static is None
    assert answers(team, SAMPLINGS["keyed"]) == answers(expected, SAMPLINGS["keyed"])


@pytest.fixture
def team(folders):
    return team_of("llama", folders["llama"])


WAYS = pytest.mark.parametrize("way", [PackedPasses, PaddedPasses])


@WAYS
def test_adapters_that_learn_are_noticed(way, team):
    passes_of(team, way, cache="static")
    before = answers(team, SAMPLINGS["keyed"])
    with torch.no_grad():
        for _, part in team.agents[1].parameters():
            part.mul_(-1.5)
    moved = answers(team, SAMPLINGS["keyed"])
    assert moved == answers(passes_of(team, PaddedPasses), SAMPLINGS["keyed"])
    assert [m == b for m, b in zip(moved, before, strict=True)] == [agent == 0 for agent, _, _ in PROMPTS]


@WAYS
def test_weights_that_are_cast_are_noticed(way, team):
    passes_of(team, way, cache="static")
    answers(team, SAMPLINGS["keyed"])
    for member in team.members:
        member.base.model.to(torch.float64)
    expected = answers(passes_of(team, PaddedPasses), SAMPLINGS["keyed"])
    assert answers(passes_of(team, way, cache="static"), SAMPLINGS["keyed"]) == expected


@WAYS
def test_caches_grow_over_buckets_and_prompts_are_read_in_parts(way, team, monkeypatch):
    prompts = [
        (agent, tuple(3 + (7 * i + n) % 300 for i in range(n)), [n, n + 1]) for n in (90, 120, 126) for agent in (0, 1)
    ]
    expected = answers(passes_of(team, PaddedPasses), SAMPLINGS["keyed"], prompts=prompts)
    monkeypatch.setattr(decoding, "PREFILL", 260)  # one prompt of each agent
    passes_of(team, way, cache="static")
    lengths = []
    step = decoding._Step.__call__
    monkeypatch.setattr(decoding._Step, "__call__", lambda self: (lengths.append(self.length), step(self))[1])
    assert answers(team, SAMPLINGS["keyed"], prompts=prompts) == expected
    assert set(lengths) == {128, 256}


@WAYS
def test_rows_that_have_ended_leave(way, team, monkeypatch):
    """With many ends the batch shrinks, and who is left goes on as before."""
    for member in team.members:
        member.base.ends = frozenset(range(0, 320, 9))
    prompts = [(agent, (20 + n,) * 3, [derive(agent, n, k) for k in range(4)]) for n in range(5) for agent in (0, 1)]
    expected = answers(passes_of(team, PaddedPasses), Sampling(40), prompts=prompts)
    taken = []
    take = decoding.Arena.take
    monkeypatch.setattr(
        decoding.Arena,
        "take",
        lambda self, other, rows, n: (taken.append((other.rows, self.rows)), take(self, other, rows, n))[1],
    )
    assert answers(passes_of(team, way, cache="static"), Sampling(40), prompts=prompts) == expected
    assert taken and all(new < old for old, new in taken)


@pytest.mark.parametrize(("head", "redone"), [(310, 0), (12, 1)])
def test_top_p_looks_at_few_tokens_and_at_all_where_these_are_too_few(team, monkeypatch, head, redone):
    expected = answers(passes_of(team, PaddedPasses), SAMPLINGS["nucleus"])
    monkeypatch.setattr(decoding, "HEAD", head)
    recalled, recall = [], decoding.Arena.recall
    monkeypatch.setattr(decoding.Arena, "recall", lambda self, before: (recalled.append(1), recall(self, before))[1])
    assert answers(passes_of(team, PackedPasses, cache="static"), SAMPLINGS["nucleus"]) == expected
    assert len(recalled) == redone  # once per batch: it goes on with all tokens


def test_row_buckets_are_few_and_at_most_half_again_as_large():
    sizes = [row_bucket(rows) for rows in range(1, 200)]
    assert all(rows <= size <= max(rows + 1, rows * 1.5) for rows, size in enumerate(sizes, start=1))
    assert sorted(set(sizes)) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256]


# without a look at the device


HOST = ("tolist", "item", "numpy", "__bool__", "__int__", "__float__", "__index__", "cpu", "nonzero")


@contextlib.contextmanager
def blindfolded(monkeypatch):
    """A block in which nothing may come from the device to the host."""

    def refuse(name):
        return lambda *arguments, **options: pytest.fail(f"a step calls {name}, which waits for the device")

    with monkeypatch.context() as patched:
        for name in HOST:
            patched.setattr(torch.Tensor, name, refuse(name))
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_no_step_waits_for_the_device(kind, folders, monkeypatch):
    team = team_of(kind, folders[kind])
    step = decoding._Step.__call__

    def blind(self):
        with blindfolded(monkeypatch):
            step(self)

    monkeypatch.setattr(decoding._Step, "__call__", blind)
    for way in (PaddedPasses, PackedPasses) if kind in ("llama", "qwen2", "qwen3") else (PaddedPasses,):
        passes_of(team, way, cache="static")
        for sampling in SAMPLINGS.values():
            answers(team, sampling)


class Recording:
    """What a CUDA graph is to `Steps`: the kernels of one run of a body, on its addresses, again and again."""

    def __init__(self, body):
        arena = body.arena
        parts = [
            *arena.state,
            arena.column,
            arena.count,
            arena.void,
            *(part for layer in arena.layers for part in layer),
        ]
        before = [part.clone() for part in parts]
        self.kernels = make_fx(lambda: body() or arena.token.clone())()
        for part, old in zip(parts, before, strict=True):  # capturing runs nothing
            part.copy_(old)

    def replay(self):
        self.kernels()


@pytest.mark.parametrize(
    ("kind", "way"), [("llama", PackedPasses), ("qwen3", PackedPasses), ("gemma3_text", PaddedPasses)]
)
def test_a_recorded_step_serves_later_batches(kind, way, folders, monkeypatch):
    """Other prompts, other keys, moved adapters: all that changes reaches a recorded step through tensors that stay."""
    team = team_of(kind, folders[kind])
    passes_of(team, way, cache="static")
    decoder = team.agents[0].base.passes._static
    decoder.steps.captures, decoder._most = True, 1 << 30
    replayed = []
    monkeypatch.setattr(graphs.Steps, "_aside", lambda self, body: body())
    monkeypatch.setattr(graphs.Steps, "_captured", lambda self, body: Recording(body))
    monkeypatch.setattr(Recording, "replay", lambda self: (replayed.append(1), self.kernels())[0])
    for round_number in range(3):
        prompts = [
            (agent, (20 + n + round_number,) * n, [derive(round_number, agent, n)]) for n in (3, 9) for agent in (0, 1)
        ]
        with torch.no_grad():
            for _, part in team.agents[0].parameters():
                part.mul_(1.1)
        got = answers(team, SAMPLINGS["nucleus"], prompts=prompts)
        kept = team.agents[0].base.passes
        assert got == answers(passes_of(team, PaddedPasses), SAMPLINGS["nucleus"], prompts=prompts)
        team.agents[0].base.passes = kept
    assert len(replayed) > 30


def test_a_step_that_cannot_be_captured_runs_as_it_is_and_says_so(monkeypatch, capsys):
    steps, ran, kept = graphs.Steps(torch.device("cpu")), [], {}
    steps.captures = True

    class Graph:
        def __enter__(self):
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(graphs.Steps, "_aside", lambda self, body: body())
    for name, stand_in in {
        "graph_pool_handle": lambda: 1,
        "CUDAGraph": object,
        "graph": lambda graph, pool: Graph(),
        "synchronize": lambda device: None,
    }.items():
        monkeypatch.setattr(graphs.torch.cuda, name, stand_in)
    for _ in range(4):
        steps.run(kept, "key", lambda: ran.append(1))
    assert len(ran) == 4
    message = capsys.readouterr().err
    assert message.count("not captured into CUDA graphs") == 1 and "stream is capturing" in message


# models that cannot


def test_a_model_that_cannot_is_an_error_if_it_was_asked_for(folders, models_folder, tmp_path, monkeypatch):
    folder = make("bloom", models_folder / "tiny", tmp_path / "bloom")
    with pytest.raises(ModelError, match="rollout.cache is static, and model 'bloom' .* set it to auto or growing"):
        team_of("bloom", folder, cache="static")
    folder = make("lfm2", models_folder / "tiny", tmp_path / "lfm2")
    with pytest.raises(ModelError, match="keep more than keys and values"):
        team_of("lfm2", folder, cache="static")


def test_where_the_device_chooses_it_is_said(folders, monkeypatch, capsys):
    monkeypatch.setattr(probe, "static_trouble", lambda *arguments: "it cannot")
    monkeypatch.setattr("collm.llm.passes.PassSettings.static", property(lambda self: self.cache == "auto"))
    team = team_of("mistral", folders["mistral"], cache="auto")
    assert team.agents[0].base.passes._static is None
    assert "model mistral: decoding with a cache that grows, since it cannot" in capsys.readouterr().err


def test_a_cpu_keeps_its_growing_cache(folders):
    assert team_of("llama", folders["llama"], cache="auto").agents[0].base.passes._static is None
