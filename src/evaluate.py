"""Door to ``mlensing evaluate``."""

import sys

from mlensing.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
