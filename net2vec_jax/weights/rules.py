"""Which keys of a weight file make which parameter of a Flax module, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

from net2vec_jax.weights.layouts import (
    CONVOLUTION,
    SAME,
    Layout,
    folded_bias,
    folded_kernel,
    normalisation_scale,
)


@dataclass(frozen=True)
class Rule:
    """One parameter's origin: the keys of the file, and the layout that turns them into it."""

    keys: tuple[str, ...]
    layout: Layout


def plain_rules(parameters: str, key: str, kernel: Layout) -> dict[str, Rule]:
    """Rules of a layer with kernel and bias.

    Args:
      parameters: path of the layer in the Flax module, "fc7".
      key: path of the layer in the file, "classifier.4".
      kernel: layout of its kernel.

    Returns:
      {path of the parameter: rule}.
    """
    return {
        f"{parameters}.kernel": Rule((f"{key}.weight",), kernel),
        f"{parameters}.bias": Rule((f"{key}.bias",), SAME),
    }


def kernel_rules(parameters: str, key: str) -> dict[str, Rule]:
    """The rule of a convolution without bias.

    Args:
      parameters: path of the layer in the Flax module.
      key: path of the layer in the file.

    Returns:
      {path of the parameter: rule}.
    """
    return {f"{parameters}.kernel": Rule((f"{key}.weight",), CONVOLUTION)}


def caffe_rules(parameters: str, layer: str, kernel: Layout) -> dict[str, Rule]:
    """Rules of a layer with kernel and bias in a Caffe file, where blobs are numbered.

    Args:
      parameters: path of the layer in the Flax module, "fc7".
      layer: name of the layer in the file.
      kernel: layout of its kernel.

    Returns:
      {path of the parameter: rule}.
    """
    return {
        f"{parameters}.kernel": Rule((f"{layer}.0",), kernel),
        f"{parameters}.bias": Rule((f"{layer}.1",), SAME),
    }


def scale_rules(parameters: str, key: str) -> dict[str, Rule]:
    """Rules of a layer with scale and bias per channel, such as a layer normalisation.

    Args:
      parameters: path of the layer in the Flax module.
      key: path of the layer in the file.

    Returns:
      {path of the parameter: rule}.
    """
    return {
        f"{parameters}.scale": Rule((f"{key}.weight",), SAME),
        f"{parameters}.bias": Rule((f"{key}.bias",), SAME),
    }


def _normalisation_keys(normalisation: str) -> tuple[str, str, str, str]:
    names = ("weight", "bias", "running_mean", "running_var")
    weight, bias, mean, variance = (f"{normalisation}.{name}" for name in names)
    return weight, bias, mean, variance


def affine_rules(parameters: str, normalisation: str, *, epsilon: float = 1e-5) -> dict[str, Rule]:
    """Rules of a batch normalisation that becomes an affine layer of its own.

    Args:
      parameters: path of the layer in the Flax module.
      normalisation: path of the batch normalisation in the file.
      epsilon: ε of the batch normalisation; 1e-5 is torch's default.

    Returns:
      {path of the parameter: rule}.
    """
    weight, bias, mean, variance = _normalisation_keys(normalisation)
    return {
        f"{parameters}.scale": Rule((weight, variance), normalisation_scale(epsilon)),
        f"{parameters}.bias": Rule((weight, bias, mean, variance), folded_bias(epsilon)),
    }


def folded_rules(
    parameters: str,
    convolution: str,
    normalisation: str,
    *,
    epsilon: float = 1e-5,
    has_bias: bool = False,
) -> dict[str, Rule]:
    """Rules of a convolution whose batch normalisation is folded in.

    Args:
      parameters: path of the layer in the Flax module.
      convolution: path of the convolution in the file.
      normalisation: path of the batch normalisation in the file.
      epsilon: ε of the batch normalisation; 1e-5 is torch's default.
      has_bias: whether the convolution has a bias of its own.

    Returns:
      {path of the parameter: rule}.
    """
    weight, bias, mean, variance = _normalisation_keys(normalisation)
    own = (f"{convolution}.bias",) if has_bias else ()
    return {
        f"{parameters}.kernel": Rule(
            (f"{convolution}.weight", weight, variance), folded_kernel(epsilon)
        ),
        f"{parameters}.bias": Rule(
            (weight, bias, mean, variance, *own), folded_bias(epsilon, has_bias=has_bias)
        ),
    }
