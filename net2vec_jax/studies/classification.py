"""Is a concept on the image? Classification probe of layers (paper, section 3.2)."""

from net2vec_jax.runs.flags import ClassificationFlags
from net2vec_jax.runs.layer import finish_layers


def main(flags: ClassificationFlags) -> None:
    """Run the probe and say where the results are."""
    finish_layers(flags)
