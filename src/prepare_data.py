"""Stage `data`: write data/<domain>/{train,test}.jsonl and manifest.json from the configured source."""

import sys

from collm.common import cli
from collm.stages.prepare_data import main

if __name__ == "__main__":
    sys.exit(cli.run(main))
