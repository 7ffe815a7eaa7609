"""Stage `plan`: what a configuration will need in memory, hours, disk and money; nothing is run or downloaded."""

import sys

from collm.common import cli
from collm.stages.plan import main

if __name__ == "__main__":
    sys.exit(cli.run(main))
