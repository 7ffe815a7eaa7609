"""Stage `train`: fine-tune a team with one method on one domain; goes on where an interrupted run stopped."""

import sys

from collm.common import cli
from collm.stages.train import main

if __name__ == "__main__":
    sys.exit(cli.run(main))
