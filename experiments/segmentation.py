"""Are concepts encoded by one filter or by several? Segmentation probe of layers (paper, 3.1).

  python -m experiments.segmentation --dataset DIR --network efficientnet_lite0 \\
      --layer block10 --out RUN

Collects the layer's activations, takes per-filter thresholds, counts the IoU of every filter with
every concept, trains an embedding per concept (all at once) and reports both on the val split.
`--layer block4 block10` probes both, after one pass over the images. Models of one's own and
activations computed elsewhere go through the same stages: see docs/own_models.md.
Time: 1,402 images × 24 concepts × 112 filters take about a minute on 2 CPU cores.
Expected: embeddings beat the best single filter on val for nearly every object.
"""

from __future__ import annotations

from experiments.layer_activations import collect_missing_layers
from experiments.network_choice import open_network
from experiments.run_directory import SCENES_FOLDER
from experiments.script import open_dataset, run_script
from experiments.segmentation_flags import SegmentationFlags
from experiments.segmentation_run import SegmentationRun, open_layers
from net2vec_jax.activations.arrays import ExternalActivations


def main(flags: SegmentationFlags) -> None:
    """Run the probe and say where the results are."""
    flags.check()
    dataset = open_dataset(flags.dataset, scenes_directory=flags.out / SCENES_FOLDER)
    if flags.activation_array is not None:
        array = ExternalActivations(flags.activation_array, channels_first=flags.channels_first)
        runs = [SegmentationRun(flags, dataset, array)]
    else:
        loaded = open_network(flags.network, weights=flags.weights)
        runs = open_layers(flags, dataset, loaded)
        collect_missing_layers(runs)
    for run in runs:
        run.finish()
        print(f"results are in {run.run.path}")


if __name__ == "__main__":
    run_script(main, SegmentationFlags, __doc__.split("\n")[0])
