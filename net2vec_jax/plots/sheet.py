"""A sheet of square images and texts, laid out in inches from its upper left corner."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

GREY = "#555555"
"""Colour of notes and captions."""


class Sheet:
    """A figure that is filled from its upper left corner; all lengths are inches.

    Attributes:
      figure: to be saved.
      width: of the figure.
    """

    def __init__(self, width: float, height: float) -> None:
        """Make an empty sheet."""
        self.width, self._height = width, height
        self.figure = Figure(figsize=(width, height))

    def write(self, left: float, top: float, text: str, **style: Any) -> None:
        """Write a text below and to the right of a place, letter by letter: $ begins no formula."""
        style = {"va": "top", "parse_math": False} | style
        self.figure.text(left / self.width, 1 - top / self._height, text, **style)

    def add_axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Empty axes."""
        bottom = 1 - (top + height) / self._height
        return self.figure.add_axes(
            (left / self.width, bottom, width / self.width, height / self._height)
        )

    def add_image(
        self, left: float, top: float, side: float, image: np.ndarray | None, caption: str = "",
        *, size: float = 7,
    ) -> None:  # fmt: skip
        """Add an image uint8 [H, W, 3] (None: an empty place), a caption of `size` points below."""
        axes = self.add_axes(left, top, side, side)
        if image is None:
            axes.set_axis_off()
        else:
            axes.imshow(image, interpolation="antialiased")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=True, color="#bbbbbb", linewidth=0.5)
        axes.text(
            0.5, -0.03, caption, transform=axes.transAxes, ha="center", va="top", fontsize=size,
            color=GREY, parse_math=False,
        )  # fmt: skip
