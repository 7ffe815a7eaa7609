"""Stage `model`: prepare one base model in resources/models, from any source."""

import sys

from collm.common import cli
from collm.stages.make_model import main

if __name__ == "__main__":
    sys.exit(cli.run(main))
