"""`python -m collm`: the command `collm` in a clone, where it is not installed."""

import importlib
import sys

if __name__ == "__main__":
    sys.exit(importlib.import_module("collm.command.main").main())
