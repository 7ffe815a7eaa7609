"""A Dec-POMDP small enough to enumerate, played by the project's own team on transformers of a few hundred numbers.

Two agents each see one bit of the task and what the environment told them; actions are responses of one token (two
actions) or of up to two tokens (seven actions). Prompts hold the whole local history, so that values of local
histories are well defined. Everything is in float64.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from support.toy import NoData
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from collm.config.job import RolloutConfig, TeamConfig
from collm.domains.base import Step, Task
from collm.llm import sources as models_of_project
from collm.llm.team import Response, Team
from collm.training.rollout import Node, Rollout

END = "z"
ACTIONS = {1: (("x",), ("z",)), 2: (("z",), ("x", "z"), ("y", "z"), ("x", "x"), ("x", "y"), ("y", "x"), ("y", "y"))}
# by the longest response: its tokens, the end token included where it is drawn


def text(tokens: Sequence[str]) -> str:
    """What the environment gets to see of an action."""
    return "".join(tokens).removesuffix(END)


class SmallWorld(NoData):
    """Rewards from a fixed table of random numbers; dense (every turn) or sparse (after the last one)."""

    name = "small_world"
    roles = ("first", "second")
    max_reward = 1.0
    min_reward = -1.0

    def __init__(self, turns: int, longest: int = 1, dense: bool = True, num_agents: int = 2):
        super().__init__({}, "paper", num_agents)
        self.turns, self.dense = turns, dense
        self.texts = [text(tokens) for tokens in ACTIONS[longest]]
        self.width = 1 if longest == 1 else 3

    def tasks(self) -> list[Task]:
        """All combinations of the agents' bits, equally likely."""
        bits = itertools.product((0, 1), repeat=self.num_agents)
        return [Task("".join(map(str, own)), self.name, {"bits": list(own)}) for own in bits]

    def observe(self, task, agent, turn, history, feedback):
        codes = [task.fields["bits"][agent]]
        for exchange in history:
            number = self.texts.index(exchange.response)
            codes += [number >> place & 1 for place in range(self.width)]
        codes += feedback or []
        return [{"role": "user", "content": "".join("xz"[code] for code in codes)}]

    def start(self, task, seed):
        return {"state": 0, "feedback": [[] for _ in range(self.num_agents)], "sum": 0.0}

    def step(self, task, turn, joint_action, world):
        actions = [self.texts.index(response) for response in joint_action]
        place = (turn, *task.fields["bits"], *actions, world["state"])
        own = random.Random(str(place)).uniform(-1, 1)
        last = turn + 1 == self.turns
        reward = own if self.dense else (world["sum"] + own if last else 0.0)
        state = (world["state"] + sum((index + 1) * a for index, a in enumerate(actions)) + task.fields["bits"][0]) % 2
        feedback = [[*bits, (state + index * actions[0]) % 2] for index, bits in enumerate(world["feedback"])]
        following = {"state": state, "feedback": feedback, "sum": world["sum"] + own}
        return Step({"own": reward}, reward, {"score": reward}, tuple(feedback), following, {})

    def task(self, row, index):
        return self.tasks()[index]

    def key(self, task):
        return task.id


def make_model(folder: Path, letters: str, seed: int, layers: int = 1, hidden: int = 8) -> None:
    """A random Llama whose vocabulary is `letters`, the last of which ends a response; other characters vanish."""
    tokenizer = Tokenizer(models.WordLevel({letter: index for index, letter in enumerate(letters)}, unk_token=END))
    tokenizer.normalizer = normalizers.Replace(Regex(f"[^{letters}]"), "")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, model_max_length=64)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(letters),
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=64,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=fast.eos_token_id,
            pad_token_id=None,
            initializer_range=0.45,
        )
    )
    model.save_pretrained(folder)
    fast.save_pretrained(folder)


def make_judge(folder: Path) -> None:
    """A random model that can read any text, for critics; its tokenizer is the project's own."""
    models_of_project.make(
        "judge",
        {
            "source": "scratch",
            "layers": 1,
            "hidden": 8,
            "heads": 2,
            "vocabulary": 300,
            "context": 512,
            "pretrain": {"steps": 0, "batch_size": 1, "window": 16, "rows": "joined", "learning_rate": 1e-3},
        },
        folder,
        ["[Agent 0] xz"],
        0,
        folder.parent / "lock.json",
    )


def make_team(
    folder: Path, critics: str | None = None, seed: int = 0, agents: int = 2, longest: int = 1, judge: str = "judge"
) -> Team:
    """A LoRA team in float64 with policies far from uniform, on the base for responses of `longest` tokens.

    `judge` is the critics' base: one that reads any text, or "letters_1", which reads the letters of histories only.
    """
    name = f"letters_{longest}"
    if not (folder / name).is_dir():
        make_model(folder / name, "xz" if longest == 1 else "xyz", seed=3)
    if not (folder / "judge").is_dir():
        make_judge(folder / "judge")
    settings = TeamConfig(
        num_agents=agents,
        agents=(name,) * agents,
        critic=judge,
        adapter="lora",
        adapters="per_agent",
        lora={"rank": 2, "alpha": 4, "targets": "all-linear"},
        dtype="float64",
        states="float32",
        quantization="none",
        precision="fp32",
        tf32=False,
        deterministic=False,
        chat_template=False,
        chat_template_arguments={},
        max_prompt_tokens=None,
    )
    team = Team(settings, {name: folder / name, "judge": folder / "judge"}, seed, critics)
    draw = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for member in team.members:
            for part_name, part in member.parameters():
                if "lora_B" in part_name:
                    part.copy_(0.3 * torch.randn(part.shape, generator=draw, dtype=part.dtype))
    return team


def rollout_settings(turns: int, longest: int, **changes) -> RolloutConfig:
    """Untempered sampling without truncation, so that what is sampled is what is scored."""
    plain = {
        "turns": turns,
        "generations": 1,
        "max_new_tokens": longest,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": None,
        "discount": 1.0,
        "reward": "every_turn",
        "reward_scale": 1.0,
        "reward_shift": 0.0,
        "early_stop": None,
        "decode": "mixed",
        "max_rows": 512,
        "joint_mode": "aligned",
        "cache": "growing",
        "backend": "transformers",
        "vllm_memory": 0.3,
    }
    return RolloutConfig(**{**plain, **changes})


Played = tuple[list[list[int]], list[tuple[int, ...]]]  # [agent] actions as responses; joint actions of responses
Script = Callable[[Node], Played]


class ScriptedRollout(Rollout):
    """The project's rollout, but `script` says which actions are sampled at a node and how they are joined."""

    def __init__(self, team: Team, domain: SmallWorld, longest: int, script: Script, **changes):
        super().__init__(team, domain, rollout_settings(domain.turns, longest, **changes))
        self.script = script
        ids = team.agents[0].base.tokenizer.convert_tokens_to_ids
        self.tokens = [tuple(ids(list(tokens))) for tokens in ACTIONS[longest]]

    def _respond(self, nodes, copies):
        for node in nodes:
            node.prompts = [
                self.team.prompt(agent, messages, self.settings.max_new_tokens)
                for agent, messages in enumerate(node.observations)
            ]
            played, node.actions = self.script(node)
            node.responses = [
                [Response(self.domain.texts[index], self.tokens[index], prompt, 0.0, True, 0.0) for index in own]
                for prompt, own in zip(node.prompts, played, strict=True)
            ]
        return 0


def aligned(joint: Sequence[tuple[int, ...]]) -> Played:
    """K joint actions, each of one response per agent."""
    agents = range(len(joint[0]))
    return [[action[agent] for action in joint] for agent in agents], [(k,) * len(agents) for k in range(len(joint))]


def crossed(responses: Sequence[Sequence[int]]) -> Played:
    """All joint actions of the agents' responses."""
    return [list(own) for own in responses], list(itertools.product(*(range(len(own)) for own in responses)))


def everything(actions: int, agents: int = 2) -> Script:
    """A script that takes every joint action once."""
    return lambda node: crossed([range(actions)] * agents)


def chains(exact: Any, paths: Sequence[Sequence[int]]) -> Script:
    """A script by seed of the episode: the joint actions (numbers in `exact.joint`) of one path each."""
    return lambda node: aligned([exact.joint[paths[node.seed][node.turn]]])


def groups(trees: Mapping[int, Mapping[tuple[int, ...], list[tuple[int, ...]]]]) -> Script:
    """A script by seed of the episode and path of the node: K joint actions."""
    return lambda node: aligned(trees[node.seed][node.path])
