"""The zoo's transformers beside torchvision's ViT: DINOv2, CLIP's image towers, Swin.

The checksums of DINOv2 and CLIP are those that several projects check against; the authors gave
none. CLIP's files are OpenAI's weights under OpenAI's names, as timm stores them for OpenCLIP; the
text tower in them is left out.
"""

from __future__ import annotations

import numpy as np

from net2vec_jax.networks.models.clip import ClipResNet50, ClipViT, ClipViTB16, ClipViTB32
from net2vec_jax.networks.models.dinov2 import DINOV2S
from net2vec_jax.networks.models.swin import SWINS
from net2vec_jax.networks.preprocessing import IMAGENET, Preprocessing, View
from net2vec_jax.networks.zoo.entry import NetworkEntry, WeightSource
from net2vec_jax.weights.porting import IGNORED_KEYS, Renames
from net2vec_jax.weights.spellings import Spelling, join_attention

FACEBOOK = "https://dl.fbaipublicfiles.com/dinov2/"
TIMM = "https://huggingface.co/timm/"
TORCHVISION = "https://download.pytorch.org/models/"

# (x/255 − (0.48145466, 0.4578275, 0.40821073)) / (0.26862954, 0.26130258, 0.27577711)
CLIP = Preprocessing(
    (122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.32316305)
)
CLIP_IGNORED = (
    *IGNORED_KEYS,
    *("transformer.*", "token_embedding.weight", "positional_embedding", "ln_final.*"),
    *("text_projection*", "text_model.*", "logit_scale", "*position_ids"),
    *("input_resolution", "context_length", "vocab_size"),
)
SWIN_IGNORED = (*IGNORED_KEYS, "*relative_position_index", "*attn_mask")
Arrays = dict[str, np.ndarray]


def _add_class_position(arrays: Arrays) -> Arrays:
    """Timm's DINOv2 with registers has the class token's position in the class token itself."""
    first = ((0, 0), (1, 0), (0, 0))
    return {
        key: np.pad(array, first) if key == "pos_embed" and array.ndim == 3 else array
        for key, array in arrays.items()
    }


def _transpose_projection(arrays: Arrays) -> Arrays:
    """CLIP's projection [in, out], from a linear layer's kernel."""
    return {key: array.T if key == "visual.proj" else array for key, array in arrays.items()}


def _from_timm_clip(arrays: Arrays) -> Arrays:
    """No projection but CLIP's own.

    It has no bias, and timm's is 0 then; another makes it a classifier trained since.
    """
    if arrays.get("head.bias", np.zeros(1)).any():
        arrays["head.weight"] = arrays.pop("visual.proj")
    else:
        arrays.pop("head.bias", None)
    return _transpose_projection(arrays)


DINOV2_SPELLINGS = (
    Spelling(
        "transformers",
        r"(dinov2(_with_registers)?\.)?embeddings\.patch_embeddings\.",
        (
            (r"^dinov2(_with_registers)?\.", ""),
            (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
            (r"^embeddings\.position_embeddings$", "pos_embed"),
            (r"^embeddings\.", ""),
            (r"^encoder\.layer\.", "blocks."),
            *join_attention(r"attention(?:\.attention)?", "attn.qkv."),
            (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
            (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
            (r"^layernorm\.", "norm."),
        ),
    ),
    Spelling(
        "timm", "reg_token$", ((r"^reg_token$", "register_tokens"),), convert=_add_class_position
    ),
)
CLIP_TOWER = Spelling(
    "OpenAI, of the image tower alone", r"class_embedding$|attnpool\.", ((r"^", "visual."),)
)
CLIP_VIT_SPELLINGS = (
    CLIP_TOWER,
    Spelling(
        "transformers",
        r"(vision_model\.)?embeddings\.patch_embedding\.",
        (
            (r"^vision_model\.", ""),
            (r"^embeddings\.class_embedding$", "visual.class_embedding"),
            (r"^embeddings\.patch_embedding\.", "visual.conv1."),
            (r"^embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
            (r"^pre_layrnorm\.", "visual.ln_pre."),
            (r"^post_layernorm\.", "visual.ln_post."),
            (r"^encoder\.layers\.", "visual.transformer.resblocks."),
            *join_attention("self_attn", "attn.in_proj_"),
            (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
            (r"\.layer_norm([12])\.", r".ln_\1."),
            (r"\.mlp\.fc1\.", ".mlp.c_fc."),
            (r"\.mlp\.fc2\.", ".mlp.c_proj."),
            (r"^visual_projection\.weight$", "visual.proj"),
        ),
        convert=_transpose_projection,
    ),
    Spelling(
        "timm",
        r"norm_pre\.",
        (
            (r"^cls_token$", "visual.class_embedding"),
            (r"^pos_embed$", "visual.positional_embedding"),
            (r"^patch_embed\.proj\.", "visual.conv1."),
            (r"^norm_pre\.", "visual.ln_pre."),
            (r"^norm\.", "visual.ln_post."),
            (r"^blocks\.", "visual.transformer.resblocks."),
            (r"\.norm([12])\.", r".ln_\1."),
            (r"\.attn\.qkv\.", ".attn.in_proj_"),
            (r"\.attn\.proj\.", ".attn.out_proj."),
            (r"\.mlp\.fc1\.", ".mlp.c_fc."),
            (r"\.mlp\.fc2\.", ".mlp.c_proj."),
            (r"^head\.weight$", "visual.proj"),
        ),
        convert=_from_timm_clip,
    ),
)  # fmt: skip
CLIP_RESNET_SPELLINGS = (
    CLIP_TOWER,
    Spelling(
        "timm",
        r"stem\.conv1\.",
        (
            (r"^stem\.conv([123])\.conv\.", r"visual.conv\1."),
            (r"^stem\.conv([123])\.bn\.", r"visual.bn\1."),
            *((rf"^stages\.{stage}\.", f"visual.layer{stage + 1}.") for stage in range(4)),
            (r"\.conv([123])_(1x1|kxk)\.conv\.", r".conv\1."),
            (r"\.conv([123])_(1x1|kxk)\.bn\.", r".bn\1."),
            (r"\.shortcut\.conv\.conv\.", ".downsample.0."),
            (r"\.shortcut\.conv\.bn\.", ".downsample.1."),
            (r"^head\.pos_embed$", "visual.attnpool.positional_embedding"),
            (r"^head\.([qkv])\.", r"visual.attnpool.\1_proj."),
            (r"^head\.proj\.", "visual.attnpool.c_proj."),
        ),
    ),
)
_SWIN_STAGES: Renames = tuple(
    (rf"^layers\.{stage}\.blocks\.", f"features.{2 * stage + 1}.") for stage in range(4)
)
_SWIN_MERGES: Renames = tuple(
    (rf"^layers\.{stage}\.downsample\.", f"features.{2 * stage + 2}.") for stage in range(3)
)
_SWIN_TIMM: Renames = (
    (r"^patch_embed\.proj\.", "features.0.0."),
    (r"^patch_embed\.norm\.", "features.0.2."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
    (r"^head\.fc\.", "head."),
    *_SWIN_STAGES,
)
SWIN_SPELLINGS = (
    Spelling("Microsoft", r"layers\.0\.downsample\.", (*_SWIN_TIMM, *_SWIN_MERGES)),
    Spelling(
        "timm",
        r"layers\.3\.downsample\.",
        (*_SWIN_TIMM, (r"^layers\.(\d)\.downsample\.", r"layers.-\1.downsample."), *(
            (rf"^layers\.-{stage}\.downsample\.", f"features.{2 * stage}.") for stage in (1, 2, 3)
        )),
    ),
    Spelling(
        "transformers",
        r"(swin\.)?embeddings\.patch_embeddings\.",
        (
            (r"^swin\.", ""),
            (r"^embeddings\.patch_embeddings\.projection\.", "features.0.0."),
            (r"^embeddings\.norm\.", "features.0.2."),
            (r"^encoder\.", ""),
            *join_attention(r"attention(?:\.self)?", "attn.qkv."),
            (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
            (r"\.attention\.(self|relative_position_bias)\.relative", ".attn.relative"),
            (r"\.layernorm_before\.", ".norm1."),
            (r"\.layernorm_after\.", ".norm2."),
            (r"\.(intermediate\.dense|mlp\.fc1)\.", ".mlp.0."),
            (r"\.(output\.dense|mlp\.fc2)\.", ".mlp.3."),
            (r"^layernorm\.", "norm."),
            (r"^classifier\.", "head."),
            *_SWIN_STAGES,
            *_SWIN_MERGES,
        ),
    ),
)  # fmt: skip


def _dinov2(name: str, checksum: str) -> NetworkEntry:
    """`name` is "dinov2_vits14" or "dinov2_vits14_reg"."""
    folder = name.removesuffix("_reg")
    file = f"{folder}{'_reg4' if name != folder else ''}_pretrain.pth"
    source = WeightSource(
        "lvd142m", f"{FACEBOOK}{folder}/{file}", f"sha256:{checksum}", 0, View(IMAGENET)
    )
    build = DINOV2S[name]
    return NetworkEntry(
        name,
        build,
        (source,),
        tuple(f"block{(quarter + 1) * build.size.blocks // 4 - 1}" for quarter in range(4)),
        "",
        input_size=224,  # trained on these, and on 518 in the end
        ignored=(*IGNORED_KEYS, "mask_token"),
        spellings=DINOV2_SPELLINGS,
    )


def _clip(
    name: str,
    build: type[ClipViT] | type[ClipResNet50],
    model: str,
    checksum: str,
    layers: tuple[str, ...],
    spellings: tuple[Spelling, ...],
) -> NetworkEntry:
    """`model` is timm's name and revision on Hugging Face."""
    url = f"{TIMM}{model.replace('@', '/resolve/')}/open_clip_model.safetensors"
    source = WeightSource("openai", url, f"sha256:{checksum}", 0, View(CLIP))
    return NetworkEntry(
        name, build, (source,), layers, "", ignored=CLIP_IGNORED, spellings=spellings
    )


def _swin(name: str, digits: str) -> NetworkEntry:
    url = f"{TORCHVISION}{name}-{digits}.pth"
    source = WeightSource("imagenet", url, f"sha256:{digits}", 1000, View(IMAGENET))
    stages = ("stage1", "stage2", "stage3", "stage4")
    return NetworkEntry(
        name, SWINS[name], (source,), stages, "head.bias", ignored=SWIN_IGNORED,
        spellings=SWIN_SPELLINGS,
    )  # fmt: skip


DINOV2_CHECKSUMS = {
    "dinov2_vits14": "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
    "dinov2_vitb14": "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
    "dinov2_vitl14": "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    "dinov2_vits14_reg": "f433177089a681826f849f194ece3bb48f4d63fb38d32fc837e3dc7a4e5641fb",
    "dinov2_vitb14_reg": "73182a088cf94833c94b1666d1c99e02fe87e2007bff57b564fb6206e25dba71",
    "dinov2_vitl14_reg": "36e4deffbaef061a2576705b0c36f93621e2ae20bf6274694821b0b492551b51",
}
VIT_LAYERS = ("block2", "block5", "block8", "block11")
TRANSFORMER_ENTRIES = (
    *(_dinov2(name, checksum) for name, checksum in DINOV2_CHECKSUMS.items()),
    _clip(
        "clip_vit_b_16",
        ClipViTB16,
        "vit_base_patch16_clip_224.openai@977e3dd0ec55ab8da155f2fbeb6b5f54948b6e3d",
        "4b8699299b1e8997753c64b052ba32031449d5d853f55a039148560ee02b820f",
        VIT_LAYERS,
        CLIP_VIT_SPELLINGS,
    ),
    _clip(
        "clip_vit_b_32",
        ClipViTB32,
        "vit_base_patch32_clip_224.openai@a6f597a30f7b82c51704746581f9a4e41421e878",
        "e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31",
        VIT_LAYERS,
        CLIP_VIT_SPELLINGS,
    ),
    _clip(
        "clip_resnet50",
        ClipResNet50,
        "resnet50_clip.openai@ec3d92cf63a5f9d591f0d611b736895966c73076",
        "da0baa37fb2211eee5729ab69ed587eb10d48f5b7076ceeed01552fc3d4cb4ee",
        ("conv3", "layer1", "layer2", "layer3", "layer4"),
        CLIP_RESNET_SPELLINGS,
    ),
    _swin("swin_t", "704ceda3"),
    _swin("swin_s", "5e29d889"),
    _swin("swin_b", "68c6b09e"),
)
