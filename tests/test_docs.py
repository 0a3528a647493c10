"""What docs/ shows runs as it stands there: files are written, commands are run, in their order."""

from __future__ import annotations

import importlib.util
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import import_script, is_script
from PIL import Image

import net2vec_jax as n2v
from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.coco.dataset import CocoDataset, CocoPart
from net2vec_jax.data.dataset import ImageLabels, LabelledImage
from net2vec_jax.data.folder.dataset import FolderDataset
from net2vec_jax.data.masks import collect_concept_masks
from net2vec_jax.data.scenes.draw import SCENE_CONCEPTS, draw_scenes

OWN_MODELS = Path(__file__).resolve().parents[1] / "docs" / "own_models.md"
TFDS = OWN_MODELS.with_name("tfds.md")
MODEL = re.compile(
    r"^```python\n# (\w+\.py)\n(.*?)^```\n.*?^```\n(python -m .*?)^```", re.DOTALL | re.M
)


def write_dataset(directory: Path) -> None:
    rng = np.random.default_rng(0)
    plane = np.zeros((1, 112, 112), np.int32)
    plane[0, :40] = 1
    labels = ImageLabels({"object": plane}, {})
    examples = [
        LabelledImage(
            f"{index}.jpg", split, rng.integers(0, 256, (224, 224, 3), dtype=np.uint8), labels
        )
        for index, split in enumerate(["train", "train", "val"])
    ]
    write_broden(directory, examples, {1: "top"})


@pytest.mark.parametrize(
    ("name", "package"),
    [("nnx", "flax"), ("linen", "flax"), ("function", "jax"), ("equinox", "equinox"),
     ("equimo", "equimo"), ("haiku", "haiku"), ("keras", "keras"), ("torch", "torch"),
     ("transformers", "transformers"), ("array", "numpy")],
)  # fmt: skip
def test_own_models(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    write_dataset(tmp_path / "my_dataset")
    found = MODEL.findall(OWN_MODELS.read_text(encoding="utf-8"))
    file, text, command = next(model for model in found if model[0] == f"my_{name}.py")
    Path(file).write_text(text, encoding="utf-8")
    assert len(re.findall(r"\S.*", text)) <= 20
    if "def make_network" not in text:
        exec(compile(text, file, "exec"), {})
    python, _, module, *arguments = shlex.split(command)
    assert python == "python"
    script = import_script(module)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    script.run_script(script.main)
    layers = arguments[arguments.index("--layer") + 1 : -2] if "--layer" in arguments else []
    folders = layers if len(layers) > 1 else [""]
    results = {path.parent for path in Path("runs").rglob("segmentation.csv")}
    assert results == {Path("runs", name, folder) for folder in folders}
    assert f"results are in runs/{name}" in capsys.readouterr().out


OWN_IMAGES = OWN_MODELS.with_name("own_images.md")
NAMED_BLOCK = re.compile(r'^```(\w*)(?: title="(\S*)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


def test_own_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = NAMED_BLOCK.findall(OWN_IMAGES.read_text(encoding="utf-8"))
    assert [language for language, _, _ in blocks] == [
        "", "python", "csv", "", "", "csv", "csv", "python", "python", ""
    ]  # fmt: skip
    for language, name, content in blocks:
        if name:
            Path(name).write_text(content, encoding="utf-8")
            if language == "python":
                exec(compile(content, name, "exec"), {})
        elif content.startswith("python -m experiments."):
            _, _, module, *arguments = shlex.split(content)
            monkeypatch.setattr(sys, "argv", [module, *arguments])
            script = import_script(module)
            script.run_script(script.main)
        else:  # the tree: what it names is there at the end
            tree = re.findall(r"^    ([\w.]+)", content, re.MULTILINE)
            assert len(tree) == 5
    assert all(Path("my_folder", name).exists() for name in tree)
    printed = capsys.readouterr().out
    assert "mug 8 4\n" in printed and "bright-s 2 2\n" in printed
    assert "results are in runs/mugs" in printed
    assert sorted(path.as_posix() for path in Path().glob("inspected*/*.png")) == [
        "inspected/contact_sheet_object.png", "inspected/contact_sheet_part.png",
        "inspected_coco/contact_sheet_object.png",
    ]  # fmt: skip
    counts = Path("inspected_coco/concept_counts.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in counts[1:]] == ["mug", "handle", "table"]


def test_coco_and_masks_of_the_example_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _, name, content in NAMED_BLOCK.findall(OWN_IMAGES.read_text(encoding="utf-8")):
        if name.startswith("make") or name.endswith("concepts.csv"):
            Path(name).write_text(content, encoding="utf-8")
        if name.startswith("make"):
            exec(compile(content, name, "exec"), {})
    folder = collect_concept_masks(FolderDataset("my_folder"))
    dataset = CocoDataset([CocoPart(Path("mugs.json"), Path("my_folder/images"))])
    coco = collect_concept_masks(dataset)
    np.testing.assert_array_equal(coco.packed, folder.packed)
    np.testing.assert_array_equal(coco.pair_image, folder.pair_image)
    np.testing.assert_array_equal(coco.is_val, folder.is_val)


def test_tfds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    write_dataset(tmp_path / "my_dataset")
    # Blocks marked sh need TensorFlow.
    blocks = re.findall(r"```(\w*)\n(.*?)```", TFDS.read_text(encoding="utf-8"), re.DOTALL)
    blocks = [(kind, text) for kind, text in blocks if kind != "sh"]
    assert [kind for kind, _ in blocks] == ["", "python"]
    for line in blocks[0][1].splitlines():
        python, _, module, *arguments = shlex.split(line)
        assert python == "python"
        script = import_script(module)
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        script.run_script(script.main)
    assert (tmp_path / "tfds/scenes/images_20/1.0.0/metadata.json").is_file()
    assert len(list(Path("runs/tfds").rglob("segmentation.csv"))) == 1
    # In a process of its own: TFDS looks at its variable when it is imported.
    command = [sys.executable, "-c", blocks[1][1]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "2 1.jpg (224, 224, 3)\n"


def test_broden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    page = OWN_MODELS.with_name("broden.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "broden.md", "exec"), {})
    # two concepts, 112 filters in block10
    assert capsys.readouterr().out.splitlines()[-1] == "(2, 112)"


def test_face_tutorial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The blocks share one namespace, as a notebook's do."""
    monkeypatch.chdir(tmp_path)
    names = {number: concept for number, (concept, _) in SCENE_CONCEPTS.items()}
    write_broden(tmp_path / "scenes", draw_scenes(40), names)  # instead of 800
    page = OWN_MODELS.with_name("face_tutorial.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    namespace: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"face_tutorial.md, block {number}", "exec"), namespace)
    assert "40 images with" in capsys.readouterr().out
    assert (tmp_path / "runs/scenes/report.html").is_file()


ROOT = OWN_MODELS.parents[1]


def test_every_script_that_the_pages_name_exists() -> None:
    for page in OWN_MODELS.parent.glob("*.md"):
        for name in re.findall(r"experiments\.(\w+)", page.read_text(encoding="utf-8")):
            assert is_script(ROOT, name), f"{page.name}: {name}"


def test_numbers_of_the_original_s_behaviour_that_are_cited_can_be_looked_up() -> None:
    """A docstring cites "behaviour 5.4", "Q-8" or "B-2"; the page has an anchor for each."""
    page = OWN_MODELS.with_name("reference_behaviour.md").read_text(encoding="utf-8")
    anchors = set(re.findall(r"\{ #(\S+) \}|id=\"([QB]-\d+)\"", page))
    anchors = {one or other for one, other in anchors}
    cite = r"(?:[Ss]pec|[Bb]ehaviour),?(?: section)? "
    cited = re.compile(rf"{cite}(\d+(?:\.\d+)?|A\.\d)|\b([QB]-\d+)")
    missing = [
        f"{path.relative_to(ROOT)}: {section or quirk}"
        for folder in ("net2vec_jax", "experiments", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for section, quirk in cited.findall(path.read_text(encoding="utf-8"))
        if (section or quirk) not in anchors
    ]
    assert not missing


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages == set(re.findall(r"[\w/]+\.md", navigation))


def test_the_api_shows_every_package_and_every_name_of_the_face() -> None:
    shown = {
        name
        for page in (ROOT / "docs" / "api").glob("*.md")
        for name in re.findall(r"^::: net2vec_jax\.(\S+)$", page.read_text("utf-8"), re.MULTILINE)
    }
    folders = {path.parent.name for path in (ROOT / "net2vec_jax").glob("*/__init__.py")}
    stub = (ROOT / "net2vec_jax" / "__init__.pyi").read_text(encoding="utf-8")
    face = re.findall(r"^from \.([\w.]+) import (\w+) as", stub, re.MULTILINE)
    assert shown == folders - {"core"} | {f"{module}.{name}" for module, name in face}


def test_every_public_name_of_the_face_has_a_docstring_with_an_example() -> None:
    lacking = []
    for name in n2v.__all__:
        thing = getattr(n2v, name)
        text = inspect.getdoc(thing) or ""
        # Packages, presets and tables are no calls; classes are made by the functions.
        needs_example = inspect.isfunction(thing)
        is_table = name == "NETWORKS"
        if not (text or is_table) or (needs_example and ">>> " not in text):
            lacking.append(name)
    assert not lacking


def test_tiny_darknet_names_what_photographs_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared_dir: Path
) -> None:
    files = shared_dir / "weights" / "darknet_tiny_tfjs"
    photographs = shared_dir / "data" / "msrc_v2" / "images"
    if not (files.is_dir() and photographs.is_dir()):
        pytest.skip("needs Tiny Darknet's files and the photographs of MSRC v2")
    monkeypatch.chdir(tmp_path)
    Path(files.name).symlink_to(files)
    text = OWN_MODELS.read_text(encoding="utf-8").split("# tiny_darknet.py\n")[1].split("```")[0]
    assert len(text.splitlines()) < 60
    code: dict = {}
    exec(compile(text, "tiny_darknet.py", "exec"), code)
    network = code["make_network"]()
    labels = (files / "labels_in_darknet_order.txt").read_text().splitlines()
    expected = {"12_10_s.jpg": "drake", "13_7_s.jpg": "bookcase", "15_5_s.jpg": "tabby"}
    images = [
        np.asarray(Image.open(photographs / photograph).convert("RGB").resize((224, 224)))
        for photograph in expected
    ]
    with jax.numpy_rank_promotion("allow"):
        found = network.network.activations(network.preprocessing()(np.stack(images)), ["logits"])
    for label, logits in zip(expected.values(), np.asarray(found["logits"]), strict=True):
        chances = np.exp(logits) / np.exp(logits).sum()
        assert labels[chances.argmax()] == label
        assert chances.max() > 0.5


def test_a_sparse_autoencoder_is_trained_and_probed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "data")
    page = OWN_MODELS.with_name("sae.md").read_text(encoding="utf-8")
    text = re.findall(r'^```python title="train_sae.py"\n(.*?)^```', page, re.DOTALL | re.M)[0]
    assert len(re.findall(r"\S.*", text)) <= 40
    for long, short in (('"scenes"', '"data"'), ("1024, 16, 2000", "64, 4, 3")):
        assert long in text
        text = text.replace(long, short)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):  # as usual
        exec(compile(text, "train_sae.py", "exec"), {})
    command = re.findall(r"^```\npython -m (.*?)^```", page.replace("\\\n", ""), re.DOTALL | re.M)[
        0
    ]
    module, *arguments = shlex.split(command.replace("scenes", "data"))
    script = import_script(module)
    monkeypatch.setattr(sys, "argv", [module, *arguments, "--epochs", "1"])
    script.run_script(script.main)
    results = {path.parent.name for path in Path("runs").rglob("segmentation.csv")}
    assert results == {"block10", "block10.sae"}
