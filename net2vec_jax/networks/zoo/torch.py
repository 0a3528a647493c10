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
from net2vec_jax.networks.models.vision_transformer import VisionTransformer
from net2vec_jax.networks.preprocessing import (
    CENTRED,
    IMAGENET,
    REFERENCE_CODE,
    Preprocessing,
    View,
)
from net2vec_jax.networks.zoo.entry import NetworkEntry, PackagedSource, WeightSource
from net2vec_jax.weights.cache import EFFICIENTNET_LITE0_FILE, find_efficientnet_lite0

TORCHVISION = "https://download.pytorch.org/models/"
PLACES365 = "http://places2.csail.mit.edu/models_places365/"

TORCH_VIEW = View(IMAGENET)


def _after_torchvision(first: Preprocessing) -> Preprocessing:
    """What torchvision's GoogLeNet makes of an image that `first` has normalised.

    Its weights come from TensorFlow, which saw 2x/255 − 1; so the network itself undoes the usual
    normalisation, with the constants of `IMAGENET`, and applies that one. A composition of affine
    maps: (x − m) / d, then times s/127.5, plus (a − 127.5) / 127.5, with a and s of `IMAGENET`.
    """
    channels = zip(first.mean, first.deviation, IMAGENET.mean, IMAGENET.deviation, strict=True)
    deviation = tuple(d * 127.5 / s for _, d, _, s in channels)
    channels = zip(first.mean, deviation, IMAGENET.mean, strict=True)
    mean = tuple(m - (a - 127.5) / 127.5 * d for m, d, a in channels)
    return Preprocessing(mean, deviation)


GOOGLENET_VIEW = View(
    _after_torchvision(IMAGENET),
    (
        ("imagenet", _after_torchvision(IMAGENET)),
        ("reference_code", _after_torchvision(REFERENCE_CODE)),
    ),
)


def _torchvision(file: str, *, name: str = "imagenet", view: View = TORCH_VIEW) -> WeightSource:
    """Torchvision's ImageNet weights; `file` is "resnet18-f37072fd"."""
    digits = file.rsplit("-", 1)[1]
    return WeightSource(name, f"{TORCHVISION}{file}.pth", f"sha256:{digits}", 1000, view)


def _places365(network: str) -> WeightSource:
    """The weights of Places365; no checksum was ever published."""
    return WeightSource(
        "places365", f"{PLACES365}{network}_places365.pth.tar", None, 365, TORCH_VIEW
    )


TORCH_ENTRIES = (
    NetworkEntry(
        name="efficientnet_lite0",
        build=EfficientNetLite0,
        sources=(
            PackagedSource(
                "imagenet",
                EFFICIENTNET_LITE0_FILE,
                None,
                1000,
                View(CENTRED),
                find_efficientnet_lite0,
            ),
        ),
        input_size=224,
        probing_layers=("block2", "block4", "block7", "block10", "block15", "head"),
        logits_key="_fc.bias",
    ),
    NetworkEntry(
        name="alexnet",
        build=AlexNet,
        sources=(_torchvision("alexnet-owt-7be5be79"), _places365("alexnet")),
        input_size=227,
        probing_layers=("conv1", "conv2", "conv3", "conv4", "conv5"),
        logits_key="classifier.6.bias",
    ),
    NetworkEntry(
        name="vgg16",
        build=VGG16,
        sources=(_torchvision("vgg16-397923af"),),
        input_size=224,
        probing_layers=("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"),
        logits_key="classifier.6.bias",
    ),
    NetworkEntry(
        name="vgg16_bn",
        build=NormalisedVGG16,
        sources=(_torchvision("vgg16_bn-6c64b313"),),
        input_size=224,
        probing_layers=("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"),
        logits_key="classifier.6.bias",
    ),
    NetworkEntry(
        name="vgg19",
        build=VGG19,
        sources=(_torchvision("vgg19-dcbb9e9d"),),
        input_size=224,
        probing_layers=("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4"),
        logits_key="classifier.6.bias",
    ),
    NetworkEntry(
        name="googlenet",
        build=GoogLeNet,
        sources=(_torchvision("googlenet-1378be20", view=GOOGLENET_VIEW),),
        input_size=224,
        probing_layers=("conv3", "inception3b", "inception4c", "inception4e", "inception5b"),
        logits_key="fc.bias",
        ignored=GOOGLENET_IGNORED,
    ),
    NetworkEntry(
        name="resnet18",
        build=ResNet18,
        sources=(_torchvision("resnet18-f37072fd"), _places365("resnet18")),
        input_size=224,
        probing_layers=("conv1", "layer1", "layer2", "layer3", "layer4"),
        logits_key="fc.bias",
    ),
    NetworkEntry(
        name="resnet50",
        build=ResNet50,
        sources=(
            _torchvision("resnet50-0676ba61"),
            _torchvision("resnet50-11ad3fa6", name="imagenet_v2"),
            _places365("resnet50"),
        ),
        input_size=224,
        probing_layers=("conv1", "layer1", "layer2", "layer3", "layer4"),
        logits_key="fc.bias",
    ),
    NetworkEntry(
        name="resnet152",
        build=ResNet152,
        sources=(
            _torchvision("resnet152-394f9c45"),
            _torchvision("resnet152-f82ba261", name="imagenet_v2"),
        ),
        input_size=224,
        probing_layers=("conv1", "layer1", "layer2", "layer3", "layer4"),
        logits_key="fc.bias",
    ),
    NetworkEntry(
        name="densenet161",
        build=DenseNet161,
        sources=(_torchvision("densenet161-8d451a50"), _places365("densenet161")),
        input_size=224,
        probing_layers=("conv0", "denseblock1", "denseblock2", "denseblock3", "norm5"),
        logits_key="classifier.bias",
        renames=DENSENET_RENAMES,
    ),
    NetworkEntry(
        name="squeezenet1_1",
        build=SqueezeNet,
        sources=(_torchvision("squeezenet1_1-b8a52dc0"),),
        input_size=224,
        probing_layers=("conv1", "fire3", "fire5", "fire7", "fire9"),
        logits_key="classifier.1.bias",
    ),
    NetworkEntry(
        name="mobilenet_v2",
        build=MobileNetV2,
        sources=(
            _torchvision("mobilenet_v2-b0353104"),
            _torchvision("mobilenet_v2-7ebf99e0", name="imagenet_v2"),
        ),
        input_size=224,
        probing_layers=("block3", "block6", "block13", "block17", "head"),
        logits_key="classifier.1.bias",
    ),
    NetworkEntry(
        name="convnext_tiny",
        build=ConvNeXtTiny,
        sources=(_torchvision("convnext_tiny-983f1562"),),
        input_size=224,
        probing_layers=("stage1", "stage2", "stage3", "stage4"),
        logits_key="classifier.2.bias",
    ),
    NetworkEntry(
        name="vit_b_16",
        build=VisionTransformer,
        sources=(_torchvision("vit_b_16-c867db91"),),
        input_size=224,
        probing_layers=("block2", "block5", "block8", "block11"),
        logits_key="heads.head.bias",
        renames=((r"\.mlp\.linear_1\.", ".mlp.0."), (r"\.mlp\.linear_2\.", ".mlp.3.")),
    ),
)
