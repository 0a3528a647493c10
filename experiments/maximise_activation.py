"""Activation maximisation: images that excite an embedding, or a concept's best filter.

  python -m experiments.maximise_activation --run RUN
  python -m experiments.maximise_activation --run RUN --concepts dog red-c --seeds 3

Optimises images from noise, so that ⟨w / ‖w‖, A(x)⟩ grows on average over the layer's places: w
is the concept's embedding (the mean of its unit vectors over the run's repetitions), or 1 for its
best filter alone (segmentation: of highest IoU on train; classification: of largest |weight|, with
its sign). Real images of the run's dataset stand beside. RUN/maximised_activations gets a PNG per
image, activations.csv, and a figure of all.
activations.csv: an image's activation is its highest over the layer's places; *_mean columns are
means over places. highest_real and percentile_99_real are over the dataset's images; `other` is the
concept's other direction, on the same image.
Time: two to three minutes for six concepts with two seeds at 128 pixels, on 2 cores.
Expected: images mostly exceed every real one in their direction, and not in the other one.
"""

from net2vec_jax.core.console import run_script
from net2vec_jax.studies.maximise_activation import main

if __name__ == "__main__":
    run_script(main)
