"""Masks of every (concept, image) pair, and α (reference spec 5.3, 5.4)."""

from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from helpers import ListDataset, make_random_problem, pack_masks

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.concepts import Concept, ConceptCatalog
from net2vec_jax.data.dataset import ImageLabels
from net2vec_jax.data.masks import CategoryChoice, ConceptMasks, collect_concept_masks
from net2vec_jax.data.python2 import dictionary_order

SIZE = (3, 4)
DOG, FUR, STREET = 1, 2, 3


def plane(number: int, *columns: int) -> np.ndarray:
    """A plane that holds `number` in these columns."""
    out = np.zeros(SIZE, np.int32)
    out[:, list(columns)] = number
    return out


def columns(*marked: int) -> list[list[bool]]:
    """The mask of these columns."""
    return (plane(1, *marked) == 1).tolist()


def make_dataset(labels: list[ImageLabels], is_val: list[bool] | None = None) -> ListDataset:
    """The dog is an object and a part (Python 2 takes the part first), the street a scene too."""
    catalog = ConceptCatalog(
        (
            Concept(DOG, "dog", {"object": 2, "part": 1}, "object"),
            Concept(FUR, "fur", {"part": 1}, "part"),
            Concept(STREET, "street", {"object": 1, "scene": 1}, "scene"),
        )
    )
    return ListDataset(catalog, ("object", "part", "scene"), labels, SIZE, is_val)


def mask_of(masks: ConceptMasks, number: int, image: int) -> list[list[bool]]:
    place = [concept.number for concept in masks.catalog].index(number)
    (pair,) = np.flatnonzero((masks.pair_concept == place) & (masks.pair_image == image))
    return masks.unpack(slice(pair, pair + 1))[0].tolist()


IN_BOTH = ImageLabels({"object": plane(DOG, 0)[None], "part": plane(DOG, 1)[None]}, {})
ONLY_OBJECT_BUT_PARTS_MARKED = ImageLabels(
    {"object": plane(DOG, 0)[None], "part": plane(FUR, 3)[None]}, {}
)
ONLY_OBJECT = ImageLabels({"object": plane(DOG, 0)[None]}, {})


@pytest.mark.parametrize(
    ("choice", "in_both", "only_object_but_parts_marked"),
    [
        ("union", columns(0, 1), columns(0)),
        ("containing", columns(1), columns(0)),
        ("first_available", columns(1), columns()),  # B-2: the dog is sought among the parts
    ],
)
def test_a_concept_in_two_categories(
    choice: CategoryChoice, in_both: list, only_object_but_parts_marked: list
) -> None:
    dataset = make_dataset([IN_BOTH, ONLY_OBJECT_BUT_PARTS_MARKED, ONLY_OBJECT])
    masks = collect_concept_masks(dataset, category_choice=choice)
    assert masks.category_choice == choice
    assert mask_of(masks, DOG, 0) == in_both
    assert mask_of(masks, DOG, 1) == only_object_but_parts_marked
    assert mask_of(masks, DOG, 2) == columns(0)
    assert not masks.whole_image.any()


@pytest.mark.parametrize(
    ("choice", "expected", "whole"),
    [
        ("union", columns(0, 1, 2, 3), True),
        ("containing", columns(2), False),
        ("first_available", columns(2), False),
    ],
)
def test_a_concept_as_object_and_as_scene(
    choice: CategoryChoice, expected: list, whole: bool
) -> None:
    labels = ImageLabels({"object": plane(STREET, 2)[None]}, {"scene": (STREET,)})
    masks = collect_concept_masks(make_dataset([labels]), category_choice=choice)
    assert mask_of(masks, STREET, 0) == expected
    assert masks.whole_image.tolist() == [whole]


def test_first_available_whole_image_category_marks_every_pixel_whatever_it_lists() -> None:
    # Spec 5.3: a category of numbers alone gives all ones, even if the concept is not among them.
    catalog = ConceptCatalog(
        (
            Concept(DOG, "dog", {"object": 1, "texture": 1}, "object"),
            Concept(9, "red", {"color": 1}, "color"),
        )
    )
    labels = ImageLabels({"texture": plane(DOG, 3)[None]}, {"object": (9,)})
    dataset = ListDataset(catalog, ("color", "object", "texture"), [labels], SIZE)
    first = collect_concept_masks(dataset, category_choice="first_available")
    assert mask_of(first, DOG, 0) == columns(0, 1, 2, 3)
    assert first.pixels[0] == 12
    assert first.train_coverage()[0] == 1
    for choice in ("union", "containing"):
        masks = collect_concept_masks(dataset, category_choice=choice)
        assert mask_of(masks, DOG, 0) == columns(3)


def test_numbers_beside_planes_are_whole_layers() -> None:
    labels = ImageLabels({"part": plane(FUR, 0)[None]}, {"part": (DOG,)})
    masks = collect_concept_masks(make_dataset([labels]))
    assert mask_of(masks, DOG, 0) == columns(0, 1, 2, 3)
    assert mask_of(masks, FUR, 0) == columns(0)
    assert masks.whole_image.tolist() == [True, False]


def test_alpha_sums_over_layers_while_the_mask_takes_their_union() -> None:
    # Spec B-3: two planes mark column 0, one of them column 1 too.
    planes = np.stack([plane(FUR, 0), plane(FUR, 0, 1)])
    masks = collect_concept_masks(make_dataset([ImageLabels({"part": planes}, {})]))
    assert mask_of(masks, FUR, 0) == columns(0, 1)
    assert masks.pixels.tolist() == [9]
    assert masks.area.tolist() == [6]
    assert masks.train_coverage()[FUR - 1] == 9 / 12


def test_coverage_is_the_mean_over_train_images_of_the_concept() -> None:
    labels = [
        ImageLabels({"object": plane(DOG, 0)[None]}, {}),
        ImageLabels({"object": plane(DOG, 0, 1, 2)[None]}, {}),
        ImageLabels({"object": plane(DOG, 0, 1, 2, 3)[None]}, {}),  # val: does not count
        ImageLabels({"object": plane(STREET, 0)[None]}, {}),  # no dog: does not count
        ImageLabels({"part": plane(FUR, 0)[None]}, {}),  # the only fur is val: NaN
    ]
    dataset = make_dataset(labels, [False, False, True, False, True])
    coverage = collect_concept_masks(dataset).train_coverage()
    np.testing.assert_allclose(coverage, [(0.25 + 0.75) / 2, np.nan, 0.25])


def test_scenes_have_coverage_one_exactly() -> None:
    labels = [ImageLabels({}, {"scene": (STREET,)})] * 7
    masks = collect_concept_masks(make_dataset(labels))
    assert masks.train_coverage()[STREET - 1] == 1.0
    assert masks.whole_image.all()


def test_pairs_are_sorted_and_are_the_marked_ones() -> None:
    rng = np.random.default_rng(3)
    labels = [
        ImageLabels({"object": rng.choice([0, 0, 0, DOG, STREET], (1, *SIZE))}, {})
        for _ in range(9)
    ]
    labels += [ImageLabels({"part": rng.choice([0, FUR], (2, *SIZE))}, {}) for _ in range(4)]
    masks = collect_concept_masks(make_dataset(labels), workers=3)
    found = list(zip(masks.pair_concept.tolist(), masks.pair_image.tolist(), strict=True))
    expected = [
        (place, image)
        for place, number in enumerate((DOG, FUR, STREET))
        for image, marked in enumerate(labels)
        if any((planes == number).any() for planes in marked.planes.values())
    ]
    assert found == expected
    assert masks.segmentation_size == SIZE


@pytest.mark.parametrize("height", [1, 7, 8, 9, 113])
def test_unpack_inverts_packing(height: int) -> None:
    rng = np.random.default_rng(height)
    labels = [ImageLabels({"object": rng.choice([0, DOG], (1, height, 5))}, {}) for _ in range(3)]
    labels.insert(1, ImageLabels({"object": np.zeros((1, height, 5), int)}, {}))
    dataset = make_dataset(labels)
    dataset.segmentation_size = (height, 5)
    masks = collect_concept_masks(dataset)
    expected = np.stack([marked.planes["object"][0] == DOG for marked in labels])[masks.pair_image]
    np.testing.assert_array_equal(masks.unpack(slice(None)), expected)
    np.testing.assert_array_equal(masks.packed, pack_masks(expected))
    np.testing.assert_array_equal(masks.area, expected.sum(axis=(1, 2)))
    some = np.array([len(expected) - 1, 0])
    np.testing.assert_array_equal(masks.unpack(some), expected[some])


def test_select_keeps_the_pairs_of_the_chosen_concepts() -> None:
    _, masks = make_random_problem(0, concepts=4)
    chosen = ConceptCatalog((masks.catalog.concepts[1], masks.catalog.concepts[3]))
    part = masks.select(chosen)
    assert part.catalog is chosen
    for place, before in enumerate((1, 3)):
        old, new = masks.pair_concept == before, part.pair_concept == place
        np.testing.assert_array_equal(part.pair_image[new], masks.pair_image[old])
        np.testing.assert_array_equal(part.unpack(new), masks.unpack(old))
        assert part.train_coverage()[place] == masks.train_coverage()[before]
    assert len(part.pair_image) == np.isin(masks.pair_concept, [1, 3]).sum()


def test_count_images_by_split() -> None:
    _, masks = make_random_problem(1)
    train, val = masks.count_images()
    for place in range(len(masks.catalog)):
        images = masks.pair_image[masks.pair_concept == place]
        assert val[place] == masks.is_val[images].sum()
        assert train[place] == (~masks.is_val[images]).sum()


def test_unknown_category_choice() -> None:
    with pytest.raises(Net2VecError, match="'both'"):
        collect_concept_masks(make_dataset([ONLY_OBJECT]), category_choice="both")


def test_dataset_without_any_mark() -> None:
    masks = collect_concept_masks(make_dataset([ImageLabels({"object": plane(0)[None]}, {})]))
    assert len(masks.pair_image) == 0
    assert masks.unpack(slice(None)).shape == (0, *SIZE)
    assert np.isnan(masks.train_coverage()).all()


def test_camvid_alphas_equal_the_original_codes(
    shared_dir: Path, camvid_masks: ConceptMasks
) -> None:
    golden = np.load(shared_dir / "golden/net2vec_reference/block10_segmentation.npz")
    objects = [c.number for c in camvid_masks.catalog].index(12) + np.arange(11)
    np.testing.assert_array_equal(1 - camvid_masks.train_coverage()[objects], golden["alphas"])
    train, val = camvid_masks.count_images()
    np.testing.assert_array_equal(train[objects], golden["n_train"])
    np.testing.assert_array_equal(val[objects], golden["n_val"])


def test_camvid_pairs_equal_the_original_codes(
    shared_dir: Path, camvid_masks: ConceptMasks
) -> None:
    golden = np.load(shared_dir / "golden/net2vec_reference/block10_single.npz")
    present = np.zeros((1402, 25), bool)
    numbers = np.array([concept.number for concept in camvid_masks.catalog])
    present[camvid_masks.pair_image, numbers[camvid_masks.pair_concept]] = True
    np.testing.assert_array_equal(present[:, 1:], golden["image_to_label"][:, 1:])
    np.testing.assert_array_equal(camvid_masks.is_val, golden["split_is_val"])


def mask_by_definition(
    labels: ImageLabels, number: int, ordered: tuple[str, ...], choice: CategoryChoice
) -> tuple[np.ndarray, int]:
    """Mask and pixels from layers [D, Y, X], as spec 1.6 and 5.3 say."""
    resolved = {}
    for category in ordered:
        planes = labels.planes.get(category, np.zeros((0, *SIZE), int)) == number
        whole = [np.full(SIZE, n == number) for n in labels.whole_image.get(category, ())]
        if category in labels.planes or whole:
            resolved[category] = np.array([*planes, *whole], bool).reshape(-1, *SIZE)
        if whole and category not in labels.planes and choice == "first_available":
            resolved[category] = np.ones((len(whole), *SIZE), bool)
    if choice != "first_available":
        resolved = {c: layers for c, layers in resolved.items() if layers.any()}
    chosen = list(resolved.values())[: len(resolved) if choice == "union" else 1]
    mask = np.concatenate(chosen).any(axis=0)
    return mask, int(chosen[0].sum()) if len(chosen) == 1 else int(mask.sum())


@hypothesis.given(
    seed=st.integers(0, 2**32 - 1),
    choice=st.sampled_from(["union", "containing", "first_available"]),
)
def test_masks_are_those_of_the_definition(seed: int, choice: CategoryChoice) -> None:
    rng = np.random.default_rng(seed)
    labels = []
    for _ in range(6):
        planes = {
            category: rng.choice([0, 0, DOG, FUR, STREET, 99], (rng.integers(1, 4), *SIZE))
            for category in ("object", "part")
            if rng.random() < 0.7
        }
        whole = {c: (STREET,) for c in ("object", "scene") if rng.random() < 0.3}
        labels.append(ImageLabels(planes, whole))
    dataset = make_dataset(labels)
    masks = collect_concept_masks(dataset, category_choice=choice)
    order = {c.number: dictionary_order(tuple(c.categories)) for c in dataset.catalog}
    for pair, (place, image) in enumerate(
        zip(masks.pair_concept.tolist(), masks.pair_image.tolist(), strict=True)
    ):
        number = dataset.catalog.concepts[place].number
        if not set(order[number]) & {*labels[image].planes, *labels[image].whole_image}:
            continue  # marked only in a category that is not the concept's
        if choice != "first_available" and not any(
            number in labels[image].whole_image.get(c, ())
            or (labels[image].planes.get(c, np.zeros(1)) == number).any()
            for c in order[number]
        ):
            continue
        mask, pixels = mask_by_definition(labels[image], number, order[number], choice)
        np.testing.assert_array_equal(masks.unpack([pair])[0], mask)
        assert masks.pixels[pair] == pixels


def test_remarks_on_images_become_a_notice_each() -> None:
    first, second = "{count} masks are odd ({images}): a {brace}", "one more: {images}"
    plain = plane(DOG, 0)[None]
    labels = [
        ImageLabels({"object": plain}, {}, remarks=(first, second) if n == 1 else (first,))
        for n in range(13)
    ]
    dataset = make_dataset(labels)
    notices = collect_concept_masks(dataset).notices
    names = ", ".join(dataset.image_names[:10])
    assert notices == (
        f"13 masks are odd ({names} and 3 more): a {{brace}}",
        f"one more: {dataset.image_names[1]}",
    )
