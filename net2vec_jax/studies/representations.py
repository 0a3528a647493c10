"""What experiments.compare_networks compares: finished runs, WordNet and word vectors.

A run's embedding of a concept is the direction of the mean over its seeds (`average_seeds`).
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from net2vec_jax.analysis.geometry.concept_embeddings import average_seeds
from net2vec_jax.analysis.lexical.alignment import (
    LexicalEmbedding,
    embed_wordnet,
    embed_words,
    parse_synsets,
)
from net2vec_jax.analysis.similarity.network_similarity import (
    Representation,
    find_common_concepts,
    make_representation,
    measure_distances,
    measure_similarities,
)
from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import strip_number
from net2vec_jax.runs.finished import FinishedRun

WORDNET = "wordnet"
WORD_VECTORS = "word vectors"


@dataclasses.dataclass(frozen=True, eq=False)
class Compared:
    """All that is compared."""

    runs: dict[str, FinishedRun]
    representations: tuple[Representation, ...]  # of the runs, then of the lexicons
    categories: dict[str, str]  # of every concept of the runs, by name
    entries: dict[str, dict[str, str]]  # by lexicon, what was found for each of its concepts


def open_runs(paths: Sequence[Path]) -> dict[str, FinishedRun]:
    """Finished runs by the name that tables give them.

    That is NETWORK/LAYER/PROBE, and if several share it, the part of the path that tells them
    apart.

    Raises:
      Net2VecError: no finished run, or one given twice.
    """
    resolved = [Path(path).resolve() for path in paths]
    twice = {path for path in resolved if resolved.count(path) > 1}
    if twice:
        raise Net2VecError(f"the run {sorted(twice)[0]} was given twice")
    runs = [FinishedRun(path) for path in paths]
    names = [f"{run.name}/{run.kind}" for run in runs]
    named = {}
    for run, path, name in zip(runs, resolved, names, strict=True):
        alike = [other for other, called in zip(resolved, names, strict=True) if called == name]
        named[name if len(alike) == 1 else f"{name} ({_tell_apart(path, alike)})"] = run
    return named


def _tell_apart(path: Path, alike: list[Path]) -> str:
    """The path below what all have in common, without the end they have in common."""
    root = os.path.commonpath(alike)
    parts = [other.relative_to(root).parts for other in alike]
    own = path.relative_to(root).parts
    while own and len({part[-1:] for part in parts}) == 1 and all(len(p) > 1 for p in parts):
        parts, own = [part[:-1] for part in parts], own[:-1]
    return "/".join(own) or path.name


def collect_representations(
    runs: dict[str, FinishedRun],
    *,
    wordnet: Path | None = None,
    word_vectors: Path | None = None,
    synsets: Sequence[str] = (),
    average_words: bool = False,
) -> Compared:
    """Embeddings of the runs' concepts, by the runs and by the lexicons that are given.

    Args:
      runs: by name.
      wordnet: a folder of WordNet's files.
      word_vectors: a file of word vectors.
      synsets: CONCEPT=SYNSET, see `parse_synsets`.
      average_words: a name of several words may be the mean of them.

    Raises:
      Net2VecError: fewer than two representations, or files that cannot be read.
    """
    if len(runs) + (wordnet is not None) + (word_vectors is not None) < 2:
        raise Net2VecError(
            "two or more representations are needed: give several --runs, or --wordnet or "
            "--word-vectors besides"
        )
    meant = parse_synsets(synsets)
    categories: dict[str, str] = {}
    representations = []
    for name, run in runs.items():
        for concept, category in zip(run.concepts, run.categories, strict=True):
            categories.setdefault(concept, category)
        directions = average_seeds(run.weights).vectors
        representations.append(make_representation(name, run.concepts, directions))
    unknown = sorted(set(meant) - set(categories) - set(map(strip_number, categories)))
    if unknown:
        raise Net2VecError(f"--synsets names {', '.join(unknown)}, which no run has")
    lexicons: dict[str, LexicalEmbedding] = {}
    if wordnet is not None:
        from net2vec_jax.analysis.lexical.wordnet_files import open_wordnet  # NLTK is slow

        with open_wordnet(wordnet) as opened:
            lexicons[WORDNET] = embed_wordnet(tuple(categories), opened, synsets=meant)
    if word_vectors is not None:
        lexicons[WORD_VECTORS] = embed_words(tuple(categories), word_vectors, average=average_words)
    for name, found in lexicons.items():
        if not found.concepts:
            raise Net2VecError(f"no concept of the runs was found in {name}")
        representations.append(
            make_representation(name, found.concepts, found.vectors, missing=found.missing)
        )
    entries = {
        name: dict(zip(found.concepts, found.entries, strict=True))
        for name, found in lexicons.items()
    }
    return Compared(runs, tuple(representations), categories, entries)


def find_left_out(compared: Compared) -> dict[str, str]:
    """Why a run or a lexicon lacks concepts, by name."""
    runs = compared.runs
    skipped = (name for run in runs.values() for name in run.skipped)
    reasons = {name: [] for name in (*compared.categories, *skipped)}
    for representation in compared.representations:
        name, run = representation.name, runs.get(representation.name)
        for concept in reasons.keys() - set(representation.concepts):
            if run is None:
                if concept in compared.categories:  # others were not looked up
                    reasons[concept].append(f"not in {name}")
            elif concept in run.concepts:
                reasons[concept].append(f"the embedding of {name} is 0")
            else:
                why = f" ({run.skipped[concept]})" if concept in run.skipped else ""
                reasons[concept].append(f"not in {name}{why}")
    return {concept: "; ".join(lacking) for concept, lacking in reasons.items() if lacking}


def measure_seed_distance(run: FinishedRun) -> float | None:
    """Distance per entry between embeddings of two seeds of a run, mean over pairs of seeds.

    The distance that two trainings of the same layer have; None for a single seed.
    """
    seeds = [
        make_representation(f"seed {seed}", run.concepts, weights)
        for seed, weights in enumerate(run.weights)
    ]
    if len(seeds) < 2:
        return None
    concepts = find_common_concepts(seeds)
    if len(concepts) < 2:
        return None
    similarities = [measure_similarities(seed.select(concepts)) for seed in seeds]
    return float(
        np.mean(
            [
                measure_distances(*pair, "per_entry").mean()
                for pair in itertools.combinations(similarities, 2)
            ]
        )
    )


def compare_activations(
    runs: dict[str, FinishedRun],
) -> tuple[list[tuple[str, str, int, float, float]], dict[str, str]]:
    """CKA of the layers' responses to the images, for runs of one dataset whose responses are kept.

    Returns:
      (first, second, images, debiased CKA, plain CKA) per pair of different layers, each called
      by the first run whose activations are there, and means over a layer's grid; and why, by the
      name of a run, the activations of a layer cannot be opened.
    """
    from net2vec_jax.analysis.similarity.kernel_alignment import estimate_cka
    from net2vec_jax.runs.sources import RunSources

    layers: dict[tuple, str] = {}  # probes of the same layer have the same responses
    pooled, gone = {}, {}
    for name, run in runs.items():
        parts = ("dataset", "network", "layer", "weights", "preprocessing", "array")
        layer = tuple(str(run.origin.get(part)) for part in parts)
        if layer in layers:
            continue
        try:
            pooled[name] = RunSources(run).activations.pooled()[0]
        except Net2VecError as error:
            gone[name] = str(error)
        else:
            layers[layer] = name
    rows = []
    for (one, first), (other, second) in itertools.combinations(layers.items(), 2):
        if one[0] != other[0]:
            continue
        pair = pooled[first], pooled[second]
        rows.append((first, second, len(pair[0]), *estimate_cka(*pair)))
    return rows, gone
