"""The zoo's networks whose weights PyTorch wrote: torchvision's, Places365's, EfficientNet-Lite.

The checksums of torchvision are the digits that its file names carry, the first of the SHA-256.
"""

from __future__ import annotations

from net2vec_jax.networks.models.alexnet import AlexNet
from net2vec_jax.networks.models.convnext import ConvNeXtTiny
from net2vec_jax.networks.models.densenet import RENAMES as DENSENET_RENAMES
from net2vec_jax.networks.models.densenet import DenseNet161
from net2vec_jax.networks.models.efficientnet_lite import EfficientNetLite0
from net2vec_jax.networks.models.googlenet import GOOGLENET_IGNORED, GoogLeNet
from net2vec_jax.networks.models.mobilenet_v2 import MobileNetV2
from net2vec_jax.networks.models.resnet import ResNet18, ResNet50, ResNet152
from net2vec_jax.networks.models.squeezenet import SqueezeNet
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
    VGG16_LAYERS,
    NetworkEntry,
    WeightSource,
)
from net2vec_jax.networks.zoo.spelled import (
    CAFFES_VGG,
    CONVNEXT,
    MOBILENET_V2,
    RESNET,
    SQUEEZENET_1_1,
    VGG,
    VIT,
)
from net2vec_jax.networks.zoo.spelled import EFFICIENTNET_LITE0 as LITE0_SPELLINGS
from net2vec_jax.weights.cache import EFFICIENTNET_LITE0_FILE, find_efficientnet_lite0

TORCHVISION = "https://download.pytorch.org/models/"
PLACES365 = "http://places2.csail.mit.edu/models_places365/"
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
EFFICIENTNET_LITE0 = WeightSource(
    "imagenet", EFFICIENTNET_LITE0_FILE, None, 1000, View(CENTRED), find_efficientnet_lite0
)


def _torchvision(file: str, *, name: str = "imagenet", view: View = TORCH_VIEW) -> WeightSource:
    """Torchvision's ImageNet weights; `file` is "resnet18-f37072fd"."""
    digits = file.rsplit("-", 1)[1]
    return WeightSource(name, f"{TORCHVISION}{file}.pth", f"sha256:{digits}", 1000, view)


def _places365(network: str) -> WeightSource:
    """The weights of Places365; no checksum was ever published."""
    url = f"{PLACES365}{network}_places365.pth.tar"
    return WeightSource("places365", url, None, 365, TORCH_VIEW)


TORCH_ENTRIES = (
    NetworkEntry(
        "efficientnet_lite0",
        EfficientNetLite0,
        (EFFICIENTNET_LITE0,),
        ("block2", "block4", "block7", "block10", "block15", "head"),
        "_fc.bias",
        spellings=LITE0_SPELLINGS,
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
    NetworkEntry(
        "resnet18",
        ResNet18,
        (_torchvision("resnet18-f37072fd"), _places365("resnet18")),
        RESNET_LAYERS,
        "fc.bias",
        spellings=RESNET,
    ),
    NetworkEntry(
        "resnet50",
        ResNet50,
        (
            _torchvision("resnet50-0676ba61"),
            _torchvision("resnet50-11ad3fa6", name="imagenet_v2"),
            _places365("resnet50"),
        ),
        RESNET_LAYERS,
        "fc.bias",
        spellings=RESNET,
    ),
    NetworkEntry(
        "resnet152",
        ResNet152,
        (
            _torchvision("resnet152-394f9c45"),
            _torchvision("resnet152-f82ba261", name="imagenet_v2"),
        ),
        RESNET_LAYERS,
        "fc.bias",
        spellings=RESNET,
    ),
    NetworkEntry(
        "densenet161",
        DenseNet161,
        (_torchvision("densenet161-8d451a50"), _places365("densenet161")),
        ("conv0", "denseblock1", "denseblock2", "denseblock3", "norm5"),
        "classifier.bias",
        renames=DENSENET_RENAMES,
    ),
    NetworkEntry(
        "squeezenet1_1",
        SqueezeNet,
        (_torchvision("squeezenet1_1-b8a52dc0"),),
        ("conv1", "fire3", "fire5", "fire7", "fire9"),
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
        spellings=MOBILENET_V2,
    ),
    NetworkEntry(
        "convnext_tiny",
        ConvNeXtTiny,
        (_torchvision("convnext_tiny-983f1562"),),
        ("stage1", "stage2", "stage3", "stage4"),
        "classifier.2.bias",
        spellings=CONVNEXT,
    ),
    NetworkEntry(
        "vit_b_16",
        ViTB16,
        (_torchvision("vit_b_16-c867db91"),),
        ("block2", "block5", "block8", "block11"),
        "heads.head.bias",
        renames=((r"\.mlp\.linear_1\.", ".mlp.0."), (r"\.mlp\.linear_2\.", ".mlp.3.")),
        spellings=VIT,
    ),
)
