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
"""How far a caption can be trusted: a calibrated confidence, and whether the images are like those of training (ours).

A calibration lies beside a checkpoint as `trust.json`; `examples/calibrate.py` fits it on validation pairs. Without
the file nothing is said.

- Familiarity is the squared Mahalanobis distance of the pair's image statistics (`image_statistics` of the system), in
  the form of a probabilistic principal component analysis: some components have their own variance, all others share
  one, which is the shrinkage.
- Confidence is a logistic regression on evidence about the caption (`evidence_ssgpa.py`). The weight of the log
  probability is an inverse temperature.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.utils import cached_file, logging


logger = logging.get_logger(__name__)

TRUST_FILE = "trust.json"
UNCHANGED = "nothing has changed"
# A checkpoint whose one-dimensional weights differ by more than this share is another one.
OTHER_WEIGHTS = 0.01
DIGITS = 6
# How much farther than the quantile a pair may be, over the root of the number of pairs that it was taken from.
MARGIN = 5.0
# Of a statistic's scale, as a share of the median one.
LEAST_SCALE = 0.3
ADVICE = "For photographs, pass a vision-language model, such as --model Qwen/Qwen3-VL-2B-Instruct (docs/vlm.md)."


@dataclass(frozen=True)
class Familiarity:
    """What images of training look like to the model.

    Args:
        mean (`list[float]`): Of the statistics.
        scale (`list[float]`): Their standard deviations.
        components (`list[list[float]]`): Orthonormal directions of the standardized statistics, the largest first.
        variances (`list[float]`): Along these.
        rest (`float`): Mean squared length of what they leave.
        threshold (`float`): Distance from which on a pair is unfamiliar.
        quantile (`float`): Of the validation pairs that the threshold was put beyond, by `MARGIN`.
    """

    mean: list[float]
    scale: list[float]
    components: list[list[float]]
    variances: list[float]
    rest: float
    threshold: float
    quantile: float

    @classmethod
    def fit(cls, statistics: Tensor, count: int = 16, quantile: float = 0.995) -> "Familiarity":
        """Fit on validation pairs, with a threshold from directions of other pairs, so that it holds for new ones.

        Args:
            statistics (`torch.Tensor` of shape `(pairs, width)`): Of familiar pairs.
            count (`int`, *optional*, defaults to 16): Components; at most a sixteenth of the pairs and half the
                width.
            quantile (`float`, *optional*, defaults to 0.995): Share of the pairs that are to count as familiar.

        Returns:
            `Familiarity`: With the directions of all pairs, and a threshold from both halves.

        Raises:
            ValueError: There are fewer than 32 pairs.
        """
        if len(statistics) < 32:
            raise ValueError(f"Familiarity needs 32 pairs or more, got {len(statistics)}.")
        statistics = statistics.double()
        # So many that half of the pairs tell them too.
        count = max(1, min(count, len(statistics) // 16, statistics.shape[1] // 2))
        # Sets often alternate changed and unchanged pairs.
        order = torch.randperm(len(statistics), generator=torch.Generator().manual_seed(0))
        halves = statistics[order[0::2]], statistics[order[1::2]]
        held = [cls._directions(one, count).distance(other) for one, other in (halves, halves[::-1])]
        # Few pairs do not tell how far the next may be.
        threshold = torch.cat(held).quantile(quantile).item() * (1 + MARGIN / math.sqrt(len(statistics)))
        fitted = cls._directions(statistics, count)
        return cls(**{**asdict(fitted), "threshold": threshold, "quantile": quantile})

    @classmethod
    def _directions(cls, statistics: Tensor, count: int) -> "Familiarity":
        mean = statistics.mean(0)
        scale = statistics.std(0)
        # What hardly moves on these pairs, such as a dead channel, must not decide alone over new ones.
        scale = (scale.square() + (LEAST_SCALE * scale.median()).square()).sqrt().clamp(min=1e-6)
        standard = (statistics - mean) / scale
        _, sizes, directions = torch.linalg.svd(standard, full_matrices=False)
        directions = directions[:count]
        rest = (standard - standard @ directions.T @ directions).square().sum(1).mean().item()
        variances = sizes[:count].square() / len(statistics)
        lists = {"mean": mean, "scale": scale, "components": directions, "variances": variances}
        return cls(
            **{name: value.tolist() for name, value in lists.items()}, rest=rest, threshold=math.inf, quantile=1
        )

    def distance(self, statistics: Tensor) -> Tensor:
        """How far pairs are from those of training: 2 for one like them.

        Args:
            statistics (`torch.Tensor` of shape `(pairs, width)`): Their statistics.

        Returns:
            `torch.Tensor` of shape `(pairs,)`: The mean square along the components, in variances, and what is left
            over, in that of training.
        """
        mean, scale, directions, variances = (
            torch.tensor(value, dtype=torch.float64)
            for value in (self.mean, self.scale, self.components, self.variances)
        )
        standard = (statistics.double().cpu() - mean) / scale
        along = standard @ directions.T
        left = standard - along @ directions
        return along.square().div(variances).mean(1) + left.square().sum(1) / max(self.rest, 1e-9)


@dataclass(frozen=True)
class Confidence:
    """How likely a caption is right, by its evidence.

    Args:
        evidence (`dict[str, list[float]]`): Mean, standard deviation and weight of each evidence by name.
        bias (`float`): Log odds at the means.
    """

    evidence: dict[str, list[float]]
    bias: float

    @classmethod
    def fit(cls, evidence: Mapping[str, Tensor], right: Tensor, penalty: float = 0.01) -> "Confidence":
        """Fit a logistic regression by Newton's method.

        Args:
            evidence (`dict[str, torch.Tensor]`): Of shape (captions,); NaN where there is none.
            right (`torch.Tensor` of shape `(captions,)`): Whether each caption is right.
            penalty (`float`, *optional*, defaults to 0.01): On the squared weights, a caption.

        Returns:
            `Confidence`: The fit.

        Raises:
            ValueError: All captions are right, or none.
        """
        target = right.double()
        if not 0 < target.mean() < 1:
            raise ValueError("All captions are right, or none is: there is nothing to tell them apart by.")
        columns, facts = [], {}
        for name, values in evidence.items():
            known = values[~values.isnan()].double()
            if len(known) < 2 or known.std() == 0:
                continue
            facts[name] = [known.mean().item(), known.std().item()]
            columns.append(((values.double() - facts[name][0]) / facts[name][1]).nan_to_num(0.0))
        inputs = torch.stack([*columns, torch.ones_like(target)], 1)
        ridge = penalty * torch.eye(inputs.shape[1], dtype=torch.float64)
        # The bias is free.
        ridge[-1, -1] = 0
        weights = torch.zeros(inputs.shape[1], dtype=torch.float64)
        for _ in range(30):
            chance = (inputs @ weights).sigmoid()
            slope = inputs.T @ (target - chance) / len(target) - ridge @ weights
            curve = (inputs * (chance * (1 - chance))[:, None]).T @ inputs / len(target) + ridge
            curve += 1e-9 * torch.eye(len(curve), dtype=torch.float64)
            weights = weights + torch.linalg.solve(curve, slope)
        *weights, bias = weights.tolist()
        return cls({name: [*fact, weight] for (name, fact), weight in zip(facts.items(), weights, strict=True)}, bias)

    def chance(self, evidence: Mapping[str, float]) -> float:
        """The probability that a caption is right.

        Args:
            evidence (`dict[str, float]`): By name; what is missing or NaN counts as the mean.

        Returns:
            `float`: From 0 to 1.
        """
        odds = self.bias
        for name, (mean, scale, weight) in self.evidence.items():
            value = evidence.get(name, math.nan)
            # Beyond what was seen in fitting, a line says too much.
            odds += 0.0 if math.isnan(value) else weight * max(-4.0, min(4.0, (value - mean) / scale))
        return 1 / (1 + math.exp(-odds))


@dataclass(frozen=True)
class Trust:
    """The calibration of a checkpoint.

    Args:
        trained_on (`str`): What it was trained on, in words that end "unlike what this checkpoint was trained on:".
        right (`str`): What counted as a right caption.
        familiarity (`Familiarity`): What its images look like.
        confidence (`Confidence`): How evidence is weighed.
        unchanged (`str`): How the checkpoint says that nothing has changed.
        weights (`list[float]`): A print of the weights that it was fitted for, see `weights_print`.
        measured (`dict[str, Any]`): What `examples/calibrate.py` measured on the validation pairs.
    """

    trained_on: str
    right: str
    familiarity: Familiarity
    confidence: Confidence
    unchanged: str = UNCHANGED
    weights: list[float] = field(default_factory=list)
    measured: dict[str, Any] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """What is said of unfamiliar images."""
        return f"unlike what this checkpoint was trained on: {self.trained_on}. {ADVICE}"

    def save(self, folder: str | Path) -> Path:
        """Write `trust.json`.

        Args:
            folder (`str` or `Path`): Of the checkpoint.

        Returns:
            `Path`: The file.
        """
        path = Path(folder, TRUST_FILE)
        content = {"format": 1, **_rounded(asdict(self))}
        path.write_text(json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Trust":
        """Read `trust.json`.

        Args:
            path (`str` or `Path`): The file.

        Returns:
            `Trust`: The calibration.

        Raises:
            ValueError: It is no such file; the error names it.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            version = content.pop("format")
            if version != 1:
                raise ValueError(f"its format is {version}, and this version reads 1")
            parts = {"familiarity": Familiarity, "confidence": Confidence}
            return cls(**{name: parts[name](**value) if name in parts else value for name, value in content.items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: is no calibration ({error}); make it anew by examples/calibrate.py.") from error


def weights_print(model: torch.nn.Module) -> list[float]:
    """A number that changes with the weights, and their size to measure a change by.

    One-dimensional weights alone are read (those of norms, and biases): neither LoRA nor quantization changes them. A
    training that leaves all of them as they were is not noticed.

    Args:
        model (`torch.nn.Module`): The model.

    Returns:
        `list[float]`: A projection of these weights, their length, and how many there are.
    """
    parts = [value.detach().double().cpu() for _, value in sorted(model.named_parameters()) if value.dim() == 1]
    if not parts:
        return [0.0, 0.0, 0]
    flat = torch.cat(parts)
    # Without a pattern that weights could have.
    signs = (torch.arange(len(flat), dtype=torch.float64) * 12.9898).sin()
    return [(flat @ signs).item() / math.sqrt(len(flat)), flat.square().mean().sqrt().item(), len(flat)]


def load_trust(
    model: torch.nn.Module, path: str | None = None, revision: str | None = None, local_files_only: bool = False
) -> Trust | None:
    """Read the calibration that lies where a model was loaded from.

    Args:
        model (`PreTrainedModel`): The model.
        path (`str`, *optional*): Folder or id on the Hub; by default where the model says it is from.
        revision (`str`, *optional*): Commit, for an id; by default the model's own.
        local_files_only (`bool`, *optional*, defaults to `False`): Do not ask the Hub.

    Returns:
        `Trust`: None where there is none, or where it was made for other weights, with a warning.

    Raises:
        ValueError: The file is broken.
    """
    path = path or getattr(model, "name_or_path", "")
    if not path:
        return None
    found = Path(path, TRUST_FILE)
    if not Path(path).is_dir():
        quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
        revision = revision or getattr(model.config, "_commit_hash", None)
        try:
            found = cached_file(path, TRUST_FILE, revision=revision, local_files_only=local_files_only, **quiet)
        # No such repository: a name that only tells where the model once came from.
        except (OSError, ValueError):
            return None
    if found is None or not Path(found).is_file():
        return None
    trust = Trust.load(found)
    if not fits(trust, model):
        logger.warning(
            f"{found} was made for other weights than the model's, and is not used: make it anew by "
            "examples/calibrate.py."
        )
        return None
    return trust


def trust_of(model: torch.nn.Module) -> Trust | None:
    """The calibration of a model as it is now: the one that was found in loading, or lies where it was loaded from.

    Args:
        model (`PreTrainedModel`): The model.

    Returns:
        `Trust`: None where there is none for these weights.
    """
    known = vars(model)
    trust = known["trust"] if "trust" in known else load_trust(model)
    return trust if trust is not None and fits(trust, model) else None


def fits(trust: Trust, model: torch.nn.Module) -> bool:
    """Whether a calibration was made for a model's weights.

    Args:
        trust (`Trust`): The calibration.
        model (`torch.nn.Module`): The model.
    """
    (told, size, count), (found, _, ours) = trust.weights, weights_print(model)
    return count == ours and abs(told - found) <= OTHER_WEIGHTS * max(size, 1e-9)


def _rounded(value: Any) -> Any:
    """Numbers with six digits: more would be of no use, and the file large."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


__all__ = ["Confidence", "Familiarity", "Trust", "load_trust", "trust_of", "weights_print"]
