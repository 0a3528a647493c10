"""The zoo's networks whose weights Caffe wrote: those that the paper probed.

Caffe's images are blue, green and red from 0 to 255, less a mean, and not divided. The networks
here take red, green and blue: their first kernel is turned around when weights are ported.
"""

from __future__ import annotations

from functools import partial

from net2vec_jax.networks.models.caffe_alexnet import CaffeAlexNet, CaffeNet
from net2vec_jax.networks.models.googlenet import CAFFE_GOOGLENET_IGNORED, CaffeGoogLeNet
from net2vec_jax.networks.models.squeezenet import CaffeSqueezeNet10, CaffeSqueezeNet11, SqueezeNet
from net2vec_jax.networks.models.vgg import CaffeVGG16
from net2vec_jax.networks.preprocessing import REFERENCE_CODE_PREPROCESSING, Preprocessing, View
from net2vec_jax.networks.zoo.entry import (
    ALEXNET_LAYERS,
    GOOGLENET_LAYERS,
    SQUEEZENET_LAYERS,
    VGG16_LAYERS,
    NetworkEntry,
    WeightSource,
)

UNDIVIDED = (1.0, 1.0, 1.0)
# Behaviour 2.1: Caffe's networks get the same mean, and no division.
_OVERRIDES = (
    ("imagenet", None),
    ("reference_code", Preprocessing(REFERENCE_CODE_PREPROCESSING.mean, UNDIVIDED)),
)


_entry = partial(NetworkEntry, ignored=(), caffe=True)


def _subtract(red: float, green: float, blue: float) -> View:
    return View(Preprocessing((red, green, blue), UNDIVIDED), _OVERRIDES)


# The channel means of Caffe's ilsvrc_2012_mean.npy, of VGG's, of GoogLeNet's and SqueezeNet's, and
# of Places365's.
CAFFENET_VIEW = _subtract(122.67891434, 116.66876762, 104.00698793)
VGG_VIEW = _subtract(123.68, 116.779, 103.939)
GOOGLENET_VIEW = _subtract(123.0, 117.0, 104.0)
PLACES365_VIEW = _subtract(116.676, 112.514, 104.051)

BERKELEY = "http://dl.caffe.berkeleyvision.org/"
SQUEEZENET = "https://github.com/forresti/SqueezeNet/raw/master/"
OXFORD = "http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/"
PLACES365 = "http://places2.csail.mit.edu/models_places365/"


def _berkeley(file: str, sha1: str, view: View) -> WeightSource:
    url = f"{BERKELEY}{file}.caffemodel"
    return WeightSource("imagenet", url, f"sha1:{sha1}", 1000, view)


def _places365(network: str) -> WeightSource:
    """The weights of Places365; no checksum was ever published."""
    url = f"{PLACES365}{network}_places365.caffemodel"
    return WeightSource("places365", url, None, 365, PLACES365_VIEW)


def _squeezenet(version: str, build: type[SqueezeNet]) -> NetworkEntry:
    """The authors' weights, for which they gave no checksum.

    The renames are those of the arrays that Deep Compression decodes to.
    """
    url = f"{SQUEEZENET}SqueezeNet_v{version}/squeezenet_v{version}.caffemodel"
    return _entry(
        f"caffe_squeezenet{version.replace('.', '_')}",
        build,
        (WeightSource("imagenet", url, None, 1000, GOOGLENET_VIEW),),
        SQUEEZENET_LAYERS,
        "conv10.1",
        input_size=227,
        renames=(
            (r"/conv1x1_1/", "/squeeze1x1/"),
            (r"/conv(.x.)_2/", r"/expand\1/"),
            (r"^conv_final/", "conv10/"),
            (r"/w$", ".0"),
            (r"/b$", ".1"),
        ),
    )


CAFFENET = _berkeley(
    "bvlc_reference_caffenet", "4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46", CAFFENET_VIEW
)
ALEXNET = _berkeley("bvlc_alexnet", "9116a64c0fbe4459d18f4bb6b56d647b63920377", CAFFENET_VIEW)
GOOGLENET = _berkeley("bvlc_googlenet", "405fc5acd08a3bb12de8ee5e23a96bec22f08204", GOOGLENET_VIEW)
VGG16 = WeightSource(
    "imagenet",
    f"{OXFORD}VGG_ILSVRC_16_layers.caffemodel",
    # Not the authors', who gave none: the one that several projects check against.
    "sha1:9363e1f6d65f7dba68c4f27a1e62105cdf6c4e24",
    1000,
    VGG_VIEW,
)

CAFFE_ENTRIES = (
    _entry(
        "caffenet",
        CaffeNet,
        (CAFFENET, _places365("alexnet")),  # a CaffeNet, by its prototxt
        ALEXNET_LAYERS,
        "fc8.1",
        input_size=227,
    ),
    _entry("caffe_alexnet", CaffeAlexNet, (ALEXNET,), ALEXNET_LAYERS, "fc8.1", input_size=227),
    _entry(
        "caffe_vgg16",
        CaffeVGG16,
        (VGG16, _places365("vgg16")),
        VGG16_LAYERS,
        "fc8.1",
        renames=((r"^fc8a\.", "fc8."),),  # of Places365
    ),
    _entry(
        "caffe_googlenet",
        CaffeGoogLeNet,
        (GOOGLENET, _places365("googlenet")),
        GOOGLENET_LAYERS,
        "loss3/classifier.1",
        ignored=CAFFE_GOOGLENET_IGNORED,
    ),
    _squeezenet("1.0", CaffeSqueezeNet10),
    _squeezenet("1.1", CaffeSqueezeNet11),
)
