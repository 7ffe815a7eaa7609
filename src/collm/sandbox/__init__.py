"""Model-written Python programs, run with checks behind walls: no harm done, no verdict forged (see docs/sandbox.md)."""

from collm.sandbox.checks import split_check
from collm.sandbox.pool import Sandbox, SandboxError, layers
from collm.sandbox.records import Check, Layers, Limits, Program, Verdict

__all__ = ["Check", "Layers", "Limits", "Program", "Sandbox", "SandboxError", "Verdict", "layers", "split_check"]
