"""Door to ``mlensing eval_paper``."""

import sys

from mlensing.cli import main

if __name__ == "__main__":
    sys.exit(main(["eval_paper", *sys.argv[1:]]))
