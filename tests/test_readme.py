"""What the README shows runs as it stands there, and it stays short."""

import re
from pathlib import Path

import pytest
from helpers import is_script

from net2vec_jax.data.broden.writer import write_broden
from net2vec_jax.data.scenes.draw import SCENE_CONCEPTS, draw_scenes

README = Path(__file__).resolve().parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
MOST_LINES = 150


def test_the_library_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    # A folder of that name is taken instead of the 800 built-in scenes.
    names = {number: concept for number, (concept, _) in SCENE_CONCEPTS.items()}
    write_broden(tmp_path / "scenes", draw_scenes(40), names)
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(block, str(README), "exec"), {})
    assert "best_filter" in capsys.readouterr().out
    assert (tmp_path / "runs/scenes/report.html").is_file()


def test_every_script_that_it_names_exists() -> None:
    names = set(re.findall(r"experiments\.(\w+)", TEXT)) - {"NAME"}
    names |= set(re.findall(r"^\| `(\w+)` \| ", TEXT, re.MULTILINE))
    assert len(names) == 24
    for name in names:
        assert is_script(README.parent, name), name


def test_every_file_that_it_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)", TEXT)
    assert links
    for link in links:
        assert (README.parent / link).exists(), link


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) <= MOST_LINES
