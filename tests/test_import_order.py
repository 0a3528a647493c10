"""Imports point one way through the package, those for type checking included, and in no circle."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ORDER = (
    ("core",), ("stats",), ("weights", "data"), ("networks",), ("activations", "inversion"),
    ("probes",), ("analysis",), ("plots",), ("runs",), ("report",), ("studies",), ("cli",),
)  # fmt: skip
"""Packages, each of which may import those of earlier rows and itself."""
RANK = {package: rank for rank, row in enumerate(ORDER) for package in row}


def find_imports() -> dict[str, set[str]]:
    """Module → the modules of this project that it imports, wherever in the file."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "net2vec_jax").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        names = found.setdefault(module, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
                names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {m: {n for n in names if n in found or n.startswith("experiments")}
            for m, names in found.items()}  # fmt: skip


IMPORTS = find_imports()


def test_imports_point_to_earlier_packages() -> None:
    wrong = []
    for module, names in IMPORTS.items():
        for name in names:
            here, there = (text.split(".")[1:2] for text in (module, name))
            if name.startswith("experiments") or (
                here and there and here != there and RANK[there[0]] >= RANK[here[0]]
            ):
                wrong.append(f"{module} imports {name}")
    assert not wrong


def test_no_modules_import_each_other_in_a_circle() -> None:
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " → ".join((*above, module))
        if module not in done:
            for name in IMPORTS[module]:
                visit(name, (*above, module))
            done.add(module)

    for module in IMPORTS:
        visit(module, ())
