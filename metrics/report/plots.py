# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Plots as inline SVG, without a plotting library: bars with intervals, and histograms."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple


WIDTH, LABEL, ROW, PLOT = 640, 250, 22, 300
HEIGHT = 150


class Bar(NamedTuple):
    """One bar: its name, its length, the ends of its interval, and the class that colors it."""

    name: str
    value: float
    interval: Sequence[float] | None = None
    kind: str = "system"


def draw_bars(title: str, bars: Sequence[Bar], maximum: float | None = None) -> str:
    """Draw horizontal bars, each with its value.

    Args:
        title (`str`): What the lengths are.
        bars (`Sequence[Bar]`): From top to bottom.
        maximum (`float`, *optional*): Length of the axis; by default the largest value or interval.

    Returns:
        `str`: A figure in HTML; "" where there is no bar.
    """
    if not bars:
        return ""
    ends = [end for bar in bars for end in (bar.value, *(bar.interval or ()))]
    scale = PLOT / (maximum or max(ends) or 1.0)
    parts = []
    for top, bar in zip(range(0, ROW * len(bars), ROW), bars, strict=True):
        middle, length = top + ROW / 2, max(0.0, bar.value * scale)
        name = escape(bar.name if len(bar.name) < 40 else f"{bar.name[:37]}...")
        parts += [
            f'<text class="name" x="{LABEL - 8}" y="{middle + 4}"><title>{escape(bar.name)}</title>{name}</text>',
            f'<rect class="{bar.kind}" x="{LABEL}" y="{top + 4}" width="{length:.1f}" height="{ROW - 8}"/>',
        ]
        end = length
        if bar.interval:
            low, high = (LABEL + end * scale for end in bar.interval)
            stems = f"M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8"
            parts.append(f'<path class="whisker" d="{stems}"/>')
            end = max(length, *(end * scale for end in bar.interval))
        parts.append(f'<text x="{LABEL + end + 6:.1f}" y="{middle + 4}">{bar.value:.1f}</text>')
    return _figure(title, ROW * len(bars), "".join(parts))


def draw_histogram(title: str, values: Sequence[float], bins: int = 20, maximum: float = 1.0) -> str:
    """Draw a histogram of values.

    Args:
        title (`str`): What the values are.
        values (`Sequence[float]`): Numbers from 0 on.
        bins (`int`, *optional*, defaults to `20`): Number of columns.
        maximum (`float`, *optional*, defaults to `1.0`): Right end of the axis; what lies beyond counts in the last
            column.

    Returns:
        `str`: A figure in HTML; "" where there is no value.
    """
    if not values:
        return ""
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int(value / maximum * bins))] += 1
    step, scale = (WIDTH - 40) / bins, (HEIGHT - 40) / max(counts)
    columns = [
        f'<rect class="system" x="{20 + index * step:.1f}" y="{HEIGHT - 20 - count * scale:.1f}" '
        f'width="{step - 2:.1f}" height="{count * scale:.1f}"><title>{count} pairs</title></rect>'
        for index, count in enumerate(counts)
    ]
    ticks = [
        f'<text class="tick" x="{20 + share * (WIDTH - 40):.0f}" y="{HEIGHT - 5}">{share * maximum:g}</text>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    return _figure(title, HEIGHT, "".join(columns + ticks))


def _figure(title: str, height: float, content: str) -> str:
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg role="img" aria-label="{escape(title)}" '
        f'viewBox="0 0 {WIDTH} {height:.0f}">{content}</svg></figure>'
    )
