# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Helpers that every part of the package may use: files, results, loading, console. They import no other part."""

from logging import ERROR, getLogger


# On some CPUs bitsandbytes, which PEFT imports if it is installed, warns on stderr of a kernel that it lacks; but the
# error of a program is one line. Set here, as this is imported before PEFT.
getLogger("bitsandbytes.backends.cpu.ops").setLevel(ERROR)
