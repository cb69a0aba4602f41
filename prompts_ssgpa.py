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

"""Prompts and captions of change captioning: placeholders, the default prompt, the chat template, special tokens."""

import json
import re
from collections.abc import Collection, Iterable, Sequence
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


def check_caption(caption: Any, where: str, image_token: str | None, special_tokens: Iterable[str]) -> None:
    """Refuse a caption that a model cannot learn as text.

    Args:
        caption (`str`): The caption.
        where (`str`): What the error calls it.
        image_token (`str`, *optional*): The placeholder.
        special_tokens (`Iterable[str]`): The tokenizer's other special tokens.

    Raises:
        ValueError: It is no text, or holds a special token, which would be learned as an end, a start or an image.
    """
    if not isinstance(caption, str):
        raise ValueError(f"{where} {caption!r:.80} is not a string.")
    if image_token is not None and image_token in caption:
        raise ValueError(f"{where} {caption!r:.200} holds the placeholder {image_token}; remove it.")
    found = [token for token in special_tokens if token and token in caption]
    if found:
        raise ValueError(
            f"{where} {caption!r:.200} holds {', '.join(found)}, special to the tokenizer: it would be learned as a "
            "sign of its own and not as text. Remove it."
        )
    try:
        caption.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where} {caption!r:.200} holds half a character (a lone surrogate); write it anew."
        ) from error


def cut_prompt(row: Sequence[int], prompt: Sequence[int], padding: Collection[int]) -> list[int] | None:
    """What stands behind the prompt in a generated row.

    Args:
        row (`Sequence[int]`): Ids of one row; it may be padded otherwise than the prompt.
        prompt (`Sequence[int]`): Ids of its prompt, without padding.
        padding (`Collection[int]`): Ids that pad.

    Returns:
        `list[int]`: The rest; None where the row does not begin with the prompt.
    """
    size = len(prompt)
    for start in range(len(row) - size + 1):
        if list(row[start : start + size]) == list(prompt):
            return list(row[start + size :])
        # The padding may be a token that also starts the prompt, so that every place is tried.
        if row[start] not in padding:
            break
    return None


__all__ = [
    "PLACEHOLDERS",
    "PROMPTS",
    "check_caption",
    "cut_prompt",
    "renew_chat_template",
]
