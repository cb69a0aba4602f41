# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Programs of the repository as modules, for tests that call their functions."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def load_script(path: str | Path) -> ModuleType:
    """Run a program's file afresh as a module; a name without a suffix is that of an example."""
    path = Path(path) if Path(path).suffix else EXAMPLES / f"{path}.py"
    spec = importlib.util.spec_from_file_location(f"{path.stem}_script", path)
    module = importlib.util.module_from_spec(spec)
    # Data classes look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
