# Copyright 2026 The ssgpa authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The versions of Transformers that SSGPA is tested with, and what differs between them (ours)."""

import transformers
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils import logging
from transformers.utils.deprecation import deprecate_kwarg


logger = logging.get_logger(__name__)

# Minor versions, as in pyproject.toml; a test keeps the two alike. pip holds the package below the next one, but
# not the code of a repository on the Hub.
TESTED_TRANSFORMERS = ("5.23", "5.24")

# Transformers 5.24 renamed the keys and values of a decoder. When 5.23 is no longer supported, replace this name by
# "cache" and delete `renamed_cache` with its uses.
CACHE = "cache" if "cache" in BaseModelOutputWithPast.__dataclass_fields__ else "past_key_values"

# The old name is accepted, with a warning until Transformers 5.40; 5.23, which passes it itself, gets none.
renamed_cache = deprecate_kwarg("past_key_values", "5.40.0" if CACHE == "cache" else "5.0.0", new_name="cache")


def warn_if_untested(version: str = transformers.__version__) -> None:
    """Say once, in one line, that nobody has tested this version of Transformers with SSGPA.

    Args:
        version (`str`, *optional*): By default the installed one.
    """
    if ".".join(version.split(".")[:2]) not in TESTED_TRANSFORMERS:
        tested = " and ".join(TESTED_TRANSFORMERS)
        logger.warning_once(
            f"SSGPA is tested with transformers {tested}, not with {version}: if something fails, install "
            f'"transformers=={TESTED_TRANSFORMERS[-1]}.*".'
        )


__all__ = ["CACHE", "TESTED_TRANSFORMERS", "renamed_cache", "warn_if_untested"]
