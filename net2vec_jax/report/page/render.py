"""The page of a run: template, style and scripts put together into one file of HTML.

The page asks for nothing outside itself, and its content security policy forbids it: pictures are
data, and only the scripts and the style of this folder, named by their hashes, run.
"""

from __future__ import annotations

import math
from importlib.resources import files

import jinja2
from markupsafe import Markup

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.report.page.content import ReportContent
from net2vec_jax.report.page.encoding import encode_json, hash_source
from net2vec_jax.report.page.payload import (
    describe_pictures,
    describe_run,
    encode_embeddings,
)

SCRIPTS = (
    "vendor/chart.umd.min.js",
    "data.js",
    "elements.js",
    "charts.js",
    "table.js",
    "overview.js",
    "pictures.js",
    "concept.js",
    "filter.js",
    "query.js",
    "explorer.js",
    "main.js",
)
"""In the order in which they run."""
IMAGE_SIZE = 176
"""Longest side of an image, pixels."""


def render_page(content: ReportContent, *, image_size: int = IMAGE_SIZE) -> str:
    """One self-contained page of HTML.

    Args:
      content: what is shown.
      image_size: longest side to which images are reduced, pixels.

    Raises:
      Net2VecError: `image_size` is below 16.
    """
    if image_size < 16:
        raise Net2VecError(f"images of {image_size} pixels show nothing; take 16 or more")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(read_source),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["decimal"] = _format_decimal
    style, scripts = read_source("style.css"), [read_source(name) for name in SCRIPTS]
    pictures = content.pictures and describe_pictures(content.pictures, image_size)
    run = describe_run(content)
    return environment.get_template("page.html.jinja").render(
        content=content,
        categories=run["categories"],
        serving=len(run["serving"]),
        policy="; ".join(
            (
                "default-src 'none'",
                "img-src data:",
                f"style-src {hash_source(style)}",
                "script-src " + " ".join(map(hash_source, scripts)),
                "base-uri 'none'",
                "form-action 'none'",
            )
        ),
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        run_json=Markup(encode_json(run)),
        pictures_json=Markup(encode_json(pictures)),
        embeddings=Markup(encode_embeddings(content)),
    )


def read_source(name: str) -> str:
    """Text of a file of this folder.

    Raises:
      Net2VecError: the package was installed without it.
    """
    try:
        text = (
            files("net2vec_jax.report.page").joinpath(*name.split("/")).read_text(encoding="utf-8")
        )
    except OSError as error:
        raise Net2VecError(f"net2vec_jax was installed without {name}; install it again") from error
    return text.replace("\r\n", "\n")


def _format_decimal(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"
