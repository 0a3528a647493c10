"""`net2vec NAME` and `python -m experiments.NAME` are the same commands, described once."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from net2vec_jax import __version__, cli
from net2vec_jax.core.console import find_flags
from net2vec_jax.data.open import open_scenes

ROOT = Path(__file__).resolve().parents[1]
MEASURE = {"cost_model", "forward_speed"}
"""Scripts that need torch or measure time: of a clone only, as the benchmark."""
LONGEST = 60


def list_scripts() -> dict[str, str]:
    """Text of every script."""
    paths = (ROOT / "experiments").glob("[a-z]*.py")
    return {path.stem: path.read_text(encoding="utf-8") for path in paths}


def call(capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str, str]:
    """Exit status, output and errors of a call."""
    try:
        cli.main(arguments)
        status = 0
    except SystemExit as stopped:
        status = int(stopped.code or 0)
    return status, *capsys.readouterr()


def test_every_script_is_a_command_and_a_header() -> None:
    scripts = list_scripts()
    assert set(scripts) - MEASURE == set(cli.list_commands())
    for name, text in scripts.items():
        assert len(text.splitlines()) <= LONGEST, name
        assert f"python -m experiments.{name} " in text
        module = importlib.import_module(f"experiments.{name}") if name not in MEASURE else None
        if module is not None:
            assert module.main is importlib.import_module(f"net2vec_jax.studies.{name}").main
            assert find_flags(module.main).__doc__


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_commands_are_listed_with_a_line_each(
    capsys: pytest.CaptureFixture, arguments: tuple[str, ...]
) -> None:
    status, printed, _ = call(capsys, *arguments)
    assert status == 0
    for name in cli.list_commands():
        (line,) = (line for line in printed.splitlines() if line.startswith(f"  {name} "))
        described = importlib.import_module(f"net2vec_jax.studies.{name}").__doc__
        assert described and line.split(maxsplit=1)[1] == described.split("\n")[0]


def test_a_command_has_its_flags_and_its_name(capsys: pytest.CaptureFixture) -> None:
    status, printed, _ = call(capsys, "port-weights", "--help")
    assert status == 0
    assert printed.startswith("usage: net2vec port_weights ")
    assert cli.describe_command("port_weights") in " ".join(printed.split())
    assert "--weights" in printed and "name of published weights" in printed


def test_a_command_runs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = str(tmp_path / "out")
    open_scenes(tmp_path / "data", images=12)
    flags = ("--dataset", str(tmp_path / "data"), "--images", "0", "--concepts", "sky")
    status, printed, _ = call(capsys, "inspect_data", *flags, "--out", out)
    assert status == 0 and "sky" in printed
    assert (tmp_path / "out" / "concept_counts.csv").is_file()


def test_an_unknown_command_is_one_error_with_the_nearest_names(
    capsys: pytest.CaptureFixture,
) -> None:
    status, printed, error = call(capsys, "segmentatoin", "--out", "x")
    assert (status, printed) == (2, "")
    assert error.startswith("error: unknown command 'segmentatoin'")
    assert "'segmentation'" in error and error.count("\n") == 1


def test_bad_input_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    status, _, error = call(capsys, "pictures", "--run", str(tmp_path / "absent"))
    assert status == 2
    assert error.startswith("error: ") and "absent" in error and error.count("\n") == 1


def test_the_version_is_told(capsys: pytest.CaptureFixture) -> None:
    assert call(capsys, "--version") == (0, f"net2vec_jax {__version__}\n", "")


def test_the_package_installs_it() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["project"]["scripts"] == {"net2vec": "net2vec_jax.cli:main"}


def test_help_is_at_hand_without_jax() -> None:
    script = (
        "import sys; from net2vec_jax import cli; cli.main(['--help']); print('jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"
