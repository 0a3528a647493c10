"""What is written as a Broden directory reads back the same."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.dataset import ImageLabels, LabelledImage

NAMES = {1: "red-c", 2: "dog", 300: "tail", 1197: "fur", 19: "street-s", 65535: "last"}
NUMBERS = np.array([0, 1, 2, 300, 1197, 65535])


def random_planes(rng: np.random.Generator, planes: int, size: tuple[int, int]) -> np.ndarray:
    return rng.choice(NUMBERS, (planes, *size)).astype(np.int32)


def make_examples(seed: int, size: tuple[int, int]) -> list[LabelledImage]:
    """Images with several categories, several planes, and numbers beside planes in one cell."""
    rng = np.random.default_rng(seed)
    examples = []
    for index in range(4):
        planes = {
            "part": random_planes(rng, 3, size),
            "color": random_planes(rng, 1, size),
            "object": random_planes(rng, 1 + index % 2, size),
        }
        whole = {"scene": (19,), "texture": (2, 300), "object": (1197,)}
        if index == 1:
            whole = {}
        if index == 2:
            planes.pop("part")
        image = np.full((2 * size[0], 2 * size[1], 3), (40, 120, 200), np.uint8)
        labels = ImageLabels(planes, whole)
        examples.append(
            LabelledImage(f"some/{index}.jpg", ["train", "val"][index // 2], image, labels)
        )
    return examples


def assert_equal_labels(read: ImageLabels, written: ImageLabels) -> None:
    assert set(read.planes) == set(written.planes)
    for category, planes in written.planes.items():
        assert read.planes[category].dtype == np.int32
        np.testing.assert_array_equal(read.planes[category], planes)
    assert dict(read.whole_image) == dict(written.whole_image)


@pytest.mark.parametrize("size", [(113, 113), (7, 12), (1, 1), (112, 56)])
def test_planes_and_numbers_survive_bit_for_bit(tmp_path: Path, size: tuple[int, int]) -> None:
    examples = make_examples(0, size)
    write_broden(tmp_path / "data", examples, NAMES)
    read = BrodenDataset(tmp_path / "data")
    assert read.segmentation_size == size
    assert read.image_size == (2 * size[0], 2 * size[1])
    assert read.image_names == tuple(example.name for example in examples)
    assert read.is_val.tolist() == [False, False, True, True]
    # Broden's order, whatever order the examples had.
    assert read.categories == ("color", "object", "part", "scene", "texture")
    for index, example in enumerate(examples):
        assert_equal_labels(read.labels(index), example.labels)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_any_planes_survive(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    examples = make_examples(seed, (3, 5))
    directory = tmp_path_factory.mktemp("broden") / "data"
    write_broden(directory, examples, NAMES)
    read = BrodenDataset(directory)
    for index, example in enumerate(examples):
        assert_equal_labels(read.labels(index), example.labels)


def test_images_survive_up_to_jpeg(tmp_path: Path) -> None:
    examples = make_examples(0, (16, 16))
    write_broden(tmp_path / "data", examples, NAMES)
    image = BrodenDataset(tmp_path / "data").image(0)
    assert image.dtype == np.uint8
    # A flat colour costs JPEG one rounding to YCbCr and one back.
    np.testing.assert_allclose(image.astype(int), examples[0].image.astype(int), atol=2)


def test_names_and_image_counts_are_in_the_catalog(tmp_path: Path) -> None:
    plane = np.zeros((1, 4, 4), np.int32)
    plane[0, :2] = 2
    image = np.zeros((8, 8, 3), np.uint8)
    examples = [
        LabelledImage("a.jpg", "train", image, ImageLabels({"object": plane}, {"scene": (19,)})),
        LabelledImage("b.jpg", "val", image, ImageLabels({"object": plane}, {})),
        LabelledImage("c.jpg", "val", image, ImageLabels({}, {"texture": (2,)})),
    ]
    write_broden(tmp_path / "data", examples, NAMES)
    dog, street = BrodenDataset(tmp_path / "data").catalog
    assert (dog.number, dog.name) == (2, "dog")
    assert dict(dog.categories) == {"object": 2, "texture": 1}
    # Coverage: object 2 × 1/2, texture 1 × 1; equal, so the later category.
    assert dog.primary_category == "texture"
    assert (street.number, dict(street.categories)) == (19, {"scene": 1})


def test_fingerprint_tells_directories_apart(tmp_path: Path) -> None:
    write_broden(tmp_path / "one", make_examples(0, (6, 6)), NAMES)
    write_broden(tmp_path / "same", make_examples(0, (6, 6)), NAMES)
    write_broden(tmp_path / "other", make_examples(0, (6, 6))[:3], NAMES)
    one = BrodenDataset(tmp_path / "one").fingerprint
    assert one == BrodenDataset(tmp_path / "same").fingerprint
    assert one != BrodenDataset(tmp_path / "other").fingerprint
    assert one != BrodenDataset(tmp_path / "one", categories=["color"]).fingerprint


def test_writer_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    examples = make_examples(0, (6, 6))
    with pytest.raises(Net2VecError, match="no image to write"):
        write_broden(tmp_path / "none", [], NAMES)
    with pytest.raises(Net2VecError, match=r"without a name.*300"):
        write_broden(tmp_path / "unnamed", examples, {n: NAMES[n] for n in NAMES if n != 300})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep me")
    with pytest.raises(Net2VecError, match="full has contents already"):
        write_broden(tmp_path / "full", examples, NAMES)
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep me"


def test_directory_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    def fails_midway():
        yield make_examples(0, (6, 6))[0]
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        write_broden(tmp_path / "data", fails_midway(), NAMES)
    assert not (tmp_path / "data").exists()
    write_broden(tmp_path / "data", make_examples(0, (6, 6)), NAMES)  # the rest is no obstacle
    assert len(BrodenDataset(tmp_path / "data")) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def example(name: str, plane: np.ndarray) -> LabelledImage:
    image = np.zeros((16, 16, 3), np.uint8)
    return LabelledImage(name, "train", image, ImageLabels({"object": plane[None]}, {}))


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([example("../../out.jpg", np.ones((8, 8), np.int32))], "not a path below images"),
        (
            [example(name, np.ones((8, 8), np.int32)) for name in ("a.jpg", "a.png")],
            "a.png: another image of that name",
        ),
        (
            [example("a.jpg", np.ones((8, 8), np.int32)), example("b.jpg", np.ones((4, 8)))],
            r"b.jpg: its planes are \(4, 8\)",
        ),
        ([example("a.jpg", np.full((8, 8), 2**16))], "a.jpg: concept numbers of a plane"),
    ],
)
def test_writer_names_the_image_it_refuses(
    tmp_path: Path, examples: list[LabelledImage], message: str
) -> None:
    with pytest.raises(Net2VecError, match=message):
        write_broden(tmp_path / "inner" / "data", examples, NAMES)
    assert not (tmp_path / "inner" / "data").exists()
    assert not list(tmp_path.glob("*.jpg"))


def test_an_image_with_an_empty_plane_is_kept(tmp_path: Path) -> None:
    write_broden(tmp_path / "data", [example("a.jpg", np.zeros((8, 8), np.int32))], NAMES)
    dataset = BrodenDataset(tmp_path / "data")
    assert len(dataset) == 1
    assert not dataset.labels(0).planes["object"].any()
