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
"""Where the vision features of each family of VLMs are, and how they are laid out: a row of `PORTS` a family (ours).

A port knows three things of a family: how it takes images, what stands for an image in its prompts, and which module
reads the vision features last before they become tokens of the language model, in which order. All images of a model
have one size, so that each image is one tile and everything follows from the configuration.
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig
from transformers.image_processing_utils import select_best_resolution
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.vision_utils import get_vision_window_index


Size = tuple[int, int]
# What images are resized to where a tower takes any size.
NATIVE_SIDE = 448
# PyTorch numbers hooks without one: two threads could get the same number.
_HOOKS = threading.Lock()


def as_pair(value: Any) -> Size:
    """A number or two of them as two."""
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def repeated(numbers: Iterable[int], count: int, device: torch.device) -> Tensor:
    """The same numbers, such as height and width, for so many images (count, numbers)."""
    return torch.tensor([list(numbers)] * count, device=device)


@dataclass(frozen=True)
class Port:
    """A family whose connector reads (images, patches, width), row by row, as the last step of the vision side.

    Args:
        connector (`str`, *optional*, defaults to `"model.multi_modal_projector"`): The module that reads the features.
        behind (`bool`, *optional*, defaults to `False`): Take the features from what this module returns, its
            `last_hidden_state`, in place of what it reads.
        shrink (`str`, *optional*): Field of the configuration that tells how many patches of each side become one
            token; without it every patch becomes one.
        image_text (`str`, *optional*, defaults to `"{tokens}"`): What an image becomes in the prompt, `{tokens}` being
            its tokens.
        placeholder (`str`, *optional*): What stands for an image in the family's chat template, where that is not the
            token that is repeated.
        prompt (`str`, *optional*): The prompt of a family without a chat template, of `{image}`, `{start}`, which is
            the tokenizer's start token and stands nowhere else, and `{instruction}`.
        typed (`str`, *optional*): Name under which the model takes the types of tokens, 1 for those of images.
        sizes (`str`, *optional*, defaults to `"own"`): Which sizes of images its tower takes: its `"own"` alone,
            `"square"` or `"any"`.
    """

    connector: str = "model.multi_modal_projector"
    behind: bool = False
    shrink: str | None = None
    image_text: str = "{tokens}"
    placeholder: str | None = None
    prompt: str | None = None
    typed: str | None = None
    sizes: str = "own"

    def default_size(self, config: PreTrainedConfig) -> Size:
        """Height and width of an image where nothing else is said.

        Args:
            config (`PreTrainedConfig`): The VLM's.
        """
        own = as_pair(config.vision_config.image_size)
        if self.sizes == "own":
            return own
        return tuple(math.ceil(side / unit) * unit for side, unit in zip(own, self.unit(config), strict=True))

    def check_size(self, config: PreTrainedConfig, size: Size) -> None:
        """Refuse a size that the family does not take.

        Args:
            config (`PreTrainedConfig`): The VLM's.
            size (`tuple[int, int]`): Height and width, in pixels.

        Raises:
            ValueError: It is none of its sizes; the error names them.
        """
        kind, unit = config.model_type, self.unit(config)
        if any(side < 1 or side % step for side, step in zip(size, unit, strict=True)):
            raise ValueError(
                f"`image_size` is {list(size)}: a {kind} model takes height and width that are multiples of {unit[0]} "
                f"and {unit[1]} pixels."
            )
        if self.sizes == "own" and tuple(size) != self.default_size(config):
            raise ValueError(
                f"`image_size` is {list(size)}: this {kind} model takes images of {list(self.default_size(config))} "
                "alone."
            )
        if self.sizes == "square" and size[0] != size[1]:
            raise ValueError(f"`image_size` is {list(size)}: a {kind} model takes square images.")

    def unit(self, config: PreTrainedConfig) -> Size:
        """What height and width of an image must be multiples of."""
        patch, shrink = as_pair(config.vision_config.patch_size), self.shrinking(config)
        return patch[0] * shrink, patch[1] * shrink

    def shrinking(self, config: PreTrainedConfig) -> int:
        """Patches of each side that become one token."""
        return 1 if self.shrink is None else int(getattr(config, self.shrink))

    def grid(self, config: PreTrainedConfig, size: Size) -> Size:
        """Rows and columns of what the connector reads of one image."""
        patch = as_pair(config.vision_config.patch_size)
        return size[0] // patch[0], size[1] // patch[1]

    def token_grid(self, config: PreTrainedConfig, size: Size) -> Size:
        """Rows and columns of the tokens that an image becomes."""
        rows, columns = self.grid(config, size)
        return rows // self.shrinking(config), columns // self.shrinking(config)

    def image_tokens(self, config: PreTrainedConfig, size: Size) -> int:
        """Tokens of one image in the language model."""
        rows, columns = self.token_grid(config, size)
        return rows * columns

    def tiles(self, config: PreTrainedConfig, size: Size) -> int:
        """Views of an image among the features, the whole one first."""
        return 1

    def width(self, config: PreTrainedConfig) -> int:
        """Width of what the connector reads."""
        layers = getattr(config, "vision_feature_layer", -1)
        return config.vision_config.hidden_size * (1 if isinstance(layers, int) else len(layers))

    def text_of_image(self, config: PreTrainedConfig, size: Size, token: str) -> str:
        """What an image becomes in a prompt.

        Args:
            config (`PreTrainedConfig`): The VLM's.
            size (`tuple[int, int]`): Height and width.
            token (`str`): The token that is repeated.
        """
        return self.image_text.format(tokens=token * self.image_tokens(config, size))

    def vision_inputs(self, config: PreTrainedConfig, pixel_values: Tensor) -> dict[str, Any]:
        """What the family's `get_image_features` takes.

        Args:
            config (`PreTrainedConfig`): The VLM's.
            pixel_values (`torch.Tensor` of shape `(batch, 2, channels, height, width)`): The pairs.
        """
        return {"pixel_values": pixel_values.flatten(0, 1)}

    def prompt_inputs(
        self, config: PreTrainedConfig, input_ids: Tensor, labels: Tensor | None, size: Size
    ) -> dict[str, Tensor]:
        """What the family's `forward` and `generate` take beside prompts and encoded images.

        Args:
            config (`PreTrainedConfig`): The VLM's.
            input_ids (`torch.Tensor` of shape `(batch, sequence)`): Prompts, with captions in training.
            labels (`torch.Tensor` of shape `(batch, sequence)`, *optional*): The captions; -100 elsewhere.
            size (`tuple[int, int]`): Height and width of the images.
        """
        return {} if self.typed is None else {self.typed: (input_ids == config.image_token_id).long()}

    def to_maps(self, states: Tensor, config: PreTrainedConfig, grid: Size) -> Tensor:
        """The features of all images as maps (images, rows, columns, width)."""
        if states.ndim == 4:  # maps already, channels first
            return states.permute(0, 2, 3, 1)
        return self._patches(states, grid).unflatten(1, grid)

    def from_maps(self, maps: Tensor, states: Tensor, config: PreTrainedConfig, grid: Size) -> Tensor:
        """Maps (images, rows, columns, width) in the order of the features; zero for tokens that are no patches."""
        if states.ndim == 4:
            return maps.permute(0, 3, 1, 2)
        return F.pad(maps.flatten(1, 2), (0, 0, states.shape[1] - grid[0] * grid[1], 0))

    @staticmethod
    def _patches(states: Tensor, grid: Size) -> Tensor:
        """The last tokens of each image; a class token may stand in front."""
        leading = states.shape[1] - grid[0] * grid[1]
        if leading < 0:
            raise ValueError(f"The connector reads {states.shape[1]} patches of an image, not the {grid} of its size.")
        return states[:, leading:]

    @contextmanager
    def tapped(self, vlm: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Let what the connector reads be changed, in calls that this thread makes meanwhile.

        The hook stays for the call alone: a connector that is copied or replaced afterwards takes none with it.

        Args:
            vlm (`nn.Module`): The VLM.
            change (`Callable`): Gives the features that the connector is to read, of those that it would.
        """
        owner, module = threading.get_ident(), vlm.get_submodule(self.connector)

        # PyTorch leaves the keywords out for another thread that is about to call what is being taken off.
        def before(
            _: nn.Module, args: tuple, kwargs: dict[str, Any] | None = None
        ) -> tuple[tuple, dict[str, Any]] | None:
            if threading.get_ident() != owner:
                return None
            if args:
                return (change(args[0]), *args[1:]), kwargs
            name = next(iter(kwargs))
            return args, kwargs | {name: change(kwargs[name])}

        def after(_: nn.Module, args: tuple, output: Any) -> Any:
            if threading.get_ident() == owner:
                output.last_hidden_state = change(output.last_hidden_state)
            return output

        with _HOOKS:
            if self.behind:
                handle = module.register_forward_hook(after)
            else:
                handle = module.register_forward_pre_hook(before, with_kwargs=True)
        try:
            yield
        finally:
            with _HOOKS:
                handle.remove()


class FullPort(Port):
    """LLaVA and its like, which may keep the class token in front of the patches."""

    def image_tokens(self, config: PreTrainedConfig, size: Size) -> int:
        """Tokens of one image, the class token among them where it is kept."""
        kept = config.vision_feature_select_strategy == "full" and self._has_class_token(config.vision_config)
        return super().image_tokens(config, size) + kept

    @staticmethod
    def _has_class_token(vision_config: PreTrainedConfig) -> bool:
        return "siglip" not in vision_config.model_type


class OneVisionPort(FullPort):
    """LLaVA-OneVision: of several images each is one tile, and a newline token ends it."""

    def image_tokens(self, config: PreTrainedConfig, size: Size) -> int:
        """Tokens of one image and the newline."""
        return super().image_tokens(config, size) + 1

    def vision_inputs(self, config: PreTrainedConfig, pixel_values: Tensor) -> dict[str, Any]:
        """One tile an image, and how many images each pair has."""
        images, size = pixel_values.flatten(0, 1), pixel_values.shape[-2:]
        return {
            "pixel_values": images.unsqueeze(1),
            "image_sizes": repeated(size, len(images), images.device),
            "batch_num_images": torch.full((len(pixel_values),), 2, device=images.device),
        }


class NextPort(Port):
    """LLaVA-NeXT, which sees an image as a whole and again in tiles, two of them at least.

    Images are squares of a tile's size, so that a second look needs no other pixels: it is the same square with black
    beside it, cut into tiles. Tiles at the same place are compared.
    """

    def tiles(self, config: PreTrainedConfig, size: Size) -> int:
        """Views of an image, the whole one first."""
        best, tile = select_best_resolution(size, config.image_grid_pinpoints), config.vision_config.image_size
        if tuple(size) != (tile, tile) or min(best) != tile:
            raise ValueError(
                f"`image_size` {list(size)}: a {config.model_type} model is given squares of {tile} pixels, and "
                f"`image_grid_pinpoints` must hold two tiles side by side; the best of it is {list(best)}."
            )
        return 1 + max(best) // tile

    def image_tokens(self, config: PreTrainedConfig, size: Size) -> int:
        """The patches twice, and a newline behind every row of the second time."""
        rows, columns = self.grid(config, size)
        return 2 * rows * columns + rows

    def vision_inputs(self, config: PreTrainedConfig, pixel_values: Tensor) -> dict[str, Any]:
        """The whole image, then its tiles."""
        images, size = pixel_values.flatten(0, 1), tuple(pixel_values.shape[-2:])
        height, width = select_best_resolution(size, config.image_grid_pinpoints)
        black = [-mean / std for mean, std in zip(OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, strict=True)]
        canvas = images.new_tensor(black).view(1, -1, 1, 1).repeat(len(images), 1, height, width)
        top, left = (height - size[0]) // 2, (width - size[1]) // 2
        canvas[:, :, top : top + size[0], left : left + size[1]] = images
        cut = canvas.unflatten(3, (-1, size[1])).unflatten(2, (-1, size[0]))  # image, channel, row, y, column, x
        tiles = cut.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        return {
            "pixel_values": torch.cat([images.unsqueeze(1), tiles], 1),
            "image_sizes": repeated(size, len(images), images.device),
        }

    def prompt_inputs(
        self, config: PreTrainedConfig, input_ids: Tensor, labels: Tensor | None, size: Size
    ) -> dict[str, Tensor]:
        """The size of each image."""
        return {"image_sizes": repeated(size, 2 * len(input_ids), input_ids.device)}

    def to_maps(self, states: Tensor, config: PreTrainedConfig, grid: Size) -> Tensor:
        """The features of all tiles as maps, those at one place side by side."""
        return self._swap(super().to_maps(states, config, grid), self._tiles(config), 2)

    def from_maps(self, maps: Tensor, states: Tensor, config: PreTrainedConfig, grid: Size) -> Tensor:
        """Maps of tiles in the order of the features."""
        return super().from_maps(self._swap(maps, 2, self._tiles(config)), states, config, grid)

    def _tiles(self, config: PreTrainedConfig) -> int:
        return self.tiles(config, as_pair(config.vision_config.image_size))

    @staticmethod
    def _swap(maps: Tensor, inner: int, outer: int) -> Tensor:
        """Exchange the two innermost orders of a batch: (pair, outer, inner) becomes (pair, inner, outer)."""
        return maps.unflatten(0, (-1, outer, inner)).transpose(1, 2).flatten(0, 2)


class Idefics3Port(Port):
    """Idefics3 and SmolVLM, which take the images of a row together and shuffle squares of patches into one token."""

    def vision_inputs(self, config: PreTrainedConfig, pixel_values: Tensor) -> dict[str, Any]:
        """The pairs as they are."""
        return {"pixel_values": pixel_values}


class PrefixPort(Port):
    """PaliGemma, whose prompt is read in both directions and its caption in one."""

    def prompt_inputs(
        self, config: PreTrainedConfig, input_ids: Tensor, labels: Tensor | None, size: Size
    ) -> dict[str, Tensor]:
        """Types of tokens: 1 for the caption's."""
        types = torch.zeros_like(input_ids) if labels is None else (labels != -100).long()
        return {"token_type_ids": types}


class PooledPort(Port):
    """Gemma 3, which pools the patches before it projects them."""

    def grid(self, config: PreTrainedConfig, size: Size) -> Size:
        """Rows and columns of the pooled patches."""
        return as_pair(math.isqrt(config.mm_tokens_per_image))


class InternVLPort(Port):
    """InternVL, tapped behind its tower: in front of the projector four patches are one already."""

    def shrinking(self, config: PreTrainedConfig) -> int:
        """Patches of each side that become one token."""
        return round(1 / config.downsample_ratio)


class Ovis2Port(Port):
    """Ovis2, whose tower ends in the words of a visual vocabulary."""

    def unit(self, config: PreTrainedConfig) -> Size:
        """A patch: what is left over of a square of patches is filled up."""
        return as_pair(config.vision_config.patch_size)

    def grid(self, config: PreTrainedConfig, size: Size) -> Size:
        """Rows and columns of the squares that become one token."""
        patch, stride = as_pair(config.vision_config.patch_size), config.vision_config.hidden_stride
        return tuple(math.ceil(side // one / stride) for side, one in zip(size, patch, strict=True))

    def width(self, config: PreTrainedConfig) -> int:
        """Width of a square of patches."""
        return config.vision_config.hidden_size * config.vision_config.hidden_stride**2


class NativePort(Port):
    """A family that takes images of any size, and packs the patches of all into one row."""

    def default_size(self, config: PreTrainedConfig) -> Size:
        """448 pixels a side, or the next multiple of what the family takes."""
        return tuple(math.ceil(NATIVE_SIDE / unit) * unit for unit in self.unit(config))

    def order(self, config: PreTrainedConfig, grid: Size, device: torch.device) -> Tensor | None:
        """Cell, row by row, of every packed patch of an image (patches,); None where that is their order already."""
        return None

    def to_maps(self, states: Tensor, config: PreTrainedConfig, grid: Size) -> Tensor:
        """The features of all images as maps (images, rows, columns, width)."""
        cells = grid[0] * grid[1]
        if states.numel() % (cells * states.shape[-1]):
            raise ValueError(f"The connector reads {tuple(states.shape)}, which are no images of {grid} patches.")
        packed = states.reshape(-1, cells, states.shape[-1])
        order = self.order(config, grid, states.device)
        rows = packed if order is None else torch.empty_like(packed).index_copy(1, order, packed)
        return rows.unflatten(1, grid)

    def from_maps(self, maps: Tensor, states: Tensor, config: PreTrainedConfig, grid: Size) -> Tensor:
        """Maps (images, rows, columns, width), packed."""
        rows, order = maps.flatten(1, 2), self.order(config, grid, maps.device)
        return (rows if order is None else rows[:, order]).reshape(states.shape)


class QwenPort(NativePort):
    """Qwen2-VL and later, whose patches lie square by square, in Qwen2.5-VL window by window as well."""

    def shrinking(self, config: PreTrainedConfig) -> int:
        """Patches of each side that become one token."""
        return config.vision_config.spatial_merge_size

    def width(self, config: PreTrainedConfig) -> int:
        """Width of a patch."""
        # Qwen2-VL calls the language model's width `hidden_size`.
        return getattr(config.vision_config, "embed_dim", None) or config.vision_config.hidden_size

    def order(self, config: PreTrainedConfig, grid: Size, device: torch.device) -> Tensor:
        """Cell of every packed patch of an image."""
        (rows, columns), merge = grid, self.shrinking(config)
        cells = torch.arange(rows * columns, device=device).view(rows // merge, merge, columns // merge, merge)
        squares = cells.transpose(1, 2).reshape(-1, merge**2)
        window = getattr(config.vision_config, "window_size", None)
        if window and hasattr(config.vision_config, "fullatt_block_indexes"):
            thw = torch.tensor([[1, rows, columns]])
            squares = squares[get_vision_window_index(thw, merge, window, config.vision_config.patch_size)[0]]
        return squares.flatten()

    def vision_inputs(self, config: PreTrainedConfig, pixel_values: Tensor) -> dict[str, Any]:
        """Patches of all images in one row, square by square, and the grid of each image."""
        vision, images = config.vision_config, pixel_values.flatten(0, 1)
        patch, merge, frames = vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size
        count, channels, height, width = images.shape
        rows, columns = height // patch, width // patch
        split = (count, channels, rows // merge, merge, patch, columns // merge, merge, patch)
        cut = images.reshape(split).permute(0, 2, 5, 3, 6, 1, 4, 7)  # image, square, patch, channel, pixel
        # A still image is a film of equal frames.
        cut = cut.unsqueeze(6).expand(*cut.shape[:6], frames, *cut.shape[6:])
        return {
            "pixel_values": cut.reshape(count * rows * columns, channels * frames * patch * patch),
            "image_grid_thw": self.grids(config, (height, width), count, images.device),
        }

    def grids(self, config: PreTrainedConfig, size: Size, count: int, device: torch.device) -> Tensor:
        """Frames, rows and columns of so many images (count, 3)."""
        return repeated((1, *self.grid(config, size)), count, device)

    def prompt_inputs(
        self, config: PreTrainedConfig, input_ids: Tensor, labels: Tensor | None, size: Size
    ) -> dict[str, Tensor]:
        """Types of tokens and the images' grids, which positions in three directions are made of."""
        return {
            "mm_token_type_ids": (input_ids == config.image_token_id).int(),
            "image_grid_thw": self.grids(config, size, 2 * len(input_ids), input_ids.device),
        }


class PixtralPort(NativePort):
    """Pixtral and Mistral 3, whose prompt breaks an image's tokens into rows."""

    def shrinking(self, config: PreTrainedConfig) -> int:
        """Patches of each side that become one token."""
        return getattr(config, "spatial_merge_size", 1)

    def text_of_image(self, config: PreTrainedConfig, size: Size, token: str) -> str:
        """Rows of tokens, each with a break behind it, the last one with an end."""
        rows, columns = self.token_grid(config, size)
        return "[IMG_BREAK]".join([token * columns] * rows) + "[IMG_END]"

    def vision_inputs(self, config: PreTrainedConfig, pixel_values: Tensor) -> dict[str, Any]:
        """All images, and the size of each."""
        images = pixel_values.flatten(0, 1)
        return {"pixel_values": images, "image_sizes": repeated(images.shape[-2:], len(images), images.device)}

    def prompt_inputs(
        self, config: PreTrainedConfig, input_ids: Tensor, labels: Tensor | None, size: Size
    ) -> dict[str, Tensor]:
        """The size of each image."""
        return {"image_sizes": repeated(size, 2 * len(input_ids), input_ids.device)}


def flat_patches(pixel_values: Tensor, patch: Size) -> Tensor:
    """Cut pairs into patches (images, patches, patch rows x columns x channels), row by row, channels last."""
    images = pixel_values.flatten(0, 1)
    rows, columns = images.shape[-2] // patch[0], images.shape[-1] // patch[1]
    cut = images.reshape(len(images), images.shape[1], rows, patch[0], columns, patch[1])
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(len(images), rows * columns, -1)


class Gemma4Port(NativePort):
    """Gemma 4, whose tower pools its patches."""

    def shrinking(self, config: PreTrainedConfig) -> int:
        """Pooled patches are tokens."""
        return 1

    def unit(self, config: PreTrainedConfig) -> Size:
        """A pooled patch."""
        return as_pair(config.vision_config.patch_size * config.vision_config.pooling_kernel_size)

    def grid(self, config: PreTrainedConfig, size: Size) -> Size:
        """Rows and columns of the pooled patches."""
        unit = self.unit(config)
        return size[0] // unit[0], size[1] // unit[1]

    def vision_inputs(self, config: PreTrainedConfig, pixel_values: Tensor) -> dict[str, Any]:
        """Patches of each image, and the place of each, (column, row)."""
        patch = as_pair(config.vision_config.patch_size)
        patches = flat_patches(pixel_values, patch)
        rows, columns = pixel_values.shape[-2] // patch[0], pixel_values.shape[-1] // patch[1]
        places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).flip(1).to(patches.device)
        return {"pixel_values": patches, "image_position_ids": places.expand(len(patches), -1, -1)}


class Lfm2Port(NativePort):
    """LFM2-VL, tapped behind its tower: its projector reads squares of patches that it has cut out already."""

    def vision_inputs(self, config: PreTrainedConfig, pixel_values: Tensor) -> dict[str, Any]:
        """Patches of each image, none of them padding, and the grid of each image."""
        patches = flat_patches(pixel_values, as_pair(config.vision_config.patch_size))
        grid = self.grid(config, tuple(pixel_values.shape[-2:]))
        return {
            "pixel_values": patches,
            "spatial_shapes": repeated(grid, len(patches), patches.device),
            "pixel_attention_mask": torch.ones(patches.shape[:2], dtype=torch.long, device=patches.device),
        }


LLAVA = FullPort()
SMOLVLM = Idefics3Port(
    "model.connector",
    shrink="scale_factor",
    image_text="<fake_token_around_image><global-img>{tokens}<fake_token_around_image>",
    sizes="square",
)
QWEN = QwenPort("model.visual.merger", sizes="any")
PIXTRAL = PixtralPort(sizes="any")
PORTS = {
    "aya_vision": Port(
        shrink="downsample_factor",
        image_text="<|START_OF_IMG|>TILE_GLOBAL{tokens}<|END_OF_IMG|>",
        placeholder="<image>",
    ),
    "cohere2_vision": Port(
        shrink="downsample_factor", image_text="<|START_OF_IMG|>{tokens}<|IMG_LINE_BREAK|><|END_OF_IMG|>"
    ),
    "deepseek_vl": Port("model.aligner"),
    "gemma3": PooledPort(
        "model.multi_modal_projector.mm_soft_emb_norm",
        image_text="\n\n<start_of_image>{tokens}<end_of_image>\n\n",
        placeholder="<start_of_image>",
        typed="token_type_ids",
    ),
    "gemma4": Gemma4Port(
        "model.embed_vision", image_text="<|image>{tokens}<image|>", typed="mm_token_type_ids", sizes="any"
    ),
    "idefics3": SMOLVLM,
    "internvl": InternVLPort("model.vision_tower", behind=True, image_text="<img>{tokens}</img>", sizes="square"),
    "lfm2_vl": Lfm2Port(
        "model.vision_tower",
        behind=True,
        shrink="downsample_factor",
        image_text="<|image_start|>{tokens}<|image_end|>",
        sizes="any",
    ),
    "llava": LLAVA,
    "llava_next": NextPort(),
    "llava_onevision": OneVisionPort(),
    "mistral3": PIXTRAL,
    "ovis2": Ovis2Port(
        "model.vision_tower.head_linear", image_text="<IMG_START>{tokens}<IMG_GRID><IMG_END>", placeholder="<image>"
    ),
    "paligemma": PrefixPort(prompt="{image}{image}{start}{instruction}\n"),
    "qwen2_5_vl": QWEN,
    "qwen2_vl": QWEN,
    "qwen3_5": QWEN,
    "qwen3_vl": QWEN,
    "smolvlm": SMOLVLM,
    "vipllava": Port(),
}


def has_port(config: PreTrainedConfig) -> bool:
    """Whether a model can be wrapped.

    Args:
        config (`PreTrainedConfig`): Any.
    """
    return config.model_type in PORTS


def port_of(config: PreTrainedConfig) -> Port:
    """The port of a VLM.

    Args:
        config (`PreTrainedConfig`): The VLM's.

    Raises:
        ValueError: Its family is none of those that are known; the error lists them.
    """
    if not has_port(config):
        raise ValueError(f"No port is known for {config.model_type!r}. Known families: {', '.join(sorted(PORTS))}.")
    tower = getattr(config, "vision_config", None)
    # Pixtral is a LLaVA with a tower of its own.
    return PIXTRAL if getattr(tower, "model_type", None) == "pixtral" else PORTS[config.model_type]


__all__ = ["PORTS", "Port", "has_port", "port_of"]
