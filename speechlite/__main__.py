"""Run the command line as ``python -m speechlite``."""

from __future__ import annotations

import sys

from speechlite.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
