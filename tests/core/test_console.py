"""What scripts say: progress where it is named, lines beside it, tables without markup."""

from __future__ import annotations

import dataclasses

import pytest

from net2vec_jax.core.console import (
    find_flags,
    open_bar,
    open_console,
    run_script,
    say,
    tabulate,
    track,
)
from net2vec_jax.core.errors import Net2VecError


@dataclasses.dataclass(frozen=True)
class Flags:
    """Flags of a script.

    Attributes:
      count: how many.
    """

    count: int = 1


def main(flags: Flags) -> None:
    if flags.count < 1:
        raise Net2VecError(f"--count must be at least 1, not {flags.count}")
    print("count", flags.count)


def test_a_script_takes_the_flags_of_its_main(capsys: pytest.CaptureFixture) -> None:
    assert find_flags(main) is Flags
    run_script(main, arguments=["--count", "3"])
    assert capsys.readouterr().out == "count 3\n"
    with pytest.raises(SystemExit) as stopped:
        run_script(main, arguments=["--count", "0"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: --count must be at least 1, not 0\n"


def test_help_is_of_the_modules_first_line(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_script(main, arguments=["--help"], prog="net2vec main")
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith("usage: net2vec main ") and "how many" in printed
    assert "What scripts say: progress where it is named" in printed


def test_progress_passes_on_all_items(capsys: pytest.CaptureFixture) -> None:
    assert list(track(iter("abc"), None)) == ["a", "b", "c"]
    with open_bar(None, total=3) as bar:
        bar.update(3)
    assert capsys.readouterr() == ("", "")
    assert list(track(iter("abc"), "letters", unit="letter", total=3)) == ["a", "b", "c"]
    with open_bar("letters", total=2, delay=0) as bar:
        say("a line beside the bar")
        bar.update(2)
    out, shown = capsys.readouterr()
    assert out == "" and "letters" in shown and "a line beside the bar\n" in shown


def test_names_in_tables_are_no_markup(capsys: pytest.CaptureFixture) -> None:
    open_console().print(tabulate("[b]", ("name", "[red]"), [("[/x]", "12")]))
    lines = capsys.readouterr().out.splitlines()
    assert "[b]" in lines[0] and any("[/x]" in line and "12" in line for line in lines)
