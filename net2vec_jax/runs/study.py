"""Both probes on any number of networks and layers: what the scripts that compare them share.

OUT/NETWORK/LAYER/segmentation and …/classification are run directories like any other; an
unfinished study is resumed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from net2vec_jax.activations.responses import Responses
from net2vec_jax.core.errors import Net2VecError, unknown_name_error
from net2vec_jax.data.masks import CategoryChoice, ConceptMasks
from net2vec_jax.data.open import open_screened_dataset, require_both_splits
from net2vec_jax.networks.choice import open_network
from net2vec_jax.networks.options import WeightOptions
from net2vec_jax.networks.preprocessing import PreprocessingName
from net2vec_jax.probes.presets import PresetName
from net2vec_jax.runs.activations import fit_subset_sizes
from net2vec_jax.runs.directory import SCENES_FOLDER
from net2vec_jax.runs.flags import ClassificationFlags, SegmentationFlags
from net2vec_jax.runs.layer import LayerRun, collect_missing_layers, prepare_runs


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyFlags:
    """Flags of a study.

    Attributes:
      dataset: a Broden directory, a folder of your own images and masks or
        coco:ANNOTATIONS.json:IMAGES (docs/own_images.md), tfds:NAME (docs/tfds.md), or "scenes"
        (built in).
      layers: what is probed, each as NETWORK/LAYER: "efficientnet_lite0/block10". A network is a
        name in the zoo, or FILE.py:FUNCTION (docs/own_models.md), which runs the code in that file.
      out: directory of the study; an unfinished one is resumed.
      weights: weights of networks that are not to have the zoo's, each as NETWORK=WEIGHTS.
      sae: sparse autoencoders of layers, each as NETWORK/LAYER=FILE: its latents are the filters of
        one more layer, NETWORK/LAYER.sae (docs/sae.md).
      preset: "paper", "reference_code" to repeat what the original code did, or "converged" of the
        segmentation probe, beside which the classification probe is the paper's.
      preprocessing: of the images; by default the preset's.
      responses: which side of its activations a filter responds with, for layers without a
        rectifier: "positive", "negative", or "both", where each filter k is two, +k and -k.
      filters: train embeddings of so many filters too, as far as a layer has more.
      seeds: repetitions of the full embeddings and of all classification; scores are their means.
      subset_seeds: repetitions of the segmentation embeddings of few filters, which take most of
        the time.
      concepts: only these concepts, by name or number; all by default.
      untrained: also probe every network of the zoo before its training, as a rival of the
        segmentation embeddings.
      segmentation_epochs: passes over each concept's train images.
      segmentation_batch_size: images per step; by default the preset's.
      classification_epochs: passes over each concept's balanced train images.
      seed: of initial weights, order, drawn images and bootstrap.
      bootstrap_samples: of the intervals.
      images_per_batch: images per forward pass.
      skip_bad_images: go on without the images that cannot be read; by default the study stops and
        lists them.
      skip_bad_annotations: go on without the annotations of a COCO file that cannot be read; by
        default the study stops and lists them.
      cache_data: decode images and labels once and keep them beside the dataset (or in the user's
        cache, if nothing may be written there) for all later runs.
    """

    dataset: str
    layers: tuple[str, ...]
    out: Path
    weights: tuple[str, ...] = ()
    sae: tuple[str, ...] = ()
    preset: PresetName = "paper"
    preprocessing: PreprocessingName | None = None
    responses: Responses = "positive"
    filters: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 40, 80, 160)
    seeds: int = 1
    subset_seeds: int = 1
    concepts: tuple[str, ...] = ()
    untrained: bool = True
    segmentation_epochs: int = 30
    segmentation_batch_size: int | None = None
    classification_epochs: int = 30
    seed: int = 0
    bootstrap_samples: int = 1000
    images_per_batch: int = 32
    skip_bad_images: bool = False
    skip_bad_annotations: bool = False
    cache_data: bool = True


@dataclasses.dataclass(frozen=True, eq=False)
class LayerResults:
    """Both probes of one layer, finished.

    Attributes:
      name: NETWORK/LAYER, or the layer alone where the study has one network.
      segmentation: its run.
      classification: its run.
    """

    name: str
    segmentation: LayerRun
    classification: LayerRun

    @property
    def filters(self) -> int:
        """K."""
        return len(self.segmentation.run.read_table("thresholds.csv"))


def run_study(
    dataset: str | Path, layers: Sequence[str], out: str | Path, **settings: Any
) -> list[LayerResults]:
    """Run both probes on every layer; what is finished in `out` is not run again.

    Args:
      dataset: as `open_dataset` takes it.
      layers: what is probed, each as NETWORK/LAYER.
      out: directory of the study.
      settings: see `StudyFlags`: filters, seeds, concepts, preset, …

    Raises:
      Net2VecError: settings or data are wrong.

    Examples:
      >>> run_study("scenes", ["efficientnet_lite0/block10"], "study")  # doctest: +SKIP
    """
    known = [field.name for field in dataclasses.fields(StudyFlags)]
    for name in settings:
        if name not in known:
            raise unknown_name_error("setting", name, known)
    layers = (layers,) if isinstance(layers, str) else layers
    return finish_study(
        StudyFlags(dataset=str(dataset), layers=tuple(layers), out=Path(out), **settings)
    )


def finish_study(flags: StudyFlags) -> list[LayerResults]:
    """Run both probes on every layer; what is finished is not run again.

    Raises:
      Net2VecError: flags or data are wrong.
    """
    chosen = parse_layers(flags.layers)
    weights = _parse_weights(flags.weights, chosen)
    autoencoders = _parse_autoencoders(flags.sae, chosen)
    dataset = open_screened_dataset(
        flags.dataset,
        scenes_directory=flags.out / SCENES_FOLDER,
        skip_bad_images=flags.skip_bad_images,
        skip_bad_annotations=flags.skip_bad_annotations,
    )
    results = []
    require_both_splits(dataset)
    masks: dict[CategoryChoice, ConceptMasks] = {}
    for network, layers in chosen.items():
        options = WeightOptions(sae=autoencoders.get(network, ()))
        loaded = open_network(network, weights=weights.get(network), options=options)
        layers = list(dict.fromkeys(map(loaded.network.resolve_layer, layers)))
        folder = flags.out / loaded.name
        pairs = []
        for layer in layers:
            shared = {
                "dataset": flags.dataset,
                "network": network,
                "layer": (layer,),
                "weights": weights.get(network),
                "preprocessing": flags.preprocessing,
                "responses": flags.responses,
                "filters": fit_subset_sizes(flags.filters, loaded, layer, dataset, flags.responses),
                "seeds": flags.seeds,
                "concepts": flags.concepts,
                "seed": flags.seed,
                "bootstrap_samples": flags.bootstrap_samples,
                "images_per_batch": flags.images_per_batch,
                "skip_bad_images": flags.skip_bad_images,
                "skip_bad_annotations": flags.skip_bad_annotations,
                "cache_data": flags.cache_data,
                "activations": folder / "activations",
            }
            segmentation = SegmentationFlags(
                **shared,
                preset=flags.preset,
                out=folder / layer / "segmentation",
                subset_seeds=flags.subset_seeds,
                untrained=flags.untrained,
                epochs=flags.segmentation_epochs,
                batch_size=flags.segmentation_batch_size,
            )
            classification = ClassificationFlags(
                **shared,
                preset="paper" if flags.preset == "converged" else flags.preset,
                out=folder / layer / "classification",
                epochs=flags.classification_epochs,
            )
            pairs.append(
                (
                    LayerRun(segmentation, dataset, loaded),
                    LayerRun(classification, dataset, loaded),
                )
            )
        prepare_runs([run for pair in pairs for run in pair], masks)
        collect_missing_layers([run for pair in pairs for run in pair])
        for pair in pairs:
            for run in pair:
                if not run.run.has(run.table):
                    print(f"probing {loaded.name}, {run.layer_name}: {run.kind} …")
                run.finish()
            name = pair[0].layer_name if len(chosen) == 1 else f"{loaded.name}/{pair[0].layer_name}"
            results.append(LayerResults(name, *pair))
    return results


def parse_layers(layers: Sequence[str]) -> dict[str, list[str]]:
    """Layers by network, from NETWORK/LAYER.

    Raises:
      Net2VecError: one is written otherwise, or there is none.
    """
    chosen: dict[str, list[str]] = {}
    for entry in layers:
        network, slash, layer = entry.rpartition("/")
        if not (network and slash and layer):
            raise Net2VecError(
                f"--layers {entry}: write NETWORK/LAYER, such as efficientnet_lite0/block10"
            )
        chosen.setdefault(network, []).append(layer)
    if not chosen:
        raise Net2VecError("--layers is empty; write NETWORK/LAYER")
    return chosen


def _parse_weights(weights: Sequence[str], networks: Collection[str]) -> dict[str, str]:
    parts = (entry.partition("=") for entry in weights)
    parsed = {network: value for network, _, value in parts}
    for network, value in parsed.items():
        if network not in networks or not value:
            raise Net2VecError(
                f"--weights {network}={value}: write NETWORK=WEIGHTS for a network of --layers, "
                f"which has {', '.join(networks)}"
            )
    return parsed


def _parse_autoencoders(
    entries: Sequence[str], networks: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """LAYER=FILE by network, from NETWORK/LAYER=FILE."""
    parsed: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        place, _, file = entry.partition("=")
        network, _, layer = place.rpartition("/")
        if network not in networks or not layer or not file:
            raise Net2VecError(
                f"--sae {entry}: write NETWORK/LAYER=FILE for a network of --layers, which has "
                f"{', '.join(networks)}"
            )
        parsed[network] = (*parsed.get(network, ()), f"{layer}={file}")
    return parsed
