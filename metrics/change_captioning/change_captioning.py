# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Change captioning metrics: BLEU, ROUGE-L and CIDEr-D with the field's protocol, offline and without Java."""

import datasets
import evaluate

# `evaluate` copies this script and the siblings imported here, not what the siblings import in their turn.
from .scoring import score_lists
from .text import TOKENIZER_NAME


_DESCRIPTION = f"""
Scores of change captions (two pictures in, one sentence about what changed out) as the published tables compute them:
lower-cased Penn Treebank tokens without punctuation (tokenizer "{TOKENIZER_NAME}", no Java), BLEU-1 to BLEU-4 with the
closest reference length, ROUGE-L with beta 1.2 and CIDEr-D with document frequencies from the scored references.
BLEU and ROUGE-L are in 0..1, CIDEr-D in 0..10; papers print them times 100. METEOR is None in this version.
"""

_CITATION = """
Papineni et al. 2002 (BLEU), Lin 2004 (ROUGE-L), Vedantam et al. 2015 (CIDEr), Chen et al. 2015 (the COCO captions
evaluation, whose scorers, in the package pycocoevalcap, are used here).
"""

_INPUTS = """
Args:
    predictions (list of str): one caption a pair of pictures.
    references (list of lists of str): all captions of the pair, at least one.
    tokenize (bool): False for captions that were tokenised before.
Returns:
    dict: bleu_1, bleu_2, bleu_3, bleu_4, meteor, meteor_reason, rouge_l, cider, n_items, n_references, tokenizer,
    empty_predictions, empty_references, special_tokens.
Examples:
    >>> metric = evaluate.load("metrics/change_captioning")
    >>> scores = metric.compute(predictions=["the red cube is gone"], references=[["the red cube has disappeared"]])
"""


class ChangeCaptioning(evaluate.Metric):
    """BLEU, ROUGE-L and CIDEr-D of change captions, computed once over everything that was added."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.List(datasets.Value("string"))}
            ),
            reference_urls=["https://github.com/salaniz/pycocoevalcap"],
        )

    def _compute(
        self, predictions: list[str], references: list[list[str]], tokenize: bool = True
    ) -> dict[str, float | int | str | None]:
        return score_lists(predictions, references, tokenize=tokenize)
