# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Turns the docstring dialect of Transformers into that of Google, which the site's parser reads."""

import re

import griffe


# name (`type` or `type`, *optional*, defaults to `x`): ...
PARAMETER = re.compile(r"^(\s*)(\*{0,2}\w+) \((`[^\n]*?)\):(?=\s)", re.MULTILINE)
RETURNED = re.compile(r"^(\s*(?:Returns|Yields):\n\s*)(`[^\n]*?`):(?=\s)", re.MULTILINE)


def plain(kind: str) -> str:
    """A type or several, without the marks."""
    return kind.replace("` or `", " | ").strip("`")


class TransformersDialect(griffe.Extension):
    """Rewrites docstrings before they are parsed."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrite one docstring.

        Args:
            obj (`griffe.Object`): A module, class, function or attribute.
        """
        if obj.docstring is None:
            return
        parameters = {parameter.name.lstrip("*") for parameter in getattr(obj, "parameters", ())}

        def rewrite(match: re.Match[str]) -> str:
            indent, name, described = match.groups()
            kind, *more = described.split(", *optional*")
            # What a signature shows is not repeated.
            default = more[0].replace("`", "") if more and name.lstrip("*") not in parameters else ""
            return f"{indent}{name} ({plain(kind)}{default}):"

        text = PARAMETER.sub(rewrite, obj.docstring.value)
        obj.docstring.value = RETURNED.sub(lambda match: f"{match[1]}{plain(match[2])}:", text)
