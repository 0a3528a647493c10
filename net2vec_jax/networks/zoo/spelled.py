"""timm's, transformers', Keras' and Facebook's names for the weights of torchvision's networks.

timm names residual and dense networks as torchvision does. Where constants differ (ε of
ConvNeXt's last normalisation), no response changes by more than 1e-5 of its deviation.
"""

from __future__ import annotations

import dataclasses
import re

from net2vec_jax.networks.layers.inverted_bottleneck import MobileNetwork
from net2vec_jax.networks.models.squeezenet import FIRES, SqueezeNet11
from net2vec_jax.weights.spellings import Spelling, join_attention

HALVES = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5), "rgb")
"""2x / 255 − 1: the published vision transformers of timm and Google."""
CAFFE_VGG = ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0), "bgr")
"""What Caffe's VGG sees, as do most of the networks that PyTorch and Keras took over from Caffe."""

RESNET = (
    Spelling(
        "transformers",
        r"(resnet\.)?embedder\.embedder\.",
        (
            (r"^resnet\.", ""),
            (r"^embedder\.embedder\.convolution\.", "conv1."),
            (r"^embedder\.embedder\.normalization\.", "bn1."),
            *((rf"^encoder\.stages\.{n}\.layers\.", f"layer{n + 1}.") for n in range(4)),
            (r"\.shortcut\.convolution\.", ".downsample.0."),
            (r"\.shortcut\.normalization\.", ".downsample.1."),
            *((rf"\.layer\.{n}\.convolution\.", f".conv{n + 1}.") for n in range(3)),
            *((rf"\.layer\.{n}\.normalization\.", f".bn{n + 1}.") for n in range(3)),
            (r"^classifier\.1\.", "fc."),
        ),
    ),
    Spelling(
        "torch.nn.Sequential(*children)",
        r"4\.0\.conv1\.",
        (
            (r"^0\.", "conv1."),
            (r"^1\.", "bn1."),
            *((rf"^{n + 3}\.", f"layer{n}.") for n in range(1, 5)),
            (r"^9\.", "fc."),
        ),
    ),
)

VGG = (
    Spelling(
        "timm",
        r"pre_logits\.fc1\.",
        (
            (r"^pre_logits\.fc1\.", "classifier.0."),
            (r"^pre_logits\.fc2\.", "classifier.3."),
            (r"^head\.fc\.", "classifier.6."),
        ),
    ),
)
CAFFES_VGG = Spelling(
    "Caffe's VGG, converted to PyTorch (classifier.1, .4, .6)",
    r"classifier\.1\.",
    ((r"^classifier\.1\.", "classifier.0."), (r"^classifier\.4\.", "classifier.3.")),
    images=CAFFE_VGG,
)


# Facebook's names, from timm's and transformers', of both versions of ConvNeXt; and torchvision's.
_CONVNEXT_TIMM = (
    (r"^stem\.", "downsample_layers.0."),
    (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
    (r"^(stages\.\d)\.blocks\.", r"\1."),
    (r"\.conv_dw\.", ".dwconv."),
    (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
    (r"\.mlp\.grn\.weight$", ".grn.gamma"),
    (r"\.mlp\.grn\.bias$", ".grn.beta"),
    (r"^head\.norm\.", "norm."),
    (r"^head\.fc\.", "head."),
)
_CONVNEXT_TRANSFORMERS = (
    (r"^convnext(v2)?\.", ""),
    (r"^embeddings\.patch_embeddings\.", "downsample_layers.0.0."),
    (r"^embeddings\.layernorm\.", "downsample_layers.0.1."),
    (r"^encoder\.stages\.(\d)\.downsampling_layer\.", r"downsample_layers.\1."),
    (r"^encoder\.(stages\.\d)\.layers\.", r"\1."),
    (r"(^|\.)layernorm\.", r"\1norm."),
    (r"\.layer_scale_parameter$", ".gamma"),
    (r"\.grn\.weight$", ".grn.gamma"),
    (r"\.grn\.bias$", ".grn.beta"),
    (r"^classifier\.", "head."),
)
_CONVNEXT_PARTS = {"dwconv": "0", "norm": "2", "pwconv1": "3", "pwconv2": "5"}
_CONVNEXT_FACEBOOK = (
    *((rf"^downsample_layers\.{n}\.", f"features.{2 * n}.") for n in range(4)),
    *((rf"^stages\.{n}\.", f"features.{2 * n + 1}.") for n in range(4)),
    *((rf"(\.\d+\.){part}\.", rf"\1block.{n}.") for part, n in _CONVNEXT_PARTS.items()),
    (r"\.gamma$", ".layer_scale"),
    (r"^norm\.", "classifier.0."),
    (r"^head\.", "classifier.2."),
)
CONVNEXT = (
    Spelling("timm", r"stem\.0\.|stages\.\d+\.blocks\.", (*_CONVNEXT_TIMM, *_CONVNEXT_FACEBOOK)),
    Spelling(
        "transformers",
        r"(convnext\.)?embeddings\.patch_embeddings\.",
        (*_CONVNEXT_TRANSFORMERS, *_CONVNEXT_FACEBOOK),
    ),
    Spelling("Facebook", r"downsample_layers\.", _CONVNEXT_FACEBOOK),
)
CONVNEXT_V2 = (
    Spelling("timm", r"stem\.|stages\.\d\.blocks\.", _CONVNEXT_TIMM),
    Spelling("transformers", r"(convnextv2\.)?(embeddings|encoder)\.", _CONVNEXT_TRANSFORMERS),
)

_LAYER = r"^(encoder\.layers\.encoder_layer_\d+\.)"
VIT = (
    Spelling(
        "timm",
        r"blocks\.0\.attn\.qkv\.",
        (
            (r"^cls_token$", "class_token"),
            (r"^pos_embed$", "encoder.pos_embedding"),
            (r"^patch_embed\.proj\.", "conv_proj."),
            (r"^blocks\.(\d+)\.", r"encoder.layers.encoder_layer_\1."),
            (rf"{_LAYER}norm(\d)\.", r"\1ln_\2."),
            (rf"{_LAYER}attn\.qkv\.", r"\1self_attention.in_proj_"),
            (rf"{_LAYER}attn\.proj\.", r"\1self_attention.out_proj."),
            (rf"{_LAYER}mlp\.fc1\.", r"\1mlp.0."),
            (rf"{_LAYER}mlp\.fc2\.", r"\1mlp.3."),
            (r"^norm\.", "encoder.ln."),
            (r"^head\.", "heads.head."),
        ),
        images=HALVES,
        architectures=r"vit_base_patch16_224|deit_base_patch16_224",
    ),
    Spelling(
        "transformers",
        r"(vit\.)?embeddings\.patch_embeddings\.projection\.",
        (
            (r"^vit\.", ""),
            (r"^embeddings\.cls_token$", "class_token"),
            (r"^embeddings\.position_embeddings$", "encoder.pos_embedding"),
            (r"^embeddings\.patch_embeddings\.projection\.", "conv_proj."),
            (r"^(encoder\.layer|layers)\.(\d+)\.", r"encoder.layers.encoder_layer_\2."),
            (rf"{_LAYER}layernorm_before\.", r"\1ln_1."),
            (rf"{_LAYER}layernorm_after\.", r"\1ln_2."),
            *join_attention(r"attention(?:\.attention)?", "self_attention.in_proj_"),
            (rf"{_LAYER}attention\.(output\.dense|o_proj)\.", r"\1self_attention.out_proj."),
            (rf"{_LAYER}(intermediate\.dense|mlp\.fc1)\.", r"\1mlp.0."),
            (rf"{_LAYER}(output\.dense|mlp\.fc2)\.", r"\1mlp.3."),
            (r"^layernorm\.", "encoder.ln."),
            (r"^classifier\.", "heads.head."),
        ),
        images=HALVES,
        epsilon=1e-12,
    ),
)  # fmt: skip

_KERAS_LAYER = r"^(conv1|conv10|fire\d/\w+)/(?:.*/)?"
_KERAS_SQUEEZENET = Spelling(
    "Keras",
    r"fire2/squeeze1x1/",
    (
        (rf"{_KERAS_LAYER}(\w+_b|bias)(:0)?$", r"\1.bias"),
        (rf"{_KERAS_LAYER}(uniform\d+|\w+_W|kernel)(:0)?$", r"\1.weight"),
        (r"^conv1\.", "features.0."),
        (r"^conv10\.", "classifier.1."),
        *(
            (rf"^{name}/(\w+)\.", rf"features.{place}.\1.")
            for place, name in enumerate(SqueezeNet11.order, 1)
            if name in FIRES
        ),
        (r"\.squeeze1x1\.", ".squeeze."),
    ),
    axes="keras",
    images=CAFFE_VGG,
)
SQUEEZENET_1_1 = (
    _KERAS_SQUEEZENET,
    dataclasses.replace(_KERAS_SQUEEZENET, library="Keras on Theano", axes="theano"),
)


def spell_as_timm(network: type[MobileNetwork], architectures: str) -> Spelling:
    """timm's names for a network of inverted bottlenecks; see `Spelling` for `architectures`."""
    (stem, stem_norm), (head, head_norm) = network.keys
    modules = {"conv_stem": stem, "bn1": stem_norm, "conv_head": head, "bn2": head_norm}
    modules["classifier"] = network.logits_key
    for number, shape in enumerate(network.shapes, network.first):
        expands, excitation = shape.expansion > 1, network.excitation_key(shape)
        convolutions = ("conv_pw", "conv_dw", "conv_pwl") if expands else ("conv_dw", "conv_pw")
        pairs = zip(convolutions, network.part_keys(shape), strict=True)
        parts = {"se.conv_reduce": f"{excitation}.fc1", "se.conv_expand": f"{excitation}.fc2"}
        for place, (convolution, (key, norm)) in enumerate(pairs, 1):
            parts |= {convolution: key, f"bn{place}": norm}
        around, block = f"blocks.{shape.stage - 1}.{shape.place}", network.block_key(number, shape)
        modules |= {f"{around}.{part}": f"{block}.{key}" for part, key in parts.items()}
    renames = tuple((f"^{re.escape(timm)}\\.", f"{key}.") for timm, key in modules.items())
    return Spelling("timm", r"conv_stem\.", renames, architectures=architectures)
