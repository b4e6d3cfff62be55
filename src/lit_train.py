"""Door to ``mlensing train``."""

import sys

from mlensing.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
