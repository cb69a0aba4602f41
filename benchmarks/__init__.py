# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Ablations, measurements and tables: what is compared, and with what."""
