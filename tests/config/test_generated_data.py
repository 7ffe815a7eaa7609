"""The generated tasks of the default configuration: as many as it asks for, whatever the seed."""

from __future__ import annotations

import pytest
from support.configurations import DEFAULT

from collm import domains
from collm.config.load import load_config
from collm.config.resolve import resolve_job
from collm.domains import reward

SEEDS = range(1, 13)


@pytest.mark.parametrize("name", domains.NAMES)
def test_every_seed_makes_the_tasks_of_the_default_configuration(name):
    options = resolve_job(load_config([DEFAULT]), name, "collm_cc").raw["options"]
    domain = reward.build(domains.get(name), options)
    rows = [domain.embedded(seed) for seed in SEEDS]
    sizes = {tuple((split, len(found)) for split, found in made.items()) for made in rows}
    assert len(sizes) == 1, "the same number whatever the seed"
