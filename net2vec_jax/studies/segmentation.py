"""Are concepts encoded by one filter or by several? Segmentation probe of layers (paper, 3.1)."""

from net2vec_jax.runs.flags import SegmentationFlags
from net2vec_jax.runs.layer import finish_layers


def main(flags: SegmentationFlags) -> None:
    """Run the probe and say where the results are."""
    finish_layers(flags)
