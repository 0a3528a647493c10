"""Groups of images that are not independent: frames of one film, photographs of one patient.

N images have G groups, numbered 0 … G − 1. A split that is drawn takes groups as wholes; what
resamples images, as intervals and tests do, should too.
"""

from __future__ import annotations

import collections
import itertools
import re
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Bool, Int

from net2vec_jax.core.errors import Net2VecError, list_names
from net2vec_jax.data.concepts import normalize_name
from net2vec_jax.data.dataset import TRAIN, VAL
from net2vec_jax.data.splits import TRAIN_FRACTION, place_by_hash
from net2vec_jax.data.tables import FILLERS

GROUP_COLUMN = "group"
"""What tables call it."""
SHORTEST_FILM = 10
"""Frames: fewer numbers behind a common prefix say nothing."""
LEAST_IN_FILMS = 0.8
"""Share of a dataset's images that must look like frames before it is said."""
_FRAME_NUMBER = re.compile(r"[0-9]+(?=[A-Za-z]?(?:[^A-Za-z0-9]|$))")
_FILM_WORD = re.compile(
    r"(?<![a-z])(?:frame|video|vid|clip|film|movie|seq|sequence|camera|slice)s?(?![a-z])"
)
_BEFORE_FRAME_NUMBER = re.compile(r"(?<![a-z])frames?[^a-z0-9]*$")


def name_group(value: object, where: str) -> str:
    """The group that a cell names, as text.

    Args:
      value: text or a number.
      where: what the message begins with, such as file and line.

    Raises:
      Net2VecError: it is neither, or empty.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    name = normalize_name(str(value).strip())
    if not np.isscalar(value) or not name or name.lower() in FILLERS:
        raise Net2VecError(
            f"{where}: the group is {value!r:.60}; name the film, patient or place of every image, "
            "and one of its own for an image that stands alone"
        )
    return name


def number_groups(groups: Sequence[Hashable]) -> Int[np.ndarray, " N"]:
    """Consecutive numbers of N images' groups, int32, in the order of first appearance.

    Examples:
      >>> number_groups(["b", "a", "b"])
      array([0, 1, 0], dtype=int32)
    """
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return np.array([numbers[group] for group in groups], np.int32)


def draw_val_groups(
    groups: Int[np.ndarray, " N"], order: Sequence[int] | Int[np.ndarray, " G"], fraction: float
) -> Bool[np.ndarray, " N"]:
    """Which images are for val if whole groups are, as near to the fraction as the order allows.

    Args:
      groups: number of each image's group.
      order: the groups' numbers; the first ones become val, at least one and all but one at most.
      fraction: share of the images that val should have, which it misses by at most the images of
        the largest group.

    Examples:
      >>> draw_val_groups(np.array([0, 0, 1, 2, 2]), [1, 2, 0], 0.3).tolist()
      [False, False, True, False, False]
    """
    order = np.asarray(order, int)
    val_images = np.bincount(groups)[order].cumsum()
    # Whole images first, so that groups of one image give the count that images alone would.
    nearest = 1 + int(np.abs(val_images - round(fraction * len(groups))).argmin())
    return np.isin(groups, order[: min(nearest, len(order) - 1)])


def split_by_groups(groups: Sequence[str]) -> list[str]:
    """The split of N images, "train" or "val", about 70 % train, from the groups' names alone.

    Groups are ordered by a hash of their names, as images are where no groups are given (behaviour
    1.7); the last ones are for val.
    """
    names = list(dict.fromkeys(groups))
    order = sorted(range(len(names)), key=lambda n: (place_by_hash(names[n]), names[n]))
    is_val = draw_val_groups(number_groups(groups), order[::-1], 1 - TRAIN_FRACTION)
    return [VAL if val else TRAIN for val in is_val.tolist()]


def remark_on_groups(
    images: Sequence[str], groups: Sequence[str] | None, is_val: np.ndarray, *, remedy: str
) -> tuple[str, ...]:
    """What to tell of the groups of N images: those in both splits, or that there should be some.

    Args:
      images: their names.
      groups: the group of each; None where none is given.
      is_val: bool [N].
      remedy: where groups are given, the end of the notice.
    """
    if groups is None:
        films = _find_films(images)
        if not films:
            return ()
        return (
            "names look like series of frames, as of a film, and no groups are given "
            f"({len(films)}: {list_names((f'{film}…' for film in films), most=3)}): such images "
            "are not independent, so that intervals and tests that take them so claim too much; "
            f"name the series of every image in {remedy}",
        )
    sides: dict[str, set[bool]] = {}
    for group, side in zip(groups, is_val.tolist(), strict=True):
        sides.setdefault(group, set()).add(side)
    torn = [group for group, both in sides.items() if len(both) > 1]
    if not torn:
        return ()
    return (
        f"groups that have images both in train and in val ({len(torn)} of {len(sides)}: "
        f"{list_names(torn, most=3)}): val images are then much like those that probes are trained "
        "on, and scores too high; give all images of a group one split",
    )


def _find_films(images: Sequence[str]) -> list[str]:
    """The prefixes of names that look like frames of films, if most of the names do.

    Classes and whole datasets are numbered too: `cat_01`, `2007_000027`. Frames differ from these
    by a word that says so, or by numbers that rise by a constant step above 1. A single series is
    told from a numbered dataset only by the word right before the number.
    """
    series: dict[str, list[int]] = {}
    for image in images:
        matches = list(_FRAME_NUMBER.finditer(image.rpartition(".")[0] or image))
        if matches:
            series.setdefault(image[: matches[-1].start()], []).append(int(matches[-1][0]))
    films = {
        prefix: len(numbers) for prefix, numbers in series.items() if _is_film(prefix, numbers)
    }
    is_clear = len(films) > 1 or any(_BEFORE_FRAME_NUMBER.search(film.lower()) for film in films)
    is_most = sum(films.values()) >= LEAST_IN_FILMS * len(images)
    return list(films) if is_clear and is_most else []


def _is_film(prefix: str, numbers: Sequence[int]) -> bool:
    """Whether a prefix and the numbers behind it look like those of a film's frames."""
    found = sorted(set(numbers))  # two cameras may have a frame of one number
    if len(found) < SHORTEST_FILM:
        return False
    steps = collections.Counter(after - before for before, after in itertools.pairwise(found))
    step, count = steps.most_common(1)[0]
    is_regular = step > 1 and count >= steps.total() / 2
    return is_regular or _FILM_WORD.search(prefix.lower()) is not None
