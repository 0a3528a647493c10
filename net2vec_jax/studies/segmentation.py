"""Are concepts encoded by one filter or by several? Segmentation probe of layers (paper, 3.1)."""

from net2vec_jax.runs.layer import finish_layers
from net2vec_jax.runs.segmentation import SegmentationRun
from net2vec_jax.runs.segmentation_flags import SegmentationFlags


def main(flags: SegmentationFlags) -> None:
    """Run the probe and say where the results are."""
    finish_layers(SegmentationRun, flags)
