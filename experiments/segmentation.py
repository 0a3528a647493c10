"""Are concepts encoded by one filter or by several? Segmentation probe of one layer (paper, 3.1).

  python -m experiments.segmentation --dataset DIR --network efficientnet_lite0 \\
      --layer block10 --out RUN

Collects the layer's activations, takes per-filter thresholds, counts the IoU of every filter with
every concept, trains an embedding per concept (all at once) and reports both on the val split.
Time: 1,402 images × 24 concepts × 112 filters take about a minute on 2 CPU cores.
Expected: embeddings beat the best single filter on val for nearly every object.
"""

from __future__ import annotations

from experiments.run_directory import SCENES_FOLDER
from experiments.script import open_dataset, run_script
from experiments.segmentation_flags import SegmentationFlags
from experiments.segmentation_run import SegmentationRun
from net2vec_jax.networks.zoo import load_network


def main(flags: SegmentationFlags) -> None:
    """Run the probe and say where the results are."""
    dataset = open_dataset(flags.dataset, scenes_directory=flags.out / SCENES_FOLDER)
    loaded = load_network(flags.network, weights=flags.weights)
    run = SegmentationRun(flags, dataset, loaded)
    run.finish()
    print(f"results are in {run.run.path}")


if __name__ == "__main__":
    run_script(main, SegmentationFlags, __doc__.split("\n")[0])
