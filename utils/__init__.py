# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Helpers that every part of the package may use: files, results, loading, console. They import no other part."""
