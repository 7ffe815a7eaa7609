"""Stage `warm_start`: supervised fine-tuning of every agent before reinforcement learning."""

import sys

from collm.common import cli
from collm.stages.warm_start import main

if __name__ == "__main__":
    sys.exit(cli.run(main))
