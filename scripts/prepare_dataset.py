"""Door to ``mlensing prepare``."""

import sys

from mlensing.cli import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
