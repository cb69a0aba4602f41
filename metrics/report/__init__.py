# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A report of scores: its figures, as Markdown, as plots and as a page."""
