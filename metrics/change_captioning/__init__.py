# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Caption metrics as a module of the `evaluate` library: `evaluate.load("<repository>/metrics/change_captioning")`."""
