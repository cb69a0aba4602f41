# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The metric as a Space: JSON lines in, scores out.

`evaluate.utils.launch_gradio_widget` drops empty predictions, which count here, so that this page is our own.
"""

import json
import re
from pathlib import Path
from typing import Any

import evaluate
import gradio


FOLDER = Path(__file__).resolve().parent
EXAMPLE = "\n".join(
    json.dumps({"prediction": prediction, "references": references})
    for prediction, references in (
        ("the red cube is gone", ["the red cube has disappeared", "the small red cube is missing"]),
        ("the big ball moved", ["the large sphere changed its location", "the big sphere moved"]),
        ("there is no change", ["nothing has changed", "no change was made"]),
    )
)


def read_lines(text: str) -> tuple[list[str], list[list[str]]]:
    """Read one JSON object a line.

    Args:
        text (`str`): Lines with "prediction" and "references".

    Returns:
        `tuple[list[str], list[list[str]]]`: Predictions and references.

    Raises:
        ValueError: If a line is no such object; the error names it.
    """
    predictions, references = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            predictions.append(item["prediction"])
            references.append(item["references"])
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            raise ValueError(f'Line {number} is not {{"prediction": "...", "references": ["...", ...]}}.') from error
    return predictions, references


def score_lines(text: str, meteor: bool = True) -> dict[str, Any]:
    """Score the text that was typed in.

    Args:
        text (`str`): As for `read_lines`.
        meteor (`bool`, *optional*, defaults to `True`): Whether to compute METEOR, which takes seconds to start.

    Returns:
        `dict[str, Any]`: The scores of the metric.

    Raises:
        gradio.Error: If the input cannot be scored; the page shows why.
    """
    # By its file: the folder of a Space has a name of its own.
    metric = evaluate.load(str(FOLDER / "change_captioning.py"))
    try:
        predictions, references = read_lines(text)
        return metric.compute(predictions=predictions, references=references, meteor=meteor)
    except (ValueError, TypeError, RuntimeError) as error:
        raise gradio.Error(str(error)) from error


def build_page() -> gradio.Blocks:
    """Lay out the page: input, button, scores, and the card below.

    Returns:
        `gradio.Blocks`: The page, ready for `launch`.
    """
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    with gradio.Blocks(title="Change captioning metrics") as page:
        lines = gradio.Textbox(EXAMPLE, label="One JSON object a line", lines=8)
        meteor = gradio.Checkbox(True, label="METEOR")
        button = gradio.Button("Score", variant="primary")
        scores = gradio.JSON(label="Scores")
        button.click(score_lines, [lines, meteor], scores, api_name="score")
        gradio.Markdown(re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL))
    return page


if __name__ == "__main__":
    build_page().launch()
