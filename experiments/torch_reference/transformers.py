"""DINOv2 and CLIP's image towers in torch, to compare with: from transformers and timm.

transformers resamples DINOv2's positions in its own way where there are no registers; the
authors' way is put in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

PATCH, GRID, OFFSET = 14, 37, 0.1


def build_dinov2(width: int, heads: int, blocks: int, *, registers: int = 0) -> nn.Module:
    """DINOv2 with random weights; a call returns the normalised class token."""
    import transformers

    class Backbone(
        transformers.Dinov2WithRegistersModel if registers else transformers.Dinov2Model
    ):
        def forward(self, images: Tensor, **options: Any) -> Any:
            return super().forward(images, **options).last_hidden_state[:, 0]

    options = {
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_hidden_layers": blocks,
        "image_size": PATCH * GRID,
        "patch_size": PATCH,
    }
    if registers:
        config = transformers.Dinov2WithRegistersConfig(**options, num_register_tokens=registers)
        return Backbone(config)
    module = Backbone(transformers.Dinov2Config(**options))
    embeddings = module.embeddings
    embeddings.interpolate_pos_encoding = lambda tokens, height, width: resample_positions(
        embeddings.position_embeddings, height // PATCH, width // PATCH
    )
    return module


def resample_positions(positions: Tensor, height: int, width: int) -> Tensor:
    """As the authors' code without registers: with scale factors for 0.1 patches more."""
    if height == width == GRID:
        return positions
    grid = positions[:, 1:].reshape(1, GRID, GRID, -1).permute(0, 3, 1, 2)
    factors = ((height + OFFSET) / GRID, (width + OFFSET) / GRID)
    grid = nn.functional.interpolate(grid, scale_factor=factors, mode="bicubic")
    return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def build_clip_vit(patch: int) -> nn.Module:
    """CLIP's ViT-B with random weights; a call returns the embedding."""
    import transformers

    class Tower(transformers.CLIPVisionModelWithProjection):
        def forward(self, images: Tensor, **options: Any) -> Any:
            return super().forward(images, **options).image_embeds

    return Tower(transformers.CLIPVisionConfig(patch_size=patch, projection_dim=512))


def build_clip_resnet50() -> nn.Module:
    """CLIP's ResNet-50 with random weights; a call returns the embedding."""
    import timm

    return timm.create_model("resnet50_clip", pretrained=False)


_SIZES = {"s": (384, 6, 12), "b": (768, 12, 12), "l": (1024, 16, 24)}
TRANSFORMERS: Mapping[str, tuple[str, Callable[[], nn.Module]]] = {
    **{
        f"dinov2_vit{letter}14{suffix}": (
            "transformers",
            lambda size=size, registers=registers: build_dinov2(*size, registers=registers),
        )
        for letter, size in _SIZES.items()
        for suffix, registers in (("", 0), ("_reg", 4))
    },
    "clip_vit_b_16": ("transformers", lambda: build_clip_vit(16)),
    "clip_vit_b_32": ("transformers", lambda: build_clip_vit(32)),
    "clip_resnet50": ("timm", build_clip_resnet50),
}
