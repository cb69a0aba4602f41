# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The command `ssgpa` as `python -m ssgpa`, for launchers."""

import sys

from .cli.commands import main


if __name__ == "__main__":
    sys.exit(main())
