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
"""What a text that stands for an image is: an address, the image itself, or a path; for processor and tables alike."""

import re


URLS = ("http://", "https://")
DATA = "data:"
# No file's name is that long.
MAX_NAME = 255
BASE64 = re.compile(r"[A-Za-z0-9+/\s]+=*\s*")


def is_data_uri(source: str) -> bool:
    """Whether a text is a `data:` URI, whatever it holds."""
    return source[: len(DATA)].lower() == DATA


def is_inline(source: str) -> bool:
    """Whether a text is an image itself, as a `data:` URI or in base64, and no path or URL."""
    if is_data_uri(source):
        return True
    return len(source) > MAX_NAME and BASE64.fullmatch(source) is not None


def is_url(source: str) -> bool:
    """Whether a text is the address of an image."""
    return source[:8].lower().startswith(URLS)


__all__ = ["is_data_uri", "is_inline", "is_url"]
