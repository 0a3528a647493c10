"""How much faster is the classification probe than plain PyTorch? Both run in turn.

  python -m experiments.compare_classification --dataset DIR [--activations FILE.npy]

Ours trains all concepts at once; torch loops over them, with the activations in memory, and sees
the same images in the same order from the same initial weights. The weights must agree. Ours also
trains embeddings of 10 numbers of filters, to tell what such a sweep costs beside the full one.
Time: 1,402 images × 24 concepts × 112 filters, 30 epochs, 3 rounds take about 3 minutes on 2 CPU
cores, nearly all of it in torch.
Expected on 2 x86 cores: some hundred times faster; the sweep costs about twice the full probe.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
from rich.console import Console
from tqdm import tqdm

from experiments.measurement import describe_machine, timed
from experiments.reference_torch_classification import train_classification_torch
from experiments.script import open_dataset, run_script
from experiments.torch_activations import collect_activations_torch
from net2vec_jax.activations.pooled import collect_pooled_activations
from net2vec_jax.data.masks import collect_concept_masks
from net2vec_jax.errors import Net2VecError
from net2vec_jax.probes.classification import ClassificationConfig, train_classification
from net2vec_jax.probes.classification_groups import (
    ClassificationGroups,
    make_full_classification_heads,
    make_groups,
    make_subset_classification_heads,
)

SIZES = (1, 2, 3, 5, 10, 20, 40, 80, 160)
WEIGHT_TOLERANCE = 1e-4
"""Largest difference of any weight at the gentle learning rate; both compute in float32."""


@dataclasses.dataclass(frozen=True)
class ComparisonFlags:
    """Flags of the comparison.

    Attributes:
      dataset: a Broden directory, "scenes" (built in), or tfds:NAME (docs/tfds.md).
      activations: float32 [N, h, w, K] in a .npy file; by default torch computes those of
        EfficientNet-Lite0.
      layer: of EfficientNet-Lite0, "block0" to "block15"; without --activations.
      epochs: passes over each concept's train images.
      learning_rate: of SGD with momentum 0.9; at the published 0.1 the raw activations of some
        layers amplify rounding, so that weights cannot be compared.
      minimum_images: a concept needs so many images with it, and so many without, in either split.
      rounds: how often both are run, in turn; medians are printed.
      seed: of initial weights and drawn images.
      torch_threads: threads of torch; by default torch's own choice.
      scenes: where the built-in dataset is drawn, if it is asked for.
      out: write the measurements to this JSON file.
    """

    dataset: str
    activations: Path | None = None
    layer: str = "block10"
    epochs: int = 30
    learning_rate: float = 1e-3
    minimum_images: int = 1
    rounds: int = 3
    seed: int = 0
    torch_threads: int | None = None
    scenes: Path = Path("runs/scenes")
    out: Path | None = None


@jax.jit
def _draw(groups_sampler, words: jax.Array, place: jax.Array) -> tuple[jax.Array, jax.Array]:
    shape = (len(words), len(place))
    group = jnp.broadcast_to(jnp.arange(len(words))[:, None], shape)
    words = jnp.broadcast_to(words[:, None], (*shape, words.shape[1]))
    return groups_sampler.draw(group, words, jnp.broadcast_to(place[None], shape))


def draw_all(
    groups: ClassificationGroups, key: jax.Array, epochs: int
) -> tuple[np.ndarray, np.ndarray]:
    """The images of all epochs and whether they show the concept, each [epochs, groups, most]."""
    place = jnp.arange(int(groups.count.max()))
    drawn = [_draw(groups.sampler, groups.draw_words(key, e), place) for e in range(epochs)]
    images, shows = (
        np.stack([np.asarray(part) for part in side]) for side in zip(*drawn, strict=True)
    )
    return images, shows


def main(flags: ComparisonFlags) -> None:
    """Measure, print, write the JSON file; exit with 1 if the two sides disagree."""
    if flags.rounds < 1 or flags.epochs < 1:
        raise Net2VecError("--rounds and --epochs must be at least 1")
    if flags.torch_threads is not None:
        torch.set_num_threads(flags.torch_threads)
    dataset = open_dataset(flags.dataset, scenes_directory=flags.scenes)
    if flags.activations is None:
        maps = collect_activations_torch(dataset, layer=flags.layer, progress=True)
    else:
        maps = np.load(flags.activations)
    masks = collect_concept_masks(dataset, progress=True)
    key = jax.random.key(flags.seed)
    config = ClassificationConfig(epochs=flags.epochs, learning_rate=flags.learning_rate)
    groups = make_groups(masks, minimum=flags.minimum_images)
    pooled = collect_pooled_activations(np.array_split(maps, 16))
    heads = make_full_classification_heads(groups, filters=maps.shape[3], key=key)
    tensor = torch.from_numpy(np.ascontiguousarray(maps.transpose(0, 3, 1, 2)))
    images, shows = draw_all(groups, key, flags.epochs)

    def ours(heads):
        return train_classification(
            heads, pooled, groups.sampler, groups.count,
            lambda epoch: groups.draw_words(key, epoch), config,
        )  # fmt: skip

    def theirs() -> np.ndarray:
        trained = [
            train_classification_torch(
                tensor, images[:, g, :count], shows[:, g, :count],
                heads.initial_weights[g, 0], float(heads.initial_bias[g, 0]), config,
            )[0]
            for g, count in enumerate(tqdm(groups.count, "torch", unit="concept", leave=False))
        ]  # fmt: skip
        return np.stack(trained)

    full, first = timed(lambda: ours(heads))
    sizes = [size for size in SIZES if size <= maps.shape[3]]
    subsets = make_subset_classification_heads(heads, full.weights, sizes)
    ours(subsets)
    seconds: dict[str, list[float]] = {"ours": [], "sweep": [], "torch": []}
    for _ in range(flags.rounds):
        full, spent = timed(lambda: ours(heads))
        seconds["ours"].append(spent)
        seconds["sweep"].append(spent + timed(lambda: ours(subsets))[1])
        expected, spent = timed(theirs)
        seconds["torch"].append(spent)
    difference = float(np.abs(full.weights[:, 0] - expected).max())
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    ratio = medians["torch"] / medians["ours"]
    cost = medians["sweep"] / medians["ours"]
    machine = describe_machine() | {
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
    }
    console = Console()
    lines = [
        ", ".join(f"{name} {value}" for name, value in machine.items()),
        f"{len(groups)} concepts, {maps.shape[3]} filters, {int(groups.count.sum()):,} images per "
        f"epoch, {flags.epochs} epochs; medians of {flags.rounds} rounds",
        f"ours {medians['ours']:.3f} s, torch {medians['torch']:.2f} s: ratio {ratio:.0f}; "
        f"compilation {max(first - medians['ours'], 0):.1f} s, apart",
        f"with {len(sizes)} subsets {medians['sweep']:.3f} s, {cost:.1f} times the full one alone",
        f"largest difference of a weight: {difference:.1e} (limit {WEIGHT_TOLERANCE:.0e})",
    ]
    console.print("\n".join(lines), highlight=False)
    if flags.out is not None:
        content = {
            "settings": dataclasses.asdict(flags),
            "machine": machine,
            "seconds": seconds,
            "ratio": ratio,
            "sweep_cost": cost,
            "largest_weight_difference": difference,
        }
        flags.out.parent.mkdir(parents=True, exist_ok=True)
        flags.out.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
    if difference > WEIGHT_TOLERANCE:
        print("error: the two sides disagree", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run_script(main, ComparisonFlags, __doc__.split("\n")[0])
