"""The zoo's networks whose weights PyTorch wrote: torchvision's, Places365's, EfficientNet-Lite.

The checksums of torchvision are the digits that its file names carry, the first of the SHA-256.
"""

from __future__ import annotations

from functools import partial

from net2vec_jax.networks.layers.inverted_bottleneck import MobileNetwork
from net2vec_jax.networks.models.alexnet import AlexNet
from net2vec_jax.networks.models.convnext import CONVNEXTS
from net2vec_jax.networks.models.densenet import RENAMES as DENSENET_RENAMES
from net2vec_jax.networks.models.densenet import DenseNet161
from net2vec_jax.networks.models.efficientnet import EFFICIENTNET_LITES, EfficientNetB0
from net2vec_jax.networks.models.googlenet import GOOGLENET_IGNORED, GoogLeNet
from net2vec_jax.networks.models.mobilenet_v2 import MobileNetV2
from net2vec_jax.networks.models.resnet import RESNETS
from net2vec_jax.networks.models.squeezenet import SqueezeNet10, SqueezeNet11
from net2vec_jax.networks.models.vgg import VGG16, VGG19, NormalisedVGG16
from net2vec_jax.networks.models.vision_transformer import ViTB16
from net2vec_jax.networks.preprocessing import (
    CENTRED,
    IMAGENET,
    REFERENCE_CODE_PREPROCESSING,
    Preprocessing,
    View,
)
from net2vec_jax.networks.zoo.entry import (
    ALEXNET_LAYERS,
    GOOGLENET_LAYERS,
    SQUEEZENET_LAYERS,
    VGG16_LAYERS,
    NetworkEntry,
    WeightSource,
)
from net2vec_jax.networks.zoo.spelled import (
    CAFFES_VGG,
    CONVNEXT,
    CONVNEXT_V2,
    RESNET,
    SQUEEZENET_1_1,
    VGG,
    VIT,
    spell_as_timm,
)
from net2vec_jax.weights.cache import EFFICIENTNET_LITE_FILES, find_efficientnet_lite

TORCHVISION = "https://download.pytorch.org/models/"
PLACES365 = "http://places2.csail.mit.edu/models_places365/"
FACEBOOK = "https://dl.fbaipublicfiles.com/"
TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
# Not the authors', who gave none: the one that several projects check against.
VICREG = "sha256:c843e7652491ff2f712734619fd74d85e5e92ac902615665ad3fd50dc6ada591"
RESNET_LAYERS = ("conv1", "layer1", "layer2", "layer3", "layer4")

TORCH_VIEW = View(IMAGENET)


def _after_torchvision(first: Preprocessing) -> Preprocessing:
    """What torchvision's GoogLeNet makes of an image that `first` has normalised.

    Its weights come from TensorFlow, which saw 2x/255 − 1; so the network itself undoes the usual
    normalisation, with the constants of `IMAGENET`, and applies that one. A composition of affine
    maps: (x − m) / d, then times s/127.5, plus (a − 127.5) / 127.5, with a and s of `IMAGENET`.
    """
    constants = (first.mean, first.deviation, IMAGENET.mean, IMAGENET.deviation)

    def compose(m: float, d: float, a: float, s: float) -> tuple[float, float]:
        deviation = d * 127.5 / s
        return m - (a - 127.5) / 127.5 * deviation, deviation

    red, green, blue = (compose(*channel) for channel in zip(*constants, strict=True))
    return Preprocessing((red[0], green[0], blue[0]), (red[1], green[1], blue[1]))


GOOGLENET_VIEW = View(
    _after_torchvision(IMAGENET),
    (
        ("imagenet", _after_torchvision(IMAGENET)),
        ("reference_code", _after_torchvision(REFERENCE_CODE_PREPROCESSING)),
    ),
)


def _torchvision(file: str, *, name: str = "imagenet", view: View = TORCH_VIEW) -> WeightSource:
    """Torchvision's ImageNet weights; `file` is "resnet18-f37072fd"."""
    digits = file.rsplit("-", 1)[1]
    return WeightSource(name, f"{TORCHVISION}{file}.pth", f"sha256:{digits}", 1000, view)


def _places365(network: str) -> WeightSource:
    """The weights of Places365; no checksum was ever published."""
    url = f"{PLACES365}{network}_places365.pth.tar"
    return WeightSource("places365", url, None, 365, TORCH_VIEW)


def _facebook(name: str, file: str, checksum: str | None = None, classes: int = 0) -> WeightSource:
    """Weights of Facebook's, most of them without a published checksum."""
    return WeightSource(name, f"{FACEBOOK}{file}", checksum, classes, TORCH_VIEW)


def _efficientnet(
    name: str, build: type[MobileNetwork], source: WeightSource, *, input_size: int = 224
) -> NetworkEntry:
    """An entry whose layers worth probing are the last blocks of all stages but two."""
    theirs = name if build is EfficientNetB0 else f"tf_{name}"  # timm's others pad otherwise
    last = {shape.stage: f"block{number}" for number, shape in enumerate(build.shapes)}
    return NetworkEntry(
        name,
        build,
        (source,),
        (*(last[stage] for stage in (2, 3, 4, 5, 7)), "head"),
        f"{build.logits_key}.bias",
        input_size=input_size,
        spellings=(spell_as_timm(build, theirs),),
    )


def _lite(number: int, input_size: int, digits: str = "") -> NetworkEntry:
    """ImageNet weights of a package, or timm's copy of TensorFlow's, which it feeds 2x/255 − 1."""
    name, half = f"efficientnet_lite{number}", (127.5, 127.5, 127.5)
    if digits:
        url, view = f"{TIMM}tf_{name}-{digits}.pth", View(Preprocessing(half, half))
        source = WeightSource("imagenet", url, f"sha256:{digits}", 1000, view)
    else:
        file, locate = EFFICIENTNET_LITE_FILES[number], partial(find_efficientnet_lite, number)
        source = WeightSource("imagenet", file, None, 1000, View(CENTRED), locate)
    return _efficientnet(name, EFFICIENTNET_LITES[number], source, input_size=input_size)


def _resnet(name: str, digits: str, *others: WeightSource) -> NetworkEntry:
    """`digits` of torchvision's first weights and, if there are any, the second ones."""
    sources = [
        _torchvision(f"{name}-{one}", name=version)
        for one, version in zip(digits.split(), ("imagenet", "imagenet_v2"), strict=False)
    ]
    return NetworkEntry(
        name, RESNETS[name], (*sources, *others), RESNET_LAYERS, "fc.bias", spellings=RESNET
    )


def _convnext(name: str, digits: str = "") -> NetworkEntry:
    """`digits` of torchvision's weights, or Facebook's."""
    build, file = CONVNEXTS[name], f"convnext/convnextv2/im1k/{name}_1k_224_ema.pt"
    theirs = partial(_facebook, "imagenet", file, classes=1000)
    return NetworkEntry(
        name,
        build,
        (_torchvision(f"{name}-{digits}") if digits else theirs(),),
        ("stage1", "stage2", "stage3", "stage4"),
        f"{build.head_keys[1]}.bias",
        spellings=CONVNEXT_V2 if build.second else CONVNEXT,
    )


TORCH_ENTRIES = (
    _lite(0, 224),
    _lite(1, 240),
    _lite(2, 260),
    _lite(3, 280, "b733e338"),
    _lite(4, 300, "741542c3"),
    _efficientnet(
        "efficientnet_b0", EfficientNetB0, _torchvision("efficientnet_b0_rwightman-7f5810bc")
    ),
    NetworkEntry(
        "alexnet",
        AlexNet,
        (_torchvision("alexnet-owt-7be5be79"), _places365("alexnet")),
        ALEXNET_LAYERS,
        "classifier.6.bias",
        input_size=227,
    ),
    NetworkEntry(
        "vgg16",
        VGG16,
        (_torchvision("vgg16-397923af"),),
        VGG16_LAYERS,
        "classifier.6.bias",
        spellings=(*VGG, CAFFES_VGG),
    ),
    NetworkEntry(
        "vgg16_bn",
        NormalisedVGG16,
        (_torchvision("vgg16_bn-6c64b313"),),
        VGG16_LAYERS,
        "classifier.6.bias",
        spellings=VGG,
    ),
    NetworkEntry(
        "vgg19",
        VGG19,
        (_torchvision("vgg19-dcbb9e9d"),),
        ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4"),
        "classifier.6.bias",
        spellings=(*VGG, CAFFES_VGG),
    ),
    NetworkEntry(
        "googlenet",
        GoogLeNet,
        (_torchvision("googlenet-1378be20", view=GOOGLENET_VIEW),),
        GOOGLENET_LAYERS,
        "fc.bias",
        ignored=GOOGLENET_IGNORED,
    ),
    _resnet("resnet18", "f37072fd", _places365("resnet18")),
    _resnet("resnet34", "b627a593"),
    _resnet(
        "resnet50",
        "0676ba61 11ad3fa6",
        _places365("resnet50"),
        _facebook("moco_v2", "moco/moco_checkpoints/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar"),
        _facebook("swav", "deepcluster/swav_800ep_pretrain.pth.tar"),
        _facebook("dino", "dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth"),
        _facebook("barlow_twins", "barlowtwins/ljng/resnet50.pth"),
        _facebook("vicreg", "vicreg/resnet50.pth", VICREG),
    ),
    _resnet("resnet101", "63fe2227 cd907fc2"),
    _resnet("resnet152", "394f9c45 f82ba261"),
    _resnet("wide_resnet50_2", "95faca4d 9ba9bcbe"),
    _resnet("wide_resnet101_2", "32ee1156 d733dc28"),
    _resnet("resnext50_32x4d", "7cdf4587 1a0047aa"),
    _resnet("resnext101_32x8d", "8ba56ff5 110c445d"),
    NetworkEntry(
        "densenet161",
        DenseNet161,
        (_torchvision("densenet161-8d451a50"), _places365("densenet161")),
        ("conv0", "denseblock1", "denseblock2", "denseblock3", "norm5"),
        "classifier.bias",
        renames=DENSENET_RENAMES,
    ),
    NetworkEntry(
        "squeezenet1_0",
        SqueezeNet10,
        (_torchvision("squeezenet1_0-b66bff10"),),
        SQUEEZENET_LAYERS,
        "classifier.1.bias",
    ),
    NetworkEntry(
        "squeezenet1_1",
        SqueezeNet11,
        (_torchvision("squeezenet1_1-b8a52dc0"),),
        SQUEEZENET_LAYERS,
        "classifier.1.bias",
        spellings=SQUEEZENET_1_1,
    ),
    NetworkEntry(
        "mobilenet_v2",
        MobileNetV2,
        (
            _torchvision("mobilenet_v2-b0353104"),
            _torchvision("mobilenet_v2-7ebf99e0", name="imagenet_v2"),
        ),
        ("block3", "block6", "block13", "block17", "head"),
        "classifier.1.bias",
        spellings=(spell_as_timm(MobileNetV2, "mobilenetv2_100"),),
    ),
    _convnext("convnext_tiny", "983f1562"),
    _convnext("convnext_small", "0c510722"),
    _convnext("convnext_base", "6075fbad"),
    *(_convnext(name) for name, build in CONVNEXTS.items() if build.second),
    NetworkEntry(
        "vit_b_16",
        ViTB16,
        (_torchvision("vit_b_16-c867db91"),),
        ("block2", "block5", "block8", "block11"),
        "heads.head.bias",
        spellings=VIT,
        renames=((r"\.mlp\.linear_1\.", ".mlp.0."), (r"\.mlp\.linear_2\.", ".mlp.3.")),
    ),
)
