# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Names in the released folders of CLEVR-Change and CLEVR-DC, and the files and folders of our own beside them."""

from __future__ import annotations


CLEVR_CHANGE, CLEVR_DC = LAYOUTS = ("clevr_change", "clevr_dc")

VIEWS = ("default", "semantic", "nonsemantic")
IMAGE_FOLDERS = {"default": "images", "semantic": "sc_images", "nonsemantic": "nsc_images"}
MASK_FOLDER = "object_masks"
CHANGE_CAPTIONS = "change_captions.json"
NO_CHANGE_CAPTIONS = "no_change_captions.json"
SPLITS = "splits.json"
TYPE_MAPPING = "type_mapping.json"
BOXES = "change_captions_with_bbox.json"
OVERLAPS = "change_captions_by_IOU.json"
SORTED_OVERLAPS = "iou_sorted.txt"

PAIR_FOLDERS = {"before": "bef", "after": "aft"}
PAIR_CAPTIONS = "captions.json"
PAIR_SPLIT = "split.json"

SCENES = "scenes.jsonl"
SETTINGS = "render_settings.json"
PARTS = ".parts"


def image_name(view: str, index: int) -> str:
    """Path of an image in the folder, such as `sc_images/CLEVR_semantic_000012.png`."""
    return f"{IMAGE_FOLDERS[view]}/CLEVR_{view}_{index:06d}.png"


def mask_name(view: str, index: int) -> str:
    """Path of an object mask in the folder, such as `object_masks/semantic_000012.png`."""
    return f"{MASK_FOLDER}/{view}_{index:06d}.png"


def caption_key(index: int) -> str:
    """Key of a scene in both caption files."""
    return f"CLEVR_default_{index:06d}.png"


def pair_image_name(side: str, index: int) -> str:
    """Path of an image in CLEVR-DC's layout, such as `bef/12.png`."""
    return f"{PAIR_FOLDERS[side]}/{index}.png"


def pair_mask_name(side: str, index: int) -> str:
    """Path of an object mask in that layout, such as `object_masks/bef_12.png`."""
    return f"{MASK_FOLDER}/{PAIR_FOLDERS[side]}_{index}.png"
