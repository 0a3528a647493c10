"""Tables, COCO's JSON and images of any contents are read, or refused with our own error."""

from __future__ import annotations

import io
import json
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from coco_examples import change, make_annotations, make_panoptic, write
from fuzz import damaged, fuzz_settings, read_or_refuse
from PIL import Image

from net2vec_jax.data.bad_images import leave_out_bad_images
from net2vec_jax.data.broden.dataset import BrodenDataset
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.coco.dataset import CocoDataset, CocoPart
from net2vec_jax.data.dataset import ImageLabels, LabelledImage
from net2vec_jax.data.images.files import read_image, read_label_plane
from net2vec_jax.data.masks import collect_concept_masks

CELLS = st.one_of(
    st.sampled_from(
        [
            *(
                "",
                "0",
                "1",
                "2",
                "7",
                "8",
                "65535",
                "65536",
                "-1",
                "1e3",
                "12",
                "10",
                "6",
                "5",
                "٣",
            ),
            *("99999999999999999999", "nan", "inf", "train", "val", "test", "x/0.jpg", "x/1.jpg"),
            *("x/0_object.png", "x/1_object.png;7", "7;7", ";;", "../x", "/etc/passwd", "x", "."),
            *(
                "object(3)",
                "7.0",
                "nan",
                "object(3);scene(1)",
                "object()",
                "(3)",
                "object",
                "a(b)(3)",
                "dog",
            ),
            *("\0", "\r", '"', '""', "\n", "\ufeff", "a,b", "x/" * 600, "(" * 300, " " * 30_000),
            *(f"object({'9' * 5000})", " " * 30_000 + "(", "x" * 300, "900000", "C:/x", "e\0"),
        ]
    ),
    st.text(max_size=12),
    st.integers().map(str),
)
INDEX_COLUMNS = ["image", "split", "ih", "iw", "sh", "sw", "object", "scene"]
LABEL_COLUMNS = ["number", "name", "category", "frequency", "coverage", "syns"]
TOKENS = [
    *(
        token.encode()
        for token in (",", '"', '","', "\n", "\r\n", ";", "(", ")", "\ufeff", "..", "/")
    ),
    *(b"object(", b"x/0.jpg,train,12,10,6,5,x/0_object.png,7\n", b"image,split,ih,iw,sh,sw\n"),
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sound images."""
    rng = np.random.default_rng(0)
    examples = [
        LabelledImage(
            f"x/{index}.jpg",
            split,
            rng.integers(0, 256, (12, 10, 3)).astype(np.uint8),
            ImageLabels(
                {"object": rng.integers(0, 4, (1, 6, 5)).astype(np.int32)}, {"scene": (7,)}
            ),
        )
        for index, split in enumerate(["train", "train", "val"])
    ]
    directory = tmp_path_factory.mktemp("fuzz") / "broden"
    write_broden(directory, examples, {1: "dog", 2: "cat", 3: "cow", 7: "street-s"})
    return directory


def quote(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if set(cell) & set(',"\r\n') else cell


@st.composite
def tables(draw: st.DrawFn, columns: list[str], row: list[str]) -> bytes:
    """A table of mostly sound rows, as a spreadsheet might write it."""
    header = draw(
        st.one_of(
            st.just(columns),
            st.permutations(columns),
            st.lists(st.one_of(st.sampled_from(columns), CELLS), max_size=10),
        )
    )
    lines = [header]
    for _ in range(draw(st.integers(0, 4))):
        cells = list(row)
        for _ in range(draw(st.integers(0, 3))):
            cells[draw(st.integers(0, len(cells) - 1))] = draw(CELLS)
        lines.append(cells[: draw(st.integers(len(cells) - 1, len(cells)))])
    quoting = draw(st.sampled_from([quote, quote, quote, str]))
    ending = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    text = ending.join(",".join(map(quoting, line)) for line in lines) + ending
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    return text.encode(encoding, "replace")


def read_all(directory: Path) -> None:
    """What a run reads."""
    dataset = BrodenDataset(directory)
    for index in range(len(dataset)):
        dataset.image(index)
    collect_concept_masks(dataset, workers=1)


INDEX_ROW = ["x/1.jpg", "train", "12", "10", "6", "5", "x/1_object.png", "7"]
LABEL_ROW = ["2", "cat", "object(3)", "3", "0.9", ""]


def fuzz_table(directory: Path, name: str, contents: bytes) -> bool:
    path = directory / name
    sound = path.read_bytes()
    try:
        path.write_bytes(contents)
        return read_or_refuse(lambda: read_all(directory))
    finally:
        path.write_bytes(sound)


@pytest.mark.parametrize("name", ["index.csv", "label.csv", "c_object.csv", "category.csv"])
@fuzz_settings
@hypothesis.given(data=st.data())
def test_any_table_is_read_or_refused(directory: Path, name: str, data: st.DataObject) -> None:
    columns, row = (INDEX_COLUMNS, INDEX_ROW) if name == "index.csv" else (LABEL_COLUMNS, LABEL_ROW)
    sound = (directory / name).read_bytes()
    contents = data.draw(
        st.one_of(
            tables(columns, row),
            damaged([sound], TOKENS),
            st.binary(max_size=200),
            st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
        )
    )
    fuzz_table(directory, name, contents)


def test_sound_tables_are_read_and_others_refused(directory: Path) -> None:
    """That the law above is not kept by refusing everything."""
    for name in ("index.csv", "label.csv"):
        assert fuzz_table(directory, name, (directory / name).read_bytes())
        assert not fuzz_table(directory, name, b"no table")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["x.jpg", "x.png", "../x", "a\\b", "\ud800", "b'0'", 10**400, 3, 10, 40, 60]),
    lambda inner: st.lists(inner, max_size=7)
    | st.dictionaries(
        st.sampled_from(["id", "image_id", "category_id", "file_name", "height", "width", "name",
                         "segmentation", "size", "counts", "segments_info", "coco_url"]),
        inner, max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip
PLACES = [
    *(("images",), ("categories",), ("annotations",), ("images", 0), ("categories", 0)),
    *(("images", 0, key) for key in ("id", "file_name", "coco_url", "height", "width")),
    *(("categories", 0, key) for key in ("id", "name")),
    *(("annotations", 0), ("annotations", 1)),
    *(("annotations", 0, key) for key in ("id", "image_id", "category_id", "file_name")),
    *(("annotations", 0, key) for key in ("segmentation", "segments_info")),
]
SEGMENTATION = ("annotations", 0, "segmentation")
REGIONS = [
    *((*SEGMENTATION, 0), (*SEGMENTATION, 0, 3), ("annotations", 3, "segmentation", "counts")),
    *(("annotations", 3, "segmentation", "size"), ("annotations", 4, "segmentation", "counts", 1)),
]
SEGMENTS = [
    *(("annotations", 0, "segments_info", 0), ("annotations", 0, "segments_info", 0, "id")),
    ("annotations", 0, "segments_info", 1, "category_id"),
]
COCO_TOKENS = [
    token.encode()
    for token in (
        *("null", "[]", "{}", "[[]]", '"segmentation":', '"counts":', '"segments_info":', '"id":'),
        *("NaN", "-1", "1e999", "0.5", '"', ",", "[", "]", "}", "\\ud800", "\ufeff", "9" * 400),
    )
]


@pytest.fixture(scope="module", params=["instances", "panoptic"])
def coco(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CocoPart:
    """Three sound images."""
    root = tmp_path_factory.mktemp("coco")
    if request.param == "instances":
        return write(root, make_annotations())
    return write(root, make_panoptic(root)[0], "panoptic.json")


def read_all_of_coco(part: CocoPart, *, skip: bool) -> None:
    """What a run reads."""
    dataset = CocoDataset([part], resolution=16, allow_missing=skip, skip_bad_annotations=skip)
    if skip:
        dataset = leave_out_bad_images(dataset)
    collect_concept_masks(dataset, workers=1)


@fuzz_settings
@hypothesis.given(data=st.data())
def test_any_coco_file_is_read_or_refused(coco: CocoPart, data: st.DataObject) -> None:
    sound = coco.annotations.read_bytes()
    content = json.loads(sound)
    is_panoptic = coco.annotations.stem == "panoptic"
    if data.draw(st.booleans()):
        place = data.draw(st.sampled_from([*PLACES, *(SEGMENTS if is_panoptic else REGIONS)]))
        change(place, data.draw(JSON))(content)
        new = json.dumps(content).encode()
    else:
        new = data.draw(damaged([sound], COCO_TOKENS))
    skip = data.draw(st.booleans())
    try:
        coco.annotations.write_bytes(new)
        read_or_refuse(lambda: read_all_of_coco(coco, skip=skip))
    finally:
        coco.annotations.write_bytes(sound)


def test_a_sound_coco_file_is_read(coco: CocoPart) -> None:
    """That the law above is not kept by refusing everything."""
    for skip in (False, True):
        assert read_or_refuse(lambda skip=skip: read_all_of_coco(coco, skip=skip))


def encode(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind)
    return file.getvalue()


PIXELS = np.random.default_rng(0).integers(0, 4, (6, 5, 3)).astype(np.uint8)
IMAGES = [
    *(encode(Image.fromarray(PIXELS), kind) for kind in ("JPEG", "PNG", "TIFF", "WEBP", "PPM")),
    *(encode(Image.fromarray(PIXELS).convert(mode), "PNG") for mode in ("L", "P", "1", "RGBA")),
    encode(Image.fromarray(PIXELS).convert("CMYK"), "TIFF"),
]


@fuzz_settings
@hypothesis.given(contents=damaged(IMAGES, [b"IHDR", b"IDAT", b"tRNS", b"zTXt", b"\xff\xd8"]))
def test_any_image_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, contents: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed image"
    path.write_bytes(contents)
    for read in (read_image, read_label_plane):
        read_or_refuse(lambda read=read: read(path, (6, 5), source="index.csv line 2"))
