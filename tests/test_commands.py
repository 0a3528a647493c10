"""Every command that README.md and docs/ show is one that its script accepts."""

from __future__ import annotations

import re
import shlex
import typing
from pathlib import Path

import pytest
import tyro
from helpers import import_script

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"python -m (experiments(?:\.\w+)+)((?:\\\n|[^\n`|&#])*)")


def find_commands() -> list[tuple[str, str, tuple[str, ...]]]:
    """(page, script, arguments) of every command; optional flags are written in brackets."""
    found = []
    for page in PAGES:
        for script, rest in COMMAND.findall(page.read_text(encoding="utf-8")):
            arguments = shlex.split(re.sub(r"\\\n|[\[\]]", " ", rest))
            if "…" not in arguments and script != "experiments.NAME":
                found.append((page.name, script, tuple(arguments)))
    return found


@pytest.mark.parametrize(
    ("page", "script", "arguments"), find_commands(), ids=lambda value: str(value)[:60]
)
def test_commands_are_accepted(page: str, script: str, arguments: tuple[str, ...]) -> None:
    module = import_script(script)
    flags = next(iter(typing.get_type_hints(module.main).values()))
    tyro.cli(flags, args=list(arguments))


def test_there_are_commands() -> None:
    pages = {page for page, _, _ in find_commands()}
    assert {"README.md", "own_images.md", "performance.md", "tfds.md", "tutorial.md"} <= pages
    assert "visualisation.md" in pages
