"""Is a concept on the image? Classification probe of layers (paper, section 3.2)."""

from net2vec_jax.runs.classification import ClassificationRun
from net2vec_jax.runs.classification_flags import ClassificationFlags
from net2vec_jax.runs.layer import finish_layers


def main(flags: ClassificationFlags) -> None:
    """Run the probe and say where the results are."""
    finish_layers(ClassificationRun, flags)
