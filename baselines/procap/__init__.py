# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""ProCap: the change as a procedure, learned from the frames between two images."""

from .keyframes import AnyFrames, ProcedureFrames


__all__ = ["AnyFrames", "ProcedureFrames"]
