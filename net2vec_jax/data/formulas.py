"""Formulas of concepts (Mu & Andreas 2020): `a & b`, `a | b`, `a & !b`, with brackets.

`!` stands only behind `&`, so that a formula marks nothing where none of its concepts is marked;
`&` binds more than `|`. A name with one of `& | ! ( ) "` is written in double quotes.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable
from typing import Literal

import numpy as np

from net2vec_jax.core.errors import Net2VecError

Operator = Literal["|", "&", "&!"]
"""OR, AND and AND NOT."""
_PLAIN = re.compile(r'[^&|!()"\s]([^&|!()"]*[^&|!()"\s])?')
_NAME = re.compile(f'"[^"]*"|{_PLAIN.pattern}')


@dataclasses.dataclass(frozen=True)
class Formula:
    """Two formulas, or names of concepts, and what joins them."""

    operator: Operator
    left: Formula | str
    right: Formula | str

    def __str__(self) -> str:
        left, right = self.left, self.right
        is_chain = isinstance(left, Formula) and left.operator[0] == self.operator[0]
        sign = "& !" if self.operator == "&!" else f"{self.operator} "
        return f"{left if is_chain else _write(left)} {sign}{_write(right)}"

    @property
    def names(self) -> tuple[str, ...]:
        """The concepts, in the order in which they are written; one may occur several times."""
        return list_names_in(self.left) + list_names_in(self.right)

    def evaluate(self, read: Callable[[str], np.ndarray]) -> np.ndarray:
        """Where the formula holds, as bools or packed bits: those that `read` gives of a name."""
        left, right = (
            read(side) if isinstance(side, str) else side.evaluate(read)
            for side in (self.left, self.right)
        )
        if self.operator == "|":
            return left | right
        return left & (right if self.operator == "&" else ~right)


def _write(side: Formula | str) -> str:
    if isinstance(side, Formula):
        return f"({side})"
    return side if _PLAIN.fullmatch(side) else f'"{side}"'


def list_names_in(formula: Formula | str) -> tuple[str, ...]:
    """The concepts of a formula, or a single name."""
    return (formula,) if isinstance(formula, str) else formula.names


def is_formula(text: str) -> bool:
    """Whether a text joins names, if it is no name itself."""
    return "&" in text or "|" in text


def parse_formula(text: str) -> Formula | str:
    """Read a formula, or a single name.

    Args:
      text: such as `wheel & !(car | bus)`.

    Raises:
      Net2VecError: it is no formula; the message names the place of the error.

    Examples:
      >>> parse_formula("traffic light & !car")
      Formula(operator='&!', left='traffic light', right='car')
      >>> str(parse_formula('a & !(b | "black & white") | c'))
      '(a & !(b | "black & white")) | c'
    """
    # Python has the same grammar with ~ for !: every name becomes as many letters, a quoted one in
    # brackets, and stands at the same place.
    names: dict[int, str] = {}

    def hide(match: re.Match[str]) -> str:
        name, is_quoted = match[0].strip('"'), match[0].startswith('"')
        names[match.start() + is_quoted] = name
        return f"({'x' * len(name)})" if is_quoted else "x" * len(name)

    code = re.sub(r"\s", " ", _NAME.sub(hide, text)).replace("!", "~")
    lead = len(code) - len(code.lstrip())

    def fail(place: int, what: str) -> Net2VecError:
        return Net2VecError(
            f"the formula {text!r}, character {lead + place + 1}: {what}; formulas are written "
            "a & b, a | b, a & !b, with brackets"
        )

    def read(node: ast.expr) -> Formula | str:
        match node:
            case ast.Name():
                return names[lead + node.col_offset]
            case ast.BinOp(left, ast.BitAnd(), ast.UnaryOp(ast.Invert(), right)):
                return Formula("&!", read(left), read(right))
            case ast.BinOp(left, ast.BitAnd() | ast.BitOr() as sign, right):
                return Formula("|" if isinstance(sign, ast.BitOr) else "&", read(left), read(right))
            case ast.UnaryOp():
                raise fail(node.col_offset, "! stands only behind &")
        raise fail(node.col_offset, "a name or a sign is missing")

    try:
        tree = ast.parse(code.lstrip(), mode="eval").body
    except SyntaxError as error:
        raise fail((error.offset or 1) - 1, error.msg) from None
    return read(tree)
