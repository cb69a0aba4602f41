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

"""Prompts of change captioning: placeholders, the default prompt, the chat template."""

import json
import re
from typing import Any


# Placeholders of one pair in a prompt, and the prompt itself, by their number.
PLACEHOLDERS = {"pair": 2, "vertical": 1, "horizontal": 1}
PROMPTS = {2: "before: {0} after: {0} change:", 1: "{0} change:", 0: ""}
# Blocks in order, one blank between them; a turn of images alone asks the processor's own prompt. A block may hold an
# image or a pair of them.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- set turn = namespace(parts=[], images=0, words=0) -%}
{%- set content = message.content or [] -%}
{%- for block in ([{'type': 'text', 'text': content}] if content is string else content) -%}
{%- if block.type == 'text' -%}
{%- set turn.parts = turn.parts + [block.text] -%}
{%- set turn.words = turn.words + 1 -%}
{%- else -%}
{%- set source = block.image if 'image' in block else block.url -%}
{%- set single = source is string or source is mapping or source is not sequence or source | length != 2 -%}
{%- for image in range(1 if single else 2) -%}
{%- if turn.images % images_per_placeholder == 0 -%}
{%- set turn.parts = turn.parts + [placeholder] -%}
{%- endif -%}
{%- set turn.images = turn.images + 1 -%}
{%- endfor -%}
{%- endif -%}
{%- endfor -%}
{%- if turn.images and not turn.words -%}
{%- set turn.parts = [prompt] * (turn.images // 2) -%}
{%- endif -%}
{{- '' if loop.first else ' ' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}{{- (turn.parts | join(' ')) ~ (eos_token or '') -}}{%- endgeneration -%}
{%- else -%}
{{- turn.parts | join(' ') -}}
{%- endif -%}
{%- endfor -%}"""


# What `renew_chat_template` writes in front of `CHAT_TEMPLATE`.
_TEXT = r'"(?:[^"\\]|\\.)*"'
HEADER = re.compile(
    rf"\{{%- set prompt = {_TEXT} -%\}}\n\{{%- set placeholder = {_TEXT} -%\}}\n"
    # The first releases wrote "pictures".
    r"\{%- set (?P<counted>images|pictures)_per_placeholder = \d -%\}\n"
)


def renew_chat_template(template: Any, prompt: str, image_token: str | None, placeholders: int) -> Any:
    """The chat template that asks `prompt` of a turn with two images and no text; one's own stays as it is.

    A saved processor holds its template as text. Loaded with another prompt, the text would still ask the old one, so
    that a saved default is written anew.

    Args:
        template (`str` or `dict`, *optional*): The template that is there already.
        prompt (`str`): The processor's prompt.
        image_token (`str`, *optional*): The placeholder.
        placeholders (`int`): Placeholders of one pair; 0, 1 or 2.

    Returns:
        `str` or `dict`: The template, in Jinja.
    """
    found = HEADER.match(template) if isinstance(template, str) else None
    if template and found is None:
        return template
    counted, body = (found["counted"], template[found.end() :]) if found else ("images", CHAT_TEMPLATE)
    names = {
        "prompt": prompt,
        "placeholder": image_token or "",
        f"{counted}_per_placeholder": 2 // max(placeholders, 1),
    }
    header = (f"{{%- set {name} = {json.dumps(value, ensure_ascii=False)} -%}}\n" for name, value in names.items())
    return "".join(header) + body


__all__ = ["PLACEHOLDERS", "PROMPTS", "renew_chat_template"]
