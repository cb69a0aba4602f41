# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What each system computes of drawn weights and inputs, to be compared with its authors' code: a module a system."""
