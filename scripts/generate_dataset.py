"""Door to ``mlensing simulate``."""

import sys

from mlensing.cli import main

if __name__ == "__main__":
    sys.exit(main(["simulate", *sys.argv[1:]]))
