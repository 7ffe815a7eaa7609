"""Names of benchmarks as headings and tables print them."""

from __future__ import annotations

TITLES = {
    "tldr": "TLDR",
    "arxiv": "arXiv",
    "coophe": "CoopHE",
    "humaneval": "HumanEval",
    "mbpp": "MBPP",
    "str_build": "StrBuild",
    "house_build": "HouseBuild",
    "arc_challenge": "ARC-Challenge",
}


def title(domain: str) -> str:
    """Name of a domain for headings; domains without a special spelling are capitalised."""
    return TITLES.get(domain, domain.replace("_", " ").capitalize())
