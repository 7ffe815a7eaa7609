"""Where files lie below the root: of an experiment with a name, of a variant, and what variants share.

data/<domain>, resources/models/...                         shared by all experiments of a folder
results/<domain>/<method>/seed<k>                           an experiment without a name
results/<name>/<domain>/<method>/seed<k>                    one with a name; logs and checkpoints alike
results/<name>/<variant>/<domain>/<method>/seed<k>          one of its variants

Inputs of a variant (data, models, warm starts) lie where the configuration without variants has them if they are the
same, else where the first variant with the same settings has them: data/<variant>/<domain>, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from collm.config.variants import KEY
from collm.methods.registry import WARM_STARTS

DATA, MODELS, INPUTS = "data", "models", ("data", "models", *WARM_STARTS)


@dataclass(frozen=True)
class Places:
    """Folders of one configuration, relative to the root, as text: Snakemake compares them.

    Attributes:
        name: of the experiment; "" if it has none.
        variant: "" if there are none, or what all have in common.
        inputs: by domain and kind of input (`INPUTS`) the variant that makes it; "" where no variant does.
    """

    name: str = ""
    variant: str = ""
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Places:
        """Those of a merged configuration, or of a variant's own one (`variants.of`)."""
        own = config.get(KEY, {})
        return cls(config.get("name") or "", own.get("name", ""), own.get("inputs", {}))

    @property
    def results(self) -> str:
        """Folder of all results of the variant."""
        return _joined("results", self.name, self.variant)

    @property
    def comparison(self) -> str:
        """Folder of the results of all variants together."""
        return _joined("results", self.name)

    @property
    def logs(self) -> str:
        """Folder of all logs of the experiment."""
        return _joined("logs", self.name)

    def data(self, domain: str) -> str:
        """Folder of a domain's rows."""
        return _joined("data", self._maker(domain, DATA), domain)

    def models(self, domain: str) -> str:
        """Folder below which the models of a domain's jobs lie."""
        return _joined("resources/models", self._maker(domain, MODELS))

    def run(self, domain: str, method: str, seed: int | str) -> str:
        """Folder of the results of one run."""
        return _joined(self.results, domain, method, f"seed{seed}")

    def trained(self, domain: str, method: str, seed: int | str) -> str:
        """Folder of a run with its adapters: that of the results, but for warm starts that variants share."""
        return _joined("results", self._trainer(domain, method), domain, method, f"seed{seed}")

    def checkpoints(self, domain: str, method: str, seed: int | str) -> str:
        """Folder of the checkpoints of one run."""
        return _joined("checkpoints", self._trainer(domain, method), domain, method, f"seed{seed}")

    def _trainer(self, domain: str, method: str) -> str:
        maker = self._maker(domain, method) if method in WARM_STARTS else self.variant
        return _joined(self.name, maker)

    def _maker(self, domain: str, kind: str) -> str:
        return self.inputs.get(domain, {}).get(kind, "")


def _joined(*parts: str) -> str:
    return "/".join(part for part in parts if part)
