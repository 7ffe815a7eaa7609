"""What a further agent costs in memory: resident set of a team of n agents on one base, each stepped once.

    python benchmarks/further_agent.py --model resources/models/smol

Prints one JSON line per n (a process each) and the share of a further agent in the base.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))


def resident() -> float:
    """Resident set of this process in MB (10^6 bytes)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def one(model: Path, agents: int) -> dict[str, float]:
    """Load a team of `agents`, take one step with each, and say what is resident while all gradients are there."""
    import torch

    from collm.config.load import load_config
    from collm.config.resolve import resolve_job
    from collm.llm.team import Team

    files = [ROOT / "config" / name for name in ("config.yaml", "smol.yaml")]
    # More agents than any benchmark has roles for: only the team is made.
    settings = resolve_job(load_config(files), "algebra").team
    settings = dataclasses.replace(settings, num_agents=agents, agents=("smol",) * agents)
    torch.set_num_threads(1)
    before = resident()
    team = Team(settings, {"smol": model}, 0)
    prompt, response = tuple(range(100, 164)), tuple(range(200, 216))
    for agent, member in enumerate(team.agents):
        parameters = [part for _, part in member.parameters()]
        optimiser = torch.optim.AdamW(parameters, lr=1e-6)
        team.logprobs(agent, [(prompt, response)])[0].sum().backward()
        optimiser.step()
        member.optimiser = optimiser  # keeps the states
    numbers = sum(part.numel() for _, part in team.agents[0].parameters())
    base = sum(
        part.numel() * part.element_size()
        for name, part in team.agents[0].model.named_parameters()
        if "lora_" not in name
    )
    return {
        "agents": agents,
        "before_mb": round(before, 1),
        "resident_mb": round(resident(), 1),
        "base_mb": round(base / 1e6, 1),
        "agent_counted_mb": round(numbers * 16 / 1e6, 1),
    }


def main(argv: list[str] | None = None) -> int:
    """Parse, measure each n in a process of its own, print, return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the prepared SmolLM2")
    parser.add_argument("--agents", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--one", action="store_true", help="measure the first of --agents in this process")
    arguments = parser.parse_args(argv)
    if arguments.one:
        print(json.dumps(one(arguments.model, arguments.agents[0])))
        return 0
    lines = []
    for agents in arguments.agents:
        command = [sys.executable, __file__, "--model", str(arguments.model), "--one", "--agents", str(agents)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        lines.append(json.loads(done.stdout))
        print(json.dumps(lines[-1]), flush=True)
    first, last = lines[0], lines[-1]
    if last["agents"] > first["agents"]:
        each = (last["resident_mb"] - first["resident_mb"]) / (last["agents"] - first["agents"])
        loaded = first["resident_mb"] - first["before_mb"] - each
        print(
            json.dumps(
                {
                    "further_agent_mb": round(each, 1),
                    "base_resident_mb": round(loaded, 1),
                    "share_of_resident_base": round(each / loaded, 3),
                    "share_of_base_weights": round(each / first["base_mb"], 3),
                }
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
