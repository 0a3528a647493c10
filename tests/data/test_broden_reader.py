"""Which images, categories and concepts a Broden directory has."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.masks import ConceptMasks

HEADER = "image,split,ih,iw,sh,sw,object,part,scene\n"


def write_by_hand(directory: Path) -> None:
    """A directory as Broden's own builder would write it, with a row that has no data."""
    (directory / "images").mkdir(parents=True)
    rows = [
        "a.jpg,train,4,4,2,2,a_object.png,a_part_1.png;a_part_2.png;5,\n",
        "b.jpg,train,4,4,2,2,,,\n",
        "c.jpg,val,4,4,2,2,,,6;7\n",
        "d.jpg,val,4,4,2,2,d_object.png,,\n",
    ]
    (directory / "index.csv").write_text(HEADER + "".join(rows))
    labels = [
        "0,,,0,0,\n",
        "1,dog,object(2);part(1),3,1,hound\n",
        "5,tail,part(1),1,1,\n",
        "6,street-s,scene(1),1,1,\n",
        "7,road-s,scene(1),1,1,\n",
        "9,ghost,texture(4),4,4,\n",
    ]
    (directory / "label.csv").write_text(
        "number,name,category,frequency,coverage,syns\n" + "".join(labels)
    )
    for name in "abcd":
        Image.new("RGB", (4, 4)).save(directory / "images" / f"{name}.jpg")
    for name, number in (("a_object", 1), ("a_part_1", 5), ("a_part_2", 1), ("d_object", 1)):
        pixels = np.zeros((2, 2, 3), np.uint8)
        pixels[0, 0] = (number, 0, 99)  # blue is not read
        Image.fromarray(pixels).save(directory / "images" / f"{name}.png")


def test_rows_without_data_are_dropped(tmp_path: Path) -> None:
    write_by_hand(tmp_path / "broden")
    dataset = BrodenDataset(tmp_path / "broden")
    assert dataset.name == "broden"
    assert dataset.image_names == ("a.jpg", "c.jpg", "d.jpg")
    assert dataset.is_val.tolist() == [False, True, True]
    only_parts = BrodenDataset(tmp_path / "broden", categories=["part"])
    assert only_parts.image_names == ("a.jpg",)


def test_selected_categories_are_all_that_is_seen(tmp_path: Path) -> None:
    write_by_hand(tmp_path / "broden")
    dataset = BrodenDataset(tmp_path / "broden", categories=["scene", "object"])
    assert dataset.categories == ("object", "scene")  # in the order of the index
    assert [concept.number for concept in dataset.catalog] == [1, 6, 7]
    assert dict(dataset.catalog.by_number[1].categories) == {"object": 2}
    labels = dataset.labels(0)
    assert set(labels.planes) == {"object"}
    assert not labels.whole_image


def test_a_cell_may_hold_planes_and_numbers(tmp_path: Path) -> None:
    write_by_hand(tmp_path / "broden")
    dataset = BrodenDataset(tmp_path / "broden")
    labels = dataset.labels(0)
    assert labels.planes["part"].tolist() == [[[5, 0], [0, 0]], [[1, 0], [0, 0]]]
    assert labels.planes["object"].tolist() == [[[1, 0], [0, 0]]]
    assert dict(labels.whole_image) == {"part": (5,)}
    assert dict(dataset.labels(1).whole_image) == {"scene": (6, 7)}


def test_background_and_absent_categories_are_no_concepts(tmp_path: Path) -> None:
    write_by_hand(tmp_path / "broden")
    dataset = BrodenDataset(tmp_path / "broden")
    assert [c.name for c in dataset.catalog] == ["dog", "tail", "street-s", "road-s"]
    (notice,) = dataset.notices
    assert "1 labels" in notice and "(texture)" in notice and "ghost" in notice


@pytest.mark.parametrize(
    ("object_coverage", "part_coverage", "primary"),
    [(2.0, 1.0, "object"), (1.0, 2.0, "part"), (1.0, 1.0, "part"), (None, None, "part")],
)
def test_primary_category_covers_most_and_ties_go_to_the_later(
    tmp_path: Path, object_coverage: float | None, part_coverage: float | None, primary: str
) -> None:
    write_by_hand(tmp_path / "broden")
    header = "code,number,name,frequency,coverage\n"
    for category, coverage in (("object", object_coverage), ("part", part_coverage)):
        if coverage is not None:
            table = tmp_path / "broden" / f"c_{category}.csv"
            table.write_text(f"{header}1,1,dog,1,{coverage}\n")
    catalog = BrodenDataset(tmp_path / "broden").catalog
    assert catalog.by_number[1].primary_category == primary


def test_concepts_are_selected_by_name_or_number(tmp_path: Path) -> None:
    write_by_hand(tmp_path / "broden")
    catalog = BrodenDataset(tmp_path / "broden").catalog
    assert [c.name for c in catalog.select(["7", "dog"])] == ["dog", "road-s"]
    with pytest.raises(Net2VecError, match="unknown concept 'stret-s'; did you mean 'street-s'"):
        catalog.select(["stret-s"])


def test_camvid_has_the_counts_of_its_tables(
    camvid: BrodenDataset, camvid_masks: ConceptMasks
) -> None:
    assert len(camvid) == 1402
    assert (~camvid.is_val).sum() == 734
    assert not camvid.is_val[:734].any()
    assert camvid.categories == ("color", "object", "scene")
    assert camvid.segmentation_size == (112, 112)
    assert [concept.number for concept in camvid.catalog] == list(range(1, 25))
    assert camvid.catalog.by_number[20].name == "car"
    images = np.add(*camvid_masks.count_images())
    # label.csv was counted on the originals: a concept may lose its last pixel in resizing.
    for concept, count in zip(camvid.catalog, images, strict=True):
        assert count <= sum(concept.categories.values())
        assert count >= 0.95 * sum(concept.categories.values())
