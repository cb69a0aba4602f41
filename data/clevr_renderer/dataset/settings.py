# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Settings of a rendered set, saved in its folder so that a run can only be resumed with the same ones."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from ....utils.files import is_foreign, write_json
from ..caster.ray_caster import BACKENDS, default_backend
from ..scene.cameras import CAMERAS, INDEPENDENT, Views
from .layout import LAYOUTS, SETTINGS


# Raised whenever the same settings give other images or captions than before.
FORMAT = 2
MAX_SCENES = 1_000_000
MIN_SIZE, MAX_SIZE = (48, 32), (480, 320)
MAX_JITTER = 3.0
MAX_CHANGES = 4
# Written only where they differ, so that the settings of sets from before they existed stay what they were.
_LATER = ("layout", "cameras", "light_jitter", "changes", "random_look", "twins")


@dataclass(frozen=True)
class RenderSettings:
    """Everything that the bytes of a rendered set depend on.

    Args:
        scenes (`int`): Number of scenes; each gives three images, or two in the layout "clevr_dc".
        seed (`int`): Seed of the set; scene i depends on (seed, i) and on what is listed here from `size` on, in the
            layout "clevr_dc" on `scenes` too.
        size (`tuple[int, int]`, *optional*, defaults to `(240, 160)`): Width and height of the images, from 48 x 32 to
            480 x 320.
        camera_jitter (`float`, *optional*, defaults to `1.5`): Each axis of each camera is moved by U(-jitter,
            jitter); 1.5 fits the release's box overlaps.
        splits (`tuple[float, float, float]`, *optional*, defaults to `(0.85, 0.05, 0.1)`): Shares of train, val and
            test.
        object_masks (`bool`, *optional*, defaults to `False`): Whether to write object-id masks too.
        backend (`str`, *optional*): "numba" or "numpy", by default the faster one that is installed; their images may
            differ by a level.
        layout (`str`, *optional*, defaults to `LAYOUTS[0]`): "clevr_change" for a default, a changed and a distractor
            image, "clevr_dc" for pairs of six types.
        cameras (`str`, *optional*, defaults to `INDEPENDENT`): "independent", "chained" or "anywhere", see
            `cameras.Views`.
        light_jitter (`float`, *optional*, defaults to `0.0`): Each axis of each lamp is moved by U(-jitter, jitter) in
            all images but a scene's first.
        changes (`tuple[int, int]`, *optional*, defaults to `(1, 1)`): Fewest and most changes of a scene, up to 4.
        random_look (`float`, *optional*, defaults to `0.0`): Share of the scenes, drawn at random, that have lamps,
            materials, floor and film of their own (`caster.looks.random_look`). Scenes, captions and masks are the
            same with and without.
        twins (`float`, *optional*, defaults to `0.0`): Share of the scenes, drawn at random, in which the first
            changed object surely has a twin: another one of the same shape, size, color and material, so that only a
            relation tells which of them changed. In the others this is left to chance, about one scene in twenty.

    Raises:
        ValueError: For a value out of range, naming it.
    """

    scenes: int
    seed: int
    size: tuple[int, int] = (240, 160)
    camera_jitter: float = 1.5
    splits: tuple[float, float, float] = (0.85, 0.05, 0.1)
    object_masks: bool = False
    backend: str = field(default_factory=default_backend)
    layout: str = LAYOUTS[0]
    cameras: str = INDEPENDENT
    light_jitter: float = 0.0
    changes: tuple[int, int] = (1, 1)
    random_look: float = 0.0
    twins: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.scenes <= MAX_SCENES:
            raise ValueError(f"scenes must be between 1 and {MAX_SCENES}, not {self.scenes}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, not {self.seed}")
        if not all(low <= length <= high for low, length, high in zip(MIN_SIZE, self.size, MAX_SIZE, strict=True)):
            raise ValueError(f"size must lie between 48 x 32 and 480 x 320, not {self.size[0]} x {self.size[1]}")
        for name in ("camera_jitter", "light_jitter"):
            if not 0 <= getattr(self, name) <= MAX_JITTER:
                raise ValueError(f"{name} must be between 0 and {MAX_JITTER}, not {getattr(self, name)}")
        for name, known in (("backend", BACKENDS), ("layout", LAYOUTS), ("cameras", CAMERAS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")
        if not 1 <= self.changes[0] <= self.changes[1] <= MAX_CHANGES:
            raise ValueError(f"changes must be two numbers from 1 to {MAX_CHANGES}, ascending, not {self.changes}")
        self._check_shares()
        self._check_pairs()

    def _check_shares(self) -> None:
        for name in ("random_look", "twins"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share between 0 and 1, not {getattr(self, name)}")
        if min(self.splits) < 0 or not math.isclose(sum(self.splits), 1.0, abs_tol=1e-6):
            raise ValueError(f"splits must be three shares that sum to 1, not {self.splits}")

    def _check_pairs(self) -> None:
        if self.layout == LAYOUTS[0]:
            return
        if self.scenes % 6:
            raise ValueError(f"scenes must be a multiple of 6 for the six types of {self.layout}, not {self.scenes}")
        if self.changes != (1, 1):
            raise ValueError(f"changes must be 1 1 in the layout {self.layout}, not {self.changes}")
        if self.twins:
            raise ValueError(f"twins must be 0 in the layout {self.layout}, not {self.twins}")

    @property
    def views(self) -> Views:
        """How the images of a scene differ."""
        return Views(self.cameras, self.camera_jitter, self.light_jitter)

    def to_dict(self) -> dict:
        """The settings as JSON keeps them."""
        defaults = {item.name: item.default for item in fields(self)}
        kept = {k: v for k, v in asdict(self).items() if k not in _LATER or v != defaults[k]}
        return json.loads(json.dumps({"format": FORMAT, **kept}))

    @classmethod
    def from_dict(cls, values: dict) -> RenderSettings:
        """The settings that `to_dict` gave."""
        pairs = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{name: value for name, value in (values | pairs).items() if name != "format"})


def open_folder(folder: Path, settings: RenderSettings) -> bool:
    """Create the output folder of a run, or resume an earlier run in it.

    Returns:
        `bool`: Whether an earlier run was finished.

    Raises:
        FileExistsError: If the folder holds something that no run of the renderer began.
        ValueError: If the earlier run had other settings.
    """
    path = folder / SETTINGS
    if path.is_file():
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            complete = bool(saved.pop("complete"))
        except (ValueError, RecursionError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"{path} is damaged ({error}); render into a new folder") from error
        wanted = settings.to_dict()
        different = [key for key in wanted | saved if saved.get(key) != wanted.get(key)]
        if different:
            listed = "; ".join(f"{key} {saved.get(key)} there, {wanted.get(key)} here" for key in different)
            raise ValueError(f"{folder} was begun with other settings: {listed}")
        return complete
    if is_foreign(folder, SETTINGS):
        raise FileExistsError(f"{folder} exists and was not begun by this renderer; choose an empty or a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    mark_folder(folder, settings, complete=False)
    return False


def mark_folder(folder: Path, settings: RenderSettings, complete: bool) -> None:
    """Save the settings of a run and whether it is finished."""
    write_json(folder / SETTINGS, {**settings.to_dict(), "complete": complete}, indent=2)
