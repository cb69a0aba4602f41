# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Names in CLEVR-Change's released folder, and the two files and one folder of our own beside them."""

from __future__ import annotations


VIEWS = ("default", "semantic", "nonsemantic")
IMAGE_FOLDERS = {"default": "images", "semantic": "sc_images", "nonsemantic": "nsc_images"}
MASK_FOLDER = "object_masks"
CHANGE_CAPTIONS = "change_captions.json"
NO_CHANGE_CAPTIONS = "no_change_captions.json"
SPLITS = "splits.json"
TYPE_MAPPING = "type_mapping.json"
BOXES = "change_captions_with_bbox.json"
SCENES = "scenes.jsonl"
SETTINGS = "render_settings.json"
PARTS = ".parts"


def image_name(view: str, index: int) -> str:
    """Path of a picture in the folder, such as `sc_images/CLEVR_semantic_000012.png`."""
    return f"{IMAGE_FOLDERS[view]}/CLEVR_{view}_{index:06d}.png"


def mask_name(view: str, index: int) -> str:
    """Path of an object mask in the folder, such as `object_masks/semantic_000012.png`."""
    return f"{MASK_FOLDER}/{view}_{index:06d}.png"


def caption_key(index: int) -> str:
    """Key of a scene in both caption files."""
    return f"CLEVR_default_{index:06d}.png"
