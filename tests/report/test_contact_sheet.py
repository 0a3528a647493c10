"""Contact sheets show each mask where it is."""

import numpy as np
from matplotlib.colors import to_rgb

from net2vec_jax.report.contact_sheet import ConceptExamples, draw_mask, plot_contact_sheet
from net2vec_jax.report.figures import CATEGORY_STYLES

RNG = np.random.default_rng(0)
BLUE = CATEGORY_STYLES["object"][0]


def is_outline(drawn: np.ndarray, color: str = BLUE) -> np.ndarray:
    return (np.abs(drawn - np.array(to_rgb(color)) * 255) < 1).all(axis=-1)


def test_inside_is_kept_outside_is_grey_and_between_is_the_outline() -> None:
    image = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    mask = np.zeros((20, 30), bool)
    mask[5:15, 10:20] = True
    drawn = draw_mask(image, mask, BLUE)
    np.testing.assert_array_equal(drawn[10:30, 20:40], image[10:30, 20:40])
    outline = is_outline(drawn)
    assert outline[9, 20:40].all() and outline[30, 20:40].all()
    assert outline[10:30, 19].all() and outline[10:30, 40].all()
    assert outline.sum() == 2 * (20 + 20)
    outside = ~outline
    outside[10:30, 20:40] = False
    assert (drawn[outside].max(axis=-1) == drawn[outside].min(axis=-1)).all()
    assert drawn[outside].min() >= 140  # pale


def test_a_mask_of_the_whole_image_is_a_frame() -> None:
    image = RNG.integers(0, 256, (100, 100, 3), dtype=np.uint8)
    drawn = draw_mask(image, np.ones((7, 7), bool), BLUE)
    outline = is_outline(drawn)
    np.testing.assert_array_equal(drawn[1:-1, 1:-1], image[1:-1, 1:-1])
    assert outline[0].all() and outline[:, -1].all()


def make_examples(count: int, images: int, category: str = "part") -> list[ConceptExamples]:
    image, mask = np.zeros((8, 8, 3), np.uint8), np.eye(4, dtype=bool)
    return [
        ConceptExamples(
            f"concept {number}", category, "3 images", [image] * images, [mask] * images,
            [f"train, {place}%" for place in range(images)],
        )
        for number in range(count)
    ]  # fmt: skip


def test_every_concept_has_its_name_and_its_images() -> None:
    figure = plot_contact_sheet(make_examples(5, 3))
    names = [text.get_text() for text in figure.texts if text.get_fontweight() == "bold"]
    assert names == [f"concept {number}" for number in range(5)]
    assert len(figure.axes) == 15
    assert [axes.texts[0].get_text() for axes in figure.axes[:3]] == [
        "train, 0%", "train, 1%", "train, 2%",
    ]  # fmt: skip


def test_nothing_overlaps_or_leaves_the_sheet() -> None:
    for count, images in ((1, 1), (3, 1), (4, 6)):
        figure = plot_contact_sheet(make_examples(count, images))
        boxes = [axes.get_position() for axes in figure.axes]
        assert all(0 <= b.x0 < b.x1 <= 1 and 0 <= b.y0 < b.y1 <= 1 for b in boxes)
        for place, one in enumerate(boxes):
            assert not any(one.overlaps(other) for other in boxes[:place])


def test_long_names_are_shortened_and_other_categories_drawn() -> None:
    (long,) = make_examples(1, 2, "finding")
    long = ConceptExamples("x" * 200, *(getattr(long, n) for n in (
        "category", "note", "images", "masks", "captions")))  # fmt: skip
    figure = plot_contact_sheet([long])
    name = figure.texts[0].get_text()
    assert name.endswith("…") and len(name) < 50
