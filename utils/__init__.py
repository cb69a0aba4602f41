# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What every part of the package may use: files, results, loading, the command line's words. Imports no other part."""
