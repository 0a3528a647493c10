"""Does the network use a concept? Derivatives of logits along it, and interventions on a layer.

C concepts, Y classes, K channels of a layer, n images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int

from net2vec_jax.activations.responses import fold_directions
from net2vec_jax.analysis.geometry.concept_embeddings import average_seeds
from net2vec_jax.analysis.use.directions import (
    KINDS,
    DirectionKind,
    covary,
    draw_directions,
    reduce_masks,
    scale_direction,
)
from net2vec_jax.analysis.use.interventions import (
    Interventions,
    choose_filters,
    draw_filters,
    measure_interventions,
)
from net2vec_jax.analysis.use.results import FOLDER, RATE, ConceptUse
from net2vec_jax.analysis.use.sensitivity import (
    compare_exchanged,
    compare_random,
    differentiate_classes,
    pool_classes,
)
from net2vec_jax.core.console import announce, track
from net2vec_jax.core.errors import Net2VecError, unknown_name_error
from net2vec_jax.core.result_files import make_folder
from net2vec_jax.networks.network import Network
from net2vec_jax.runs.files import read_thresholds
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.left_out import find_undirected
from net2vec_jax.runs.predictions import require_segmentation
from net2vec_jax.runs.sources import RunSources, SourceFlags
from net2vec_jax.stats.discoveries import control_false_discoveries
from net2vec_jax.stats.intervals import bootstrap_means
from net2vec_jax.studies.answer import FIGURES, Answer, print_answer, write_answer

BATCH = 16
"""Images at a time."""
EXAMPLES = 3
"""Images shown of each pair of a concept and a class."""
NULL_DIRECTIONS = 1000
"""Random directions behind the range of shares that chance gives."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class UseFlags(SourceFlags):
    """Flags of the study.

    Attributes:
      run: a finished run of the segmentation probe, on a layer before the logits.
      concepts: by name or number; all by default.
      classes: numbers from 0, names of --class-names, or several as one: "sheep=348,349" is called
        sheep and has the logit log Σ exp of both. If it is called as a concept, it is taken for the
        concept's own. By default the class that is most probable on each concept's train images.
      class_names: text file with the name of every class in a line of its own.
      direction: whose interventions are made: the pattern of the embedding, the difference of means
        inside and outside the concept's masks, or the raw weights. Derivatives are along all three.
      images: at most so many train images, val images with and val images without each concept.
      draws: random directions, and sets of random filters, that an intervention is compared with.
      exchanges: permutations of scores among images; no p-value lies below 1 / (exchanges + 1).
      strengths: of added directions, in standard deviations of the responses along them.
      filters: how many of the concept's most important filters are silenced.
      silence: what silenced filters are set to everywhere: 0, or their mean on train images without
        the concept.
      interventions: make them; by default yes. They take most of the time.
      seed: of images, random directions and bootstrap.
      out: where results go; by default RUN/does_it_matter, where the report finds them.
    """

    run: Path
    concepts: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    class_names: Path | None = None
    direction: DirectionKind = "pattern"
    images: int = 32
    draws: int = 10
    exchanges: int = 5000
    strengths: tuple[float, ...] = (-4.0, -2.0, -1.0, 1.0, 2.0, 4.0)
    filters: tuple[int, ...] = (1, 2, 5, 10, 20, 40)
    silence: Literal["mean", "zero"] = "mean"
    interventions: bool = True
    seed: int = 0
    out: Path | None = None


@dataclasses.dataclass(frozen=True)
class ClassGroup:
    """A class, or several as one.

    Attributes:
      name: for tables.
      members: numbers among the logits.
    """

    name: str
    members: tuple[int, ...]


def parse_classes(
    entries: Sequence[str], names: Sequence[str], count: int
) -> tuple[ClassGroup, ...]:
    """Classes from "348", "ram" or "sheep=348,ewe".

    Args:
      entries: as the flag takes them.
      names: of all classes; empty where they are not known.
      count: number of logits.

    Raises:
      Net2VecError: there is no such class, or a name is given twice.

    Examples:
      >>> parse_classes(["1", "pets=cat,dog"], ["cow", "cat, tabby", "dog"], 3)[1]
      ClassGroup(name='pets', members=(1, 2))
    """
    known = {name.strip().casefold(): place for place, name in reversed([*enumerate(names)])}
    for place, name in reversed([*enumerate(names)]):
        for part in name.split(","):
            known.setdefault(part.strip().casefold(), place)

    def find(text: str) -> int:
        if text.isdecimal() and int(text) < count:
            return int(text)
        place = known.get(text.strip().casefold())
        if place is None:
            hint = "" if names else f" (a number from 0 to {count - 1}, or give --class-names)"
            raise unknown_name_error(f"class{hint}", text, known)
        return place

    groups = []
    for entry in entries:
        name, equals, members = entry.partition("=")
        found = tuple(dict.fromkeys(map(find, (members if equals else name).split(","))))
        groups.append(ClassGroup(name if equals else name_class(found[0], names), found))
    called = [group.name for group in groups]
    if len(set(called)) < len(called):
        raise Net2VecError(f"--classes has a name twice: {', '.join(called)}")
    return tuple(groups)


def name_class(number: int, names: Sequence[str]) -> str:
    """The class's name up to a comma, or "class NUMBER"."""
    return names[number].split(",")[0].strip() if names else f"class {number}"


def read_class_names(path: Path | None) -> list[str]:
    """A name per line; none without a file.

    Raises:
      Net2VecError: the file cannot be read.
    """
    try:
        return [] if path is None else path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Net2VecError(f"--class-names {path} cannot be read: {error}") from error


@dataclasses.dataclass(frozen=True, eq=False)
class Directions:
    """Of one concept, measured on its train images.

    Attributes:
      unit: float64 [3, K], of length 1, in the order of `KINDS`.
      deviation: of the responses along each, float64 [3].
      absent: mean of every channel on train images without the concept, float64 [K].
      responses: of the train images, float32 [n, P, K].
      scores: whose covariance with the responses the first two are, float64 [2, n, P].
    """

    unit: np.ndarray
    deviation: np.ndarray
    absent: np.ndarray
    responses: np.ndarray
    scores: np.ndarray


@jax.jit(static_argnames=("layer",))
def _go_on(network: Network, response: Array, images: Array, *, layer: str) -> Array:
    return network.continue_from(layer, response, images)


@jax.jit(static_argnames=("layer",))
def _intervene(
    network: Network, response: Array, images: Array, members: Array, changes: Interventions,
    mean: Array, silence: Array, *, layer: str,
) -> tuple[Array, Array]:  # fmt: skip
    return measure_interventions(
        lambda response: network.continue_from(layer, response, images),
        partial(pool_classes, members=members),
        response, changes, mean, silence,
    )  # fmt: skip


class UseStudy:
    """A run's concepts and its network behind the layer.

    Attributes:
      run: of the segmentation probe.
      sources: of the run.
      flags: of the study.
      places: of the C concepts in the run.
      classes: Y of them.
    """

    def __init__(self, run: FinishedRun, sources: RunSources, flags: UseFlags) -> None:
        """Choose concepts and classes.

        Raises:
          Net2VecError: there is no such concept or class; or the network does not go on from the
            layer to logits.
        """
        require_segmentation(run)
        self.run, self.sources, self.flags = run, sources, flags
        self.network = sources.network.network
        lacking = find_undirected(run.concepts, average_seeds(run.weights))
        every = [place for place, name in enumerate(run.concepts) if name not in lacking]
        self.places = run.find_concepts(flags.concepts) if flags.concepts else every
        names = read_class_names(flags.class_names)
        logits = self._compute_logits(self.choose_images(self.places[0])["train"][:1])
        if names and len(names) != logits.shape[1]:
            raise Net2VecError(
                f"--class-names has {len(names)} lines, but the network {logits.shape[1]} classes"
            )
        self.classes = parse_classes(flags.classes, names, logits.shape[1])
        if not self.classes:
            self.classes = self._choose_classes(names)
        self.members = np.zeros((len(self.classes), logits.shape[1]), bool)
        for row, group in zip(self.members, self.classes, strict=True):
            row[list(group.members)] = True

    @property
    def key(self) -> Array:
        """PRNG key of everything that is drawn."""
        return jax.random.key(self.flags.seed)

    def choose_images(self, place: int) -> dict[str, Int[np.ndarray, " n"]]:
        """At most so many images of a concept: "train", and of val "with" and "without" it.

        "absent" are train images without it, or those with it where all have it.
        """
        masks = self.sources.masks
        shown = np.zeros(len(masks.is_val), bool)
        shown[masks.pair_image[masks.pair_concept == place]] = True
        kinds = {
            "train": shown & ~masks.is_val,
            "with": shown & masks.is_val,
            "without": ~shown & masks.is_val,
            "absent": ~masks.is_val & (~shown | shown[~masks.is_val].all()),
        }
        random = np.random.default_rng([self.flags.seed, int(self.run.numbers[place])])
        return {
            kind: np.sort(random.permutation(np.flatnonzero(chosen))[: self.flags.images])
            for kind, chosen in kinds.items()
        }

    def read_responses(self, images: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n ..."]:
        """The layer's own responses, whichever side of them the run's filters respond with."""
        return self._unfold(self.sources.activations.read(images))

    def _unfold(self, responses: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n ..."]:
        if self.run.responses == "both":
            return responses[..., : responses.shape[-1] // 2]
        return -responses if self.run.responses == "negative" else responses

    def _batches(
        self, images: Int[np.ndarray, " n"]
    ) -> Iterator[tuple[Int[np.ndarray, " b"], Array, Array]]:
        """Images, their responses and what the network is given beside; the last are repeated."""
        preprocess = self.sources.network.preprocessing(self.run.origin["preprocessing"])
        for start in range(0, len(images), BATCH):
            chosen = images[start : start + BATCH]
            padded = np.resize(chosen, BATCH)
            pixels = np.stack([self.sources.dataset.image(image) for image in padded.tolist()])
            given = preprocess(jnp.asarray(pixels))
            yield chosen, jnp.asarray(self.read_responses(padded)), given

    def _compute_logits(self, images: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n L"]:
        parts = []
        for chosen, response, given in self._batches(images):
            logits = _go_on(self.network, response, given, layer=self.run.layer)
            if logits.ndim != 2:
                raise Net2VecError(
                    f"{self.run.network} ends in {self.network.layers[-1]} of shape {logits.shape},"
                    " which are no logits [N, classes]"
                )
            parts.append(np.asarray(logits)[: len(chosen)])
        return np.concatenate(parts)

    def _choose_classes(self, names: Sequence[str]) -> tuple[ClassGroup, ...]:
        """The class that is most probable on each concept's train images."""
        found: dict[int, None] = {}
        for place in self.places:
            logits = self._compute_logits(self.choose_images(place)["train"])
            found[int(np.asarray(jax.nn.softmax(logits)).mean(0).argmax())] = None
        return tuple(ClassGroup(name_class(number, names), (number,)) for number in found)

    def find_directions(self, place: int) -> Directions:
        """All directions of a concept, from its train images."""
        run, masks = self.run, self.sources.masks
        images = self.choose_images(place)["train"]
        maps = self.sources.activations.read(images)
        grid = (maps.shape[1], maps.shape[2])
        weighed = maps.reshape(len(images), -1, maps.shape[-1])
        flat = self._unfold(weighed)
        if run.scale is None:
            score = (weighed > read_thresholds(run.path)) @ run.weights[:, place].mean(0)
        else:
            score = weighed @ run.directions[:, place].mean(0)
        pairs = np.flatnonzero(masks.pair_concept == place)
        pairs = pairs[np.searchsorted(masks.pair_image[pairs], images)]
        scores = np.stack([score.astype(np.float64), reduce_masks(masks.unpack(pairs), grid)])
        found = [
            scale_direction(direction, flat, run.concepts[place])
            for direction in (
                *(covary(flat, one) for one in scores),
                fold_directions(run.directions[:, place].mean(0), run.responses).astype(float),
            )
        ]
        unit, deviation = (np.stack(parts) for parts in zip(*found, strict=True))
        absent = self.read_responses(self.choose_images(place)["absent"]).mean((0, 1, 2))
        return Directions(unit, deviation, absent, flat, scores)

    @cached_property
    def directions(self) -> list[Directions]:
        """Of the C concepts."""
        return [self.find_directions(place) for place in track(self.places, "directions")]

    def measure_gradients(self) -> dict[int, Float[np.ndarray, "Y K"]]:
        """By val image with a concept: every class's gradient, summed over places."""
        images = np.unique(
            np.concatenate([self.choose_images(place)["with"] for place in self.places])
        )
        found = {}
        total = -(-len(images) // BATCH)
        for chosen, *given in track(self._batches(images), "gradients", total=total):
            _, gradients = differentiate_classes(
                self.network, *given, jnp.asarray(self.members), layer=self.run.layer
            )
            found |= dict(zip(chosen.tolist(), np.asarray(gradients, np.float64), strict=False))
        return found

    def measure_sensitivity(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """A row per kind of direction, concept and class; and one per example image.

        Derivatives are by one standard deviation along the direction at every place.
        """
        gradients = self.measure_gradients()
        channels = next(iter(gradients.values())).shape[1]
        random = draw_directions(jax.random.fold_in(self.key, 1), NULL_DIRECTIONS, channels)
        rows, examples = [], []
        for place, found in zip(self.places, self.directions, strict=True):
            images = self.choose_images(place)["with"]
            of_images = np.stack([gradients[image] for image in images.tolist()])  # [n, Y, K]
            mean = of_images.mean(0)
            chance = np.quantile((of_images @ random.T > 0).mean(0), [0.025, 0.975], axis=1)
            along = found.responses @ mean.T
            for number, kind in enumerate(KINDS):
                derivative = of_images @ found.unit[number] * found.deviation[number]  # [n, Y]
                low, high = bootstrap_means(derivative, key=self.key)
                exchanged = np.full(len(self.classes), np.nan)
                if number < len(found.scores):
                    exchanged = compare_exchanged(
                        along, found.scores[number], draws=self.flags.exchanges,
                        key=jax.random.fold_in(self.key, int(self.run.numbers[place])),
                    )  # fmt: skip
                p_random = compare_random(mean, found.unit[number])
                for column, group in enumerate(self.classes):
                    rows.append(
                        {
                            **self._describe(place, group),
                            "direction": kind,
                            "images": len(images),
                            "derivative": derivative[:, column].mean(),
                            "derivative_low": low[column],
                            "derivative_high": high[column],
                            "positive": (derivative[:, column] > 0).mean(),
                            "random_positive_low": chance[0, column],
                            "random_positive_high": chance[1, column],
                            "p_random": p_random[column],
                            "p_exchanged": exchanged[column],
                        }
                    )
                    if kind == self.flags.direction:
                        of_class = derivative[:, column]
                        order = np.argsort(-of_class * np.sign(of_class.mean()))[:EXAMPLES]
                        examples += [
                            {
                                **self._describe(place, group),
                                "image": int(images[one]),
                                "name": self.sources.dataset.image_names[int(images[one])],
                                "derivative": derivative[one, column],
                            }
                            for one in order.tolist()
                        ]
        table = pd.DataFrame(rows)
        p_value = table[["p_random", "p_exchanged"]].max(axis=1)
        tested = control_false_discoveries(
            p_value.to_numpy(), rate=RATE, family=table["direction"].to_numpy(str)
        )
        return (
            table.assign(q_value=tested.q_value, used=tested.rejected.astype(int)),
            pd.DataFrame(examples),
        )

    def _describe(self, place: int, group: ClassGroup) -> dict[str, Any]:
        return {
            "concept": self.run.concepts[place],
            "category": self.run.categories[place],
            "val_iou": self.run.scores.full[place],
            "class": group.name,
            "members": " ".join(map(str, group.members)),
        }

    def measure_interventions(self) -> pd.DataFrame:
        """A row per concept, kind and strength of intervention, part of the images, and class."""
        parts = [
            self._intervene_on(place, found)
            for place, found in track(
                [*zip(self.places, self.directions, strict=True)], "interventions"
            )
        ]
        return pd.concat(parts, ignore_index=True)

    def _intervene_on(self, place: int, found: Directions) -> pd.DataFrame:
        flags, number = self.flags, KINDS.index(self.flags.direction)
        unit, deviation = found.unit[number], found.deviation[number]
        channels = len(unit)
        counts = tuple(count for count in flags.filters if count < channels)
        key = jax.random.fold_in(self.key, int(self.run.numbers[place]))
        random = draw_directions(jax.random.fold_in(key, 2), flags.draws, channels)
        written = np.concatenate([unit[None], random])  # [1 + draws, K]
        weights = np.abs(self.run.weights[:, place].mean(0)).reshape(-1, channels).max(0)
        filters = np.concatenate(
            [
                choose_filters(weights, counts)[None],
                draw_filters(jax.random.fold_in(key, 3), flags.draws, counts, channels),
            ]
        )
        kinds = [("none", 0.0, 1), ("remove", 1.0, len(written))]
        changes = [
            Interventions.of(unit[None]),
            Interventions.of(written, read=np.broadcast_to(unit, written.shape), removed=1.0),
        ]
        for strength in flags.strengths:
            kinds.append(("add", strength, len(written)))
            changes.append(Interventions.of(written, added=strength * deviation))
        for place_of, count in enumerate(counts):
            kinds.append(("silence", float(count), len(written)))
            changes.append(Interventions.of(written, silenced=filters[:, place_of]))
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *changes)
        mean = jnp.asarray(found.absent, jnp.float32)
        silence = mean if flags.silence == "mean" else jnp.zeros_like(mean)
        tables = []
        for part in ("with", "without"):
            images = self.choose_images(place)[part]
            if not len(images):
                continue
            outcomes = [
                [
                    np.asarray(values)[:, : len(chosen)]
                    for values in _intervene(
                        self.network, *given, jnp.asarray(self.members), joined, mean, silence,
                        layer=self.run.layer,
                    )
                ]
                for chosen, *given in self._batches(images)
            ]  # fmt: skip
            logits, top = (np.concatenate(values, axis=1) for values in zip(*outcomes, strict=True))
            is_top = self.members[:, top].transpose(1, 2, 0).astype(np.float64)  # [E, n, Y]
            start = 1
            for kind, strength, size in kinds[1:]:
                change = logits[start : start + size].astype(np.float64) - logits[0]
                tables.append(
                    self._compare(place, part, kind, strength, change, is_top[0],
                                  is_top[start : start + size])
                )  # fmt: skip
                start += size
        return pd.concat(tables, ignore_index=True)

    def _compare(
        self,
        place: int,
        part: str,
        kind: str,
        strength: float,
        change: Float[np.ndarray, "rivals n Y"],
        before: Float[np.ndarray, "n Y"],
        after: Float[np.ndarray, "rivals n Y"],
    ) -> pd.DataFrame:
        """What the concept's own intervention, the first, does beside random ones."""
        own, rivals = change[0], change[1:]
        low, high = bootstrap_means(own, key=self.key)
        difference = own - rivals.mean(0)
        difference_low, difference_high = bootstrap_means(difference, key=self.key)
        by_rival = rivals.mean(1)  # [rivals, Y]
        described = pd.DataFrame([self._describe(place, group) for group in self.classes])
        return described.assign(
            intervention=kind,
            strength=strength,
            part=part,
            images=len(own),
            change=own.mean(0),
            change_low=low,
            change_high=high,
            random_change=by_rival.mean(0),
            random_low=by_rival.min(0),
            random_high=by_rival.max(0),
            difference=difference.mean(0),
            difference_low=difference_low,
            difference_high=difference_high,
            top1_before=before.mean(0),
            top1=after[0].mean(0),
            random_top1=after[1:].mean((0, 1)),
        )


def describe_use(use: ConceptUse) -> Answer:
    """What was found, as tables, summary and figures."""
    # Imported here: the study itself needs no plotting library.
    from net2vec_jax.plots.concept_use import plot_curves, plot_matrix

    figures = {"matrix": partial(plot_matrix, use)}
    for kind, name in (("add", "added"), ("silence", "silenced")):
        if len(use.of_main_class(kind)):
            figures[name] = partial(plot_curves, use, kind)
    summary = {"direction": use.direction, "found": use.summary}
    return Answer(summary=summary, tables=use.tables, figures=figures, notes=[use.summary])


def main(flags: UseFlags) -> None:
    """Measure, write, and say what was found."""
    if min(flags.images, flags.draws, flags.exchanges) < 1:
        raise Net2VecError("--images, --draws and --exchanges must be at least 1")
    run = FinishedRun(flags.run)
    study = UseStudy(run, RunSources(run, flags), flags)
    out = make_folder(flags.out or run.path / FOLDER)
    if not flags.classes:
        names = ", ".join(group.name for group in study.classes)
        announce([f"classes, most probable on the concepts' train images: {names}"])
    sensitivity, examples = study.measure_sensitivity()
    table = study.measure_interventions() if flags.interventions else None
    answer = describe_use(ConceptUse(flags.direction, sensitivity, examples, table))
    write_answer(out, answer)
    print_answer(answer)
    print(f"tables and summary.json are in {out}, figures in {out / FIGURES}")
