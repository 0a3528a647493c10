"""`net2vec NAME flags…`: the commands of an installed package.

A command is the function `main` of net2vec_jax.studies.NAME, which takes a dataclass of flags; the
first line of the module's docstring describes it. `python -m experiments.NAME` runs the same.
"""

from __future__ import annotations

import ast
import importlib
import importlib.resources
import sys
from collections.abc import Sequence

from net2vec_jax import __version__
from net2vec_jax.core.errors import unknown_name_error

COMMANDS = {
    "Start": ("quickstart",),
    "Prepare": ("inspect_data", "prepare_broden", "prepare_tfds", "port_weights"),
    "Probe": ("segmentation", "classification"),
    "Compare": (
        "single_vs_embedding", "how_many_filters", "filter_overlap", "concept_embeddings",
        "compare_networks",
    ),
    "Use": ("apply", "score_on"),
    "Show": ("report", "pictures", "maximise_activation", "invert_features"),
    "Ask": ("does_it_matter", "formulas", "local_embeddings"),
}  # fmt: skip
"""Names of the commands, in groups."""
USAGE = """usage: net2vec NAME [flags]
       net2vec NAME --help
       net2vec --version
"""


def list_commands() -> list[str]:
    """Names of all commands."""
    return [name for group in COMMANDS.values() for name in group]


def describe_command(name: str) -> str:
    """One line on what a command does; its module is not imported, which takes seconds."""
    path = importlib.resources.files("net2vec_jax.studies") / f"{name}.py"
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n")[0]


def list_descriptions() -> str:
    """What `net2vec --help` prints."""
    lines = [USAGE]
    for title, names in COMMANDS.items():
        lines += [f"{title}:", *(f"  {name:20} {describe_command(name)}" for name in names), ""]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command.

    The exit status is 0 only when everything was written, and 2 with one message on bad input.

    Args:
      arguments: its name and flags; by default those of this process.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(list_descriptions(), end="")
        return
    if arguments[0] == "--version":
        print(f"net2vec_jax {__version__}")
        return
    name = arguments[0].replace("-", "_")
    if name not in list_commands():
        print(f"error: {unknown_name_error('command', name, list_commands())}", file=sys.stderr)
        sys.exit(2)
    from net2vec_jax.core.console import run_script  # here: it brings JAX, which takes a second

    module = importlib.import_module(f"net2vec_jax.studies.{name}")
    run_script(module.main, arguments=arguments[1:], prog=f"net2vec {name}")
