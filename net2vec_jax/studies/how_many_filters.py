"""How many filters does a concept need? Scores against the number of filters (paper, section 4.1).

C concepts of a layer, F numbers of filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd

from net2vec_jax.analysis.filters.filter_counts import (
    ALL_FRACTIONS,
    FRACTIONS,
    FilterCounts,
    bootstrap_concepts,
    count_filters,
)
from net2vec_jax.core.console import tabulate
from net2vec_jax.probes.segmentation.rivals import RIVAL_LABELS
from net2vec_jax.runs.layer import LayerRun
from net2vec_jax.runs.left_out import find_whole_images
from net2vec_jax.runs.study import LayerResults, StudyFlags, finish_study
from net2vec_jax.studies.answer import FIGURES, Answer, LeftOut, print_answer, write_answer

QUESTION = "how_many_filters"
CHANCE = {"segmentation": 0.0, "classification": 0.5}
"""Score of a guess, by probe."""


class CountedConcepts(NamedTuple):
    """How many filters C concepts need, by one probe on one layer."""

    counts: FilterCounts
    concepts: list[str]
    categories: list[str]
    whole_images: dict[str, str]  # why other concepts are not counted, by name
    interval: tuple[np.ndarray, np.ndarray]  # of the mean at each size, see `bootstrap_concepts`
    rivals: dict[str, float]  # mean set IoU of what embeddings are compared with, by its column

    @property
    def unlearnt(self) -> dict[str, str]:
        """Why concepts have no part in medians and curves, by name."""
        return {
            self.concepts[place]: "the score with all filters is not above chance"
            for place in np.flatnonzero(~self.counts.has_learnt)
        }


def how_many_filters(results: Sequence[LayerResults]) -> Answer:
    """Count the filters that concepts need for 50 … 90 % of their full score, by both probes.

    Segmentation leaves out scenes and textures, whose masks are whole images (behaviour 8).

    Args:
      results: of layers, from `run_study`.

    Returns:
      The table how_many_filters (a row per layer, probe and concept), the summary by layer and
      probe, and figures.
    """
    counted = {
        (result.name, probe): count_concepts(result, probe)
        for result in results
        for probe in CHANCE
    }
    summary: dict[str, dict] = {result.name: {} for result in results}
    for (layer, probe), found in counted.items():
        left_out = found.whole_images | found.unlearnt
        summary[layer][probe] = found.counts.summary() | {
            "mean_low": found.interval[0],
            "mean_high": found.interval[1],
            "rivals": found.rivals,
            "left_out": left_out,
        }
    whole_images = {
        name: why for found in counted.values() for name, why in found.whole_images.items()
    }
    left_out = [LeftOut("concepts from all that is counted of segmentation", whole_images)]
    left_out += [
        LeftOut(
            f"concepts from medians and curves of {layer}, {probe}",
            found.unlearnt,
            len(found.concepts),
        )
        for (layer, probe), found in counted.items()
    ]
    return Answer(
        summary=summary,
        tables={
            QUESTION: pd.concat(
                [_list_concepts(*key, counted[key]) for key in counted], ignore_index=True
            )
        },
        figures=_choose_figures(counted),
        console=[
            tabulate(
                "Filters that a concept needs (median)",
                ["layer", "probe", "concepts above chance"]
                + [f"for {fraction:.0%} of the full score" for fraction in FRACTIONS],
                [[*key, *_describe_medians(found.counts)] for key, found in counted.items()],
                texts=3,
            )
        ],
        left_out=left_out,
    )


def count_concepts(result: LayerResults, probe: str) -> CountedConcepts:
    """How many filters the concepts of a layer need, by one of its probes."""
    if probe == "segmentation":
        run = result.segmentation
        whole_images = find_whole_images(run.scores().concepts, run.scores().categories)
    else:
        run, whole_images = result.classification, {}
    scores = run.scores()
    kept = [place for place, name in enumerate(scores.concepts) if name not in whole_images]
    categories = [scores.categories[place] for place in kept]
    counts = count_filters(
        scores.by_size[kept],
        scores.sizes,
        scores.full[kept],
        categories,
        filters=result.filters,
        chance=CHANCE[probe],
        fractions=ALL_FRACTIONS,
    )
    concepts = [scores.concepts[place] for place in kept]
    interval = bootstrap_concepts(
        counts.scores, key=jax.random.key(run.flags.seed), samples=run.flags.bootstrap_samples
    )
    rivals = _average_rivals(run, concepts) if probe == "segmentation" else {}
    return CountedConcepts(counts, concepts, categories, whole_images, interval, rivals)


def main(flags: StudyFlags) -> None:
    """Run what is missing, count, draw, and say where everything is."""
    answer = how_many_filters(finish_study(flags))
    written = write_answer(flags.out, answer, question=QUESTION)
    print_answer(answer)
    print(
        f"figures are in {flags.out / FIGURES}, their numbers in {written}, "
        f"those of every concept in {flags.out / QUESTION}.csv"
    )


def _average_rivals(run: LayerRun, concepts: Sequence[str]) -> dict[str, float]:
    """Mean set IoU of the location prior and of embeddings of exchanged masks, by column."""
    rows = [row for row in run.run.read_table(run.table) if row["filters"] == "all"]
    columns = [f"{rival}_val_iou" for rival in ("prior", "control")]
    return {
        column: float(np.mean([float(row[column]) for row in rows if row["concept"] in concepts]))
        for column in columns
        if concepts and column in rows[0]
    }


def _list_concepts(layer: str, probe: str, found: CountedConcepts) -> pd.DataFrame:
    """A row per concept: its logarithmic fit, and how many filters it needs."""
    counts = found.counts
    return pd.DataFrame(
        {
            "layer": layer,
            "probe": probe,
            "concept": found.concepts,
            "category": found.categories,
            "full_score": counts.scores[:, -1],
            "above_chance": counts.has_learnt.astype(int),
            "slope_per_ln_filter": counts.fit.slope,
            "intercept": counts.fit.intercept,
            "explained_variance": counts.fit.explained,
        }
        | {f"filters_for_{fraction:.0%}": counts.counts[fraction] for fraction in ALL_FRACTIONS}
    )


def _describe_medians(counts: FilterCounts) -> list[str]:
    learnt = counts.has_learnt
    return [f"{learnt.sum()} of {len(learnt)}"] + [
        f"{np.median(counts.counts[fraction][learnt]):.0f} of {counts.sizes[-1]}"
        if learnt.any()
        else "–"
        for fraction in FRACTIONS
    ]


def _choose_figures(counted: dict[tuple[str, str], CountedConcepts]) -> dict[str, partial]:
    """Figures of both probes, and of each layer's concepts."""
    from net2vec_jax.plots import filter_counts as plots  # matplotlib, for those who draw

    figures = {}
    for probe, label in (("segmentation", "set IoU on val"), ("classification", "accuracy on val")):
        of_probe = {layer: found for (layer, of), found in counted.items() if of == probe}
        layers = {layer: found.counts for layer, found in of_probe.items()}
        style = {"score": label, "chance": CHANCE[probe] or None}
        figures[f"{probe}_against_filters"] = partial(
            plots.plot_score_against_filters,
            layers,
            intervals={layer: found.interval for layer, found in of_probe.items()},
            references={
                label: [found.rivals[f"{rival}_val_iou"] for found in of_probe.values()]
                for rival, label in RIVAL_LABELS.items()
                if all(f"{rival}_val_iou" in found.rivals for found in of_probe.values())
            },
            **style,
        )
        if any(counts.has_learnt.any() for counts in layers.values()):
            for relative, ending in ((False, "filters"), (True, "fraction_of_filters")):
                figures[f"{probe}_sufficient_{ending}"] = partial(
                    plots.plot_sufficient_filters, layers, fractions=FRACTIONS, relative=relative
                )
        for layer, counts in layers.items():
            if counts.has_learnt.any():
                figures[f"{probe}_concepts_{layer.replace('/', '_')}"] = partial(
                    plots.plot_concept_curves, counts, counted[layer, probe].concepts, **style
                )
    return figures
