"""What the README shows runs as it stands there."""

import re
from pathlib import Path

import pytest
from helpers import is_script

README = Path(__file__).resolve().parents[1] / "README.md"


def test_examples_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, str(README), "exec"), {})
    # two concepts, 112 filters in block10
    assert capsys.readouterr().out.splitlines()[-1] == "(2, 112)"


def test_every_script_that_it_names_exists() -> None:
    names = set(re.findall(r"experiments\.(\w+)", README.read_text(encoding="utf-8")))
    assert names
    for name in names:
        assert is_script(README.parent, name), name
