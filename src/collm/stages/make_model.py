"""Stage `model`: prepare one base model in resources/models, from any source."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from collm import domains
from collm.common import cli
from collm.common.errors import ConfigError
from collm.config.job import build_domain
from collm.config.load import load_config
from collm.config.messages import known
from collm.config.resolve import model_spec, resolve_job
from collm.data.prepare import load_tasks
from collm.domains.base import Domain, Task
from collm.llm import sources
from collm.pipeline import provenance, variants
from collm.pipeline.places import Places


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, make the model, return the exit status."""
    parser = cli.parser(__doc__, domain=False)
    parser.add_argument("--domain", help="benchmark on whose training text a scratch model is made")
    parser.add_argument("--model", required=True, help="name under `models` in the configuration")
    parser.add_argument("--data", type=Path, help="folder of the domain's data; default data/<domain>")
    parser.add_argument("--models", type=Path, help="folder of all models; default resources/models")
    cli.add_device(parser, default="cpu")
    cli.add_variant(parser)
    arguments = parser.parse_args(argv)
    settings = variants.of(load_config(arguments.config), arguments.variant)
    if arguments.domain is not None:
        known("domain", arguments.domain, domains.names())
    places, domain = Places.of(settings), arguments.domain or ""
    data = arguments.data or Path(places.data(domain))
    models = arguments.models or Path(places.models(domain))
    make_model(settings, arguments.model, arguments.domain, data, models, arguments.device)
    return 0


def make_model(
    settings: Mapping[str, Any],
    name: str,
    domain: str | None,
    data: Path,
    models: Path,
    device: str = "cpu",
    lock: Path = Path("resources/revisions.json"),
) -> None:
    """Prepare one base model below `models`.

    Args:
        settings: merged and checked.
        domain: benchmark on whose training text a model of source scratch is made; others need none.
        data: folder of the domain's data.
        device: auto, cpu, cuda or cuda:N, for a model of source scratch.
        lock: the file of resolved hub revisions.
    Raises:
        ConfigError: a scratch model without a domain.
        DataError: the data are not there, or were made with other settings.
        ModelError: the package, folder or hub model is not there.
    """
    spec = model_spec(settings, name, domain)
    made_with = {"settings": provenance.model_settings(settings, domain, name)}
    texts: list[str] = []
    if spec["source"] == "scratch":
        if domain is None:
            raise ConfigError(f"model {name!r} is made from scratch, on a benchmark's text: add --domain")
        provenance.check_data(settings, domain, data)
        made_with["training_text"] = provenance.training_text(data)
        texts = training_text(build_domain(resolve_job(settings, domain)), load_tasks(data / "train.jsonl"))
    with cli.loading():
        import transformers.modeling_utils  # noqa: F401  models stand on it

        from collm.runs import device as devices
    chosen = devices.choose(device)
    if spec["source"] == "scratch":
        print(devices.in_words(chosen, device), file=sys.stderr, flush=True)
    out = sources.folder(models, name, spec["source"], domain or "")
    sources.make(name, spec, out, texts, 0, lock, str(chosen), made_with)


def training_text(domain: Domain, tasks: list[Task]) -> list[str]:
    """What a scratch model is pre-trained on: the domain's text about training tasks and its agents' prompts.

    A text that another of the same task goes on from is left out: a question with its answer, never the question alone,
    after which the model would learn to end.
    """
    draw = random.Random(0)
    texts = []
    for task in tasks:
        told = domain.briefing(task, domain.start(task, 0))
        prompts = [
            message["content"]
            for agent, words in enumerate(told)
            for message in domain.observe(task, agent, 0, (), words)
        ]
        own = [*domain.corpus(task, draw), *prompts]
        texts += [text for text in own if not any(other != text and other.startswith(text) for other in own)]
    return texts


if __name__ == "__main__":
    sys.exit(cli.run(main))
