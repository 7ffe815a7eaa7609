"""Score cases in the golden format: one JSON object per row of the file with id, reward and components."""

import sys

from collm.common import cli
from collm.stages.score import main

if __name__ == "__main__":
    sys.exit(cli.run(main))
