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

"""Prompts of change captioning: their placeholders, what is asked by default, and the chat template."""

import json


# Placeholders of one pair in a prompt, and the prompt itself, by their number.
PLACEHOLDERS = {"pair": 2, "vertical": 1, "horizontal": 1}
PROMPTS = {2: "before: {0} after: {0} change:", 1: "{0} change:", 0: ""}
# Blocks in order, one blank between them; a turn of pictures alone asks the processor's own prompt. A block may hold a
# picture or a pair of them.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- set turn = namespace(parts=[], pictures=0, words=0) -%}
{%- set content = message.content or [] -%}
{%- for block in ([{'type': 'text', 'text': content}] if content is string else content) -%}
{%- if block.type == 'text' -%}
{%- set turn.parts = turn.parts + [block.text] -%}
{%- set turn.words = turn.words + 1 -%}
{%- else -%}
{%- set source = block.image if 'image' in block else block.url -%}
{%- set single = source is string or source is mapping or source is not sequence or source | length != 2 -%}
{%- for picture in range(1 if single else 2) -%}
{%- if turn.pictures % pictures_per_placeholder == 0 -%}
{%- set turn.parts = turn.parts + [placeholder] -%}
{%- endif -%}
{%- set turn.pictures = turn.pictures + 1 -%}
{%- endfor -%}
{%- endif -%}
{%- endfor -%}
{%- if turn.pictures and not turn.words -%}
{%- set turn.parts = [prompt] * (turn.pictures // 2) -%}
{%- endif -%}
{{- '' if loop.first else ' ' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}{{- (turn.parts | join(' ')) ~ (eos_token or '') -}}{%- endgeneration -%}
{%- else -%}
{{- turn.parts | join(' ') -}}
{%- endif -%}
{%- endfor -%}"""


def default_chat_template(prompt: str, image_token: str | None, placeholders: int) -> str:
    """Write the chat template that asks `prompt` of a turn with two pictures and no text.

    Args:
        prompt (`str`): The processor's prompt.
        image_token (`str`, *optional*): The placeholder.
        placeholders (`int`): Placeholders of one pair; 0, 1 or 2.

    Returns:
        `str`: Jinja template.
    """
    names = {
        "prompt": prompt,
        "placeholder": image_token or "",
        "pictures_per_placeholder": 2 // max(placeholders, 1),
    }
    header = [f"{{%- set {name} = {json.dumps(value, ensure_ascii=False)} -%}}\n" for name, value in names.items()]
    return "".join(header) + CHAT_TEMPLATE


def check_placeholders(text: str, name: str, image_token: str | None, placeholders: int) -> None:
    """Refuse a prompt that speaks of half a pair.

    Args:
        text (`str`): The prompt.
        name (`str`): What the error calls it.
        image_token (`str`, *optional*): The placeholder.
        placeholders (`int`): Placeholders of one pair; 0, 1 or 2.

    Raises:
        ValueError: Its placeholders are no multiple of a pair's.
    """
    count = text.count(image_token) if placeholders else 0
    if count and count % placeholders:
        raise ValueError(f"{name} holds {count} {image_token}; with this `pair_layout` a pair takes {placeholders}.")


__all__ = ["PLACEHOLDERS", "PROMPTS", "check_placeholders", "default_chat_template"]
