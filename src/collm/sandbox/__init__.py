"""Model-written Python programs, run and checked behind walls: no harm, no forged verdict (docs/sandbox.md)."""

from collm.sandbox.checks import split_check
from collm.sandbox.pool import Sandbox, SandboxError, layers
from collm.sandbox.records import Check, Layers, Limits, Program, Verdict

__all__ = ["Check", "Layers", "Limits", "Program", "Sandbox", "SandboxError", "Verdict", "layers", "split_check"]
