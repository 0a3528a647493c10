"""Do a run's embeddings mark their concepts on another dataset, which they were not trained on?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np
import pandas as pd
from PIL import Image
from scipy import stats

from net2vec_jax.analysis.lexical.alignment import embed_wordnet, parse_synsets
from net2vec_jax.analysis.lexical.wordnet_files import open_wordnet
from net2vec_jax.core.console import announce, tabulate
from net2vec_jax.core.errors import Net2VecError, unknown_name_error
from net2vec_jax.core.result_files import make_folder
from net2vec_jax.data.bad_images import ImageSubset
from net2vec_jax.data.concepts import ConceptCatalog, find_numbers, normalize_name
from net2vec_jax.data.dataset import ConceptDataset, Split
from net2vec_jax.data.decoded import decode_masks
from net2vec_jax.data.images.resized import resize_image
from net2vec_jax.data.masks import ConceptMasks
from net2vec_jax.data.open import open_screened_dataset
from net2vec_jax.data.tables import read_table
from net2vec_jax.probes.heads import ALL_FILTERS, Heads
from net2vec_jax.probes.scores import HeadScores
from net2vec_jax.probes.segmentation.evaluation import evaluate_segmentation
from net2vec_jax.probes.segmentation.scores import ImageOverlaps, score_segmentation
from net2vec_jax.runs.directory import SCENES_FOLDER
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.predictions import require_segmentation
from net2vec_jax.runs.probe import choose_categories
from net2vec_jax.runs.segmentation import SegmentationProbe
from net2vec_jax.runs.sources import RunSources, SourceFlags
from net2vec_jax.studies.answer import Answer, LeftOut, print_answer, write_answer

Match = Literal["name", "number", "synset"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreFlags:
    """Flags of scoring on another dataset.

    Attributes:
      run: directory of a finished run of the segmentation probe, of dataset A.
      dataset: dataset B, as --dataset of a run.
      out: where the answer goes.
      concepts: of the run, by name or number; all by default.
      match: which concepts of A and B are the same: those of one name (but for case), of one label
        number, or of one WordNet synset.
      table: instead, a CSV table with the columns a and b: names or numbers of A and of B. Several
        rows of one a mean the union of their masks.
      wordnet: folder of WordNet's files.
      synsets: meanings for --wordnet, each as CONCEPT=SYNSET: crane=crane.n.04.
      hypernyms: with --wordnet, a concept without a partner is the union of the concepts of B that
        are kinds of it: "animal" of dog and cat.
      split: of B's images.
      bootstrap_samples: of the intervals.
      seed: of the bootstrap.
      skip_bad_images: go on without images of B that cannot be read.
      skip_bad_annotations: go on without annotations of B that cannot be read.
      cache_data: keep B's decoded labels beside it.
      network: as the run's --network; by default what the run was given.
      weights: as the run's --weights; by default what the run was given.
    """

    run: Path
    dataset: str
    out: Path
    concepts: tuple[str, ...] = ()
    match: Match = "name"
    table: Path | None = None
    wordnet: Path | None = None
    synsets: tuple[str, ...] = ()
    hypernyms: bool = False
    split: Split = "all"
    bootstrap_samples: int = 1000
    seed: int = 0
    skip_bad_images: bool = False
    skip_bad_annotations: bool = False
    cache_data: bool = True
    network: str | None = None
    weights: str | None = None


class Partner(NamedTuple):
    """What a concept of A is on B: one concept, or the union of several; and how it was found."""

    numbers: tuple[int, ...]
    by: str


def match_concepts(
    names: Mapping[int, str],
    catalog: ConceptCatalog,
    *,
    match: Match = "name",
    table: Path | None = None,
    wordnet: Path | None = None,
    synsets: Sequence[str] = (),
    hypernyms: bool = False,
) -> dict[int, Partner]:
    """Partners on B of the concepts of A, by their numbers in A; see `ScoreFlags`.

    Args:
      names: number → name, of A.
      catalog: of B.
      match: what partners have in common.
      table: partners of the user's.
      wordnet: folder of WordNet's files.
      synsets: meanings, CONCEPT=SYNSET.
      hypernyms: also find what is a kind of a concept.

    Raises:
      Net2VecError: the table has an unknown concept, or WordNet is needed and not given.
    """
    if (hypernyms or match == "synset") and wordnet is None:
        raise Net2VecError("--match synset and --hypernyms need the files of --wordnet")
    if table is not None:
        found = _read_partners(table, names, catalog)
    elif match == "number":
        known = catalog.by_number
        found = {n: Partner((n,), "number") for n in names if n in known}
    elif match == "name":
        by_name: dict[str, tuple[int, ...]] = {}
        for concept in catalog:
            key = normalize_name(concept.name).casefold()
            by_name[key] = (*by_name.get(key, ()), concept.number)
        keys = {number: normalize_name(name).casefold() for number, name in names.items()}
        found = {n: Partner(by_name[key], "name") for n, key in keys.items() if key in by_name}
    else:
        found = {}
    by_synset = match == "synset" and table is None
    if wordnet is not None and (by_synset or hypernyms):
        with open_wordnet(wordnet) as opened:
            both = dict.fromkeys([*names.values(), *(concept.name for concept in catalog)])
            embedded = embed_wordnet([*both], opened, synsets=parse_synsets(synsets))
        meaning = dict(zip(embedded.concepts, embedded.entries, strict=True))
        above = dict(zip(embedded.concepts, embedded.vectors > 0, strict=True))
        for number, name in names.items():
            if number in found or name not in meaning:
                continue
            known = [concept for concept in catalog if concept.name in meaning]
            same = tuple(c.number for c in known if meaning[c.name] == meaning[name])
            below = tuple(c.number for c in known if not (above[name] & ~above[c.name]).any())
            if same and by_synset:
                found[number] = Partner(same, "synset")
            elif below and hypernyms:
                found[number] = Partner(below, "hypernym")
    return found


def _read_partners(
    path: Path, names: Mapping[int, str], catalog: ConceptCatalog
) -> dict[int, Partner]:
    found: dict[int, Partner] = {}
    for line, row in read_table(path, ("a", "b"))[1]:
        ours, theirs = find_numbers(row["a"].strip(), names), catalog.find(row["b"].strip())
        where = f"{path} line {line}: "
        if not theirs:
            error = unknown_name_error("concept", row["b"], (c.name for c in catalog))
            raise Net2VecError(f"{where}{error}")
        if not ours:
            raise Net2VecError(f"{where}{unknown_name_error('concept', row['a'], names.values())}")
        for number in ours:
            before = found[number].numbers if number in found else ()
            found[number] = Partner(tuple(dict.fromkeys((*before, *theirs))), "table")
    return found


class _Resized:
    """Some images of a dataset, at the size that a probe's network sees."""

    def __init__(self, dataset: ConceptDataset, images: np.ndarray, size: tuple[int, int]) -> None:
        self._dataset, self._images, self._size = dataset, images.tolist(), size
        self.image_names = [dataset.image_names[index] for index in self._images]

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int) -> np.ndarray:
        image = self._dataset.image(self._images[index])
        same = image.shape[:2] == self._size
        return image if same else resize_image(Image.fromarray(image), self._size)


def score_embeddings(
    probe: SegmentationProbe,
    places: Sequence[int],
    dataset: ConceptDataset,
    masks: ConceptMasks,
    *,
    bootstrap_samples: int = 1000,
    seed: int = 0,
) -> HeadScores:
    """Set IoU of C of a probe's embeddings on images that they were not trained on.

    Images are brought to the size that the network sees, and z to the size of the masks.

    Args:
      probe: with its network.
      places: of the C concepts among `probe.concepts`.
      dataset: N images.
      masks: of C concepts on them, in the order of `places`; images without a mask are not read.
      bootstrap_samples: of the intervals.
      seed: of the bootstrap.

    Returns:
      Scores of the C embeddings over all filters; `val` and its interval are over all images.
    """
    shown = np.unique(masks.pair_image)
    masks = masks.select_images(shown)
    masks = dataclasses.replace(masks, is_val=np.ones(len(shown), bool))
    images = _Resized(dataset, shown, probe.require_image_size())
    seeds = range(probe.settings.seeds)
    rows = [probe.find_rows(None, repetition)[[*places]] for repetition in seeds]
    row = np.concatenate(rows)
    heads = Heads.of(
        np.tile(np.arange(len(places)), len(rows)), probe.trained.weights[row],
        seed=np.repeat(np.arange(len(rows), dtype=np.int32), len(places)),
    )  # fmt: skip
    counts = evaluate_segmentation(
        probe.trained.weights[row], heads, probe.weigh(probe.respond(images)), masks,
        level=probe.trained.level[row], progress="scoring",
    )  # fmt: skip
    return score_segmentation(
        heads, ImageOverlaps.of(counts, masks), key=jax.random.key(seed),
        bootstrap_samples=bootstrap_samples, cluster=masks.image_groups,
    )  # fmt: skip


def ask(
    probe: SegmentationProbe,
    dataset: ConceptDataset,
    partners: Mapping[int, Partner],
    *,
    places: Sequence[int] | None = None,
    split: Split = "all",
    bootstrap_samples: int = 1000,
    seed: int = 0,
    cache_data: bool = True,
) -> Answer:
    """Compare set IoU on dataset A, which the probe was trained on, with that on dataset B.

    Args:
      probe: of A, with its network.
      dataset: B.
      partners: see `match_concepts`.
      places: of concepts among `probe.concepts`; all by default.
      split: of B's images.
      bootstrap_samples: of the intervals.
      seed: of the bootstrap.
      cache_data: keep B's decoded labels beside it.

    Raises:
      Net2VecError: no concept has a partner on an image.
    """
    places = list(range(len(probe.concepts))) if places is None else list(places)
    numbers = probe.table.numbers[probe.places]
    masks = decode_masks(dataset, choose_categories(probe.settings), cache=cache_data)
    in_split = {
        "all": np.ones(len(masks.is_val), bool),
        "val": masks.is_val,
        "train": ~masks.is_val,
    }
    kept_images = np.flatnonzero(in_split[split])
    dataset, masks = (
        ImageSubset(dataset, kept_images.tolist(), {}),
        masks.select_images(kept_images),
    )
    reasons = {
        probe.concepts[p]: f"{dataset.name} has no partner of it"
        for p in places
        if int(numbers[p]) not in partners
    }
    matched = [p for p in places if int(numbers[p]) in partners]
    united = masks.unite([partners[int(numbers[p])].numbers for p in matched])
    counts = np.bincount(united.pair_concept, minlength=len(matched))
    nowhere = "all images" if split == "all" else f"{split} images"
    reasons |= {
        probe.concepts[p]: f"its partner is on none of {nowhere} of {dataset.name}"
        for p, count in zip(matched, counts, strict=True)
        if not count
    }
    kept = [row for row, count in enumerate(counts) if count]
    if not kept:
        why = next(iter(reasons.values()), "there are no concepts")
        raise Net2VecError(f"no concept can be scored: {why}")
    united = united.select(ConceptCatalog(tuple(united.catalog.concepts[row] for row in kept)))
    matched, counts = [matched[row] for row in kept], counts[kept]
    found = score_embeddings(
        probe, matched, dataset, united, bootstrap_samples=bootstrap_samples, seed=seed,
    )  # fmt: skip
    of_a = probe.evaluation
    own = [
        int(np.flatnonzero((of_a.filters == ALL_FILTERS) & (of_a.concept == place))[0])
        for place in probe.places[matched]
    ]
    height, width = united.segmentation_size
    everything = np.bincount(united.pair_concept, united.area) / (counts * height * width)
    table = pd.DataFrame(
        {
            "concept": [probe.concepts[place] for place in matched],
            "category": [probe.categories[place] for place in matched],
            "partner": [concept.name for concept in united.catalog],
            "matched_by": [partners[int(numbers[place])].by for place in matched],
            "iou_a": of_a.val[own],
            "iou_a_low": of_a.low[own],
            "iou_a_high": of_a.high[own],
            "images_b": counts,
            "iou_b": found.val,
            "iou_b_low": found.low,
            "iou_b_high": found.high,
            "everything_iou_b": everything,
        }
    )
    from net2vec_jax.plots.probe_scores import plot_transfer  # matplotlib, for those who draw

    a, b = str(probe.origin["dataset_name"]), dataset.name
    columns = [table[[f"iou_{x}", f"iou_{x}_low", f"iou_{x}_high"]].to_numpy().T for x in "ab"]
    ranks = [stats.rankdata(score) for score, *_ in columns]
    few = len(table) < 3 or min(map(np.ptp, ranks)) == 0
    summary = {
        "trained_on": a,
        "scored_on": b,
        "concepts": len(table),
        "mean_iou_a": table["iou_a"].mean(),
        "mean_iou_b": table["iou_b"].mean(),
        "mean_everything_iou_b": table["everything_iou_b"].mean(),
        "better_than_everything": int(np.count_nonzero(found.val > everything)),
        "rank_correlation": np.nan if few else np.corrcoef(*ranks)[0, 1],
    }
    shown = [
        [row["concept"], row["partner"], f"{row['iou_a']:.3f}", f"{row['iou_b']:.3f}",
         f"{row['iou_b_low']:.2f}–{row['iou_b_high']:.2f}", f"{row['everything_iou_b']:.3f}",
         f"{row['images_b']:,}"]
        for row in table.sort_values("iou_b", ascending=False).to_dict("records")
    ]  # fmt: skip
    headings = ("concept", "partner", "IoU on A", "on B", "95 %", "all of it", "images")
    return Answer(
        summary=summary,
        tables={
            "score_on": table,
            "unmatched": pd.DataFrame([*reasons.items()], columns=["concept", "reason"]),
        },
        figures={
            "score_on": lambda: plot_transfer(
                columns[0],
                columns[1],
                [*table["concept"]],
                [*table["category"]],
                labels=(f"set IoU on val images of {a}", f"set IoU on {b}"),
                title=f"embeddings of {a}, {probe.origin['network']}/{probe.origin['layer']}",
            )
        },
        console=[tabulate(f"A = {a}, B = {b}", headings, shown, texts=2, no_wrap=True)],
        notes=[
            f"mean set IoU of {len(table)} concepts: {summary['mean_iou_a']:.3f} on {a}, "
            f"{summary['mean_iou_b']:.3f} on {b}, where marking everything has "
            f"{summary['mean_everything_iou_b']:.3f}"
        ],
        left_out=[LeftOut("concepts", reasons, len(places))],
    )


def main(flags: ScoreFlags) -> None:
    """Match, score, write and print."""
    run = FinishedRun(flags.run)
    require_segmentation(run)
    make_folder(flags.out)
    sources = RunSources(run, SourceFlags(network=flags.network, weights=flags.weights))
    dataset = open_screened_dataset(
        flags.dataset, scenes_directory=flags.out / SCENES_FOLDER,
        skip_bad_images=flags.skip_bad_images, skip_bad_annotations=flags.skip_bad_annotations,
    )  # fmt: skip
    assert isinstance(run.probe, SegmentationProbe)  # as was required
    places = run.probe.find_places(flags.concepts or None)
    numbers = run.probe.table.numbers[run.probe.places].tolist()
    partners = match_concepts(
        dict(zip(numbers, run.probe.concepts, strict=True)), dataset.catalog, match=flags.match,
        table=flags.table, wordnet=flags.wordnet, synsets=flags.synsets, hypernyms=flags.hypernyms,
    )  # fmt: skip
    if dataset.fingerprint == run.origin["dataset"] and flags.split != "val":
        announce(["the run was trained on these images; --split val has those it was not"])
    answer = ask(
        dataclasses.replace(run.probe, network=sources.network), dataset, partners, places=places,
        split=flags.split, bootstrap_samples=flags.bootstrap_samples, seed=flags.seed,
        cache_data=flags.cache_data,
    )  # fmt: skip
    write_answer(flags.out, answer)
    print_answer(answer)
    print(f"results are in {flags.out}")
