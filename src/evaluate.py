"""Stage `evaluate`: sample the whole test split with one or several teams and time their responses."""

import sys

from collm.common import cli
from collm.stages.evaluate import main

if __name__ == "__main__":
    sys.exit(cli.run(main))
