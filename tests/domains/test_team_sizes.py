"""How many agents a domain is built for: the number that is asked for, else what its class says."""

import pytest
from support.toy import Toy

from collm import domains
from collm.common.errors import ConfigError


class Three(Toy):
    """Three agents and no other number."""

    name = "three"
    team_sizes = (3,)


@pytest.mark.parametrize("name", domains.NAMES)
def test_every_domain_is_built_for_its_own_team_if_nothing_is_said(name):
    kind = domains.get(name)
    assert kind({}).num_agents == len(kind({}).roles) == kind.team_size()


def test_the_team_of_a_class_follows_from_its_sizes():
    assert (Three.team_size(), Three({}).num_agents) == (3, 3)
    assert (Toy.team_size(), Toy({}).num_agents, Toy({}, num_agents=5).num_agents) == (2, 2, 5)
    with pytest.raises(ConfigError, match=r"three: 2 agents .* allowed are 3 \(domain\.three\.team\.num_agents\)"):
        Three({}, num_agents=2)
