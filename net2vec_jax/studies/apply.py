"""Where are a run's concepts on photographs of yours? Masks, scores, heat maps, ranked sheets."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import jax
import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image
from threadpoolctl import threadpool_limits

from net2vec_jax.core.console import announce_left_out, track
from net2vec_jax.core.errors import Net2VecError, join_messages
from net2vec_jax.core.locks import replacing
from net2vec_jax.core.result_files import make_safe
from net2vec_jax.data.dataset import map_in_order
from net2vec_jax.data.images.photographs import Photograph, PhotographFiles, find_photographs
from net2vec_jax.data.images.resized import read_thumbnail
from net2vec_jax.plots.contact_sheet import plot_ranked_sheet
from net2vec_jax.plots.overlays import COLORS, draw_mask
from net2vec_jax.plots.paper_style import style_category, write_figure
from net2vec_jax.probes.segmentation.prediction import mark_pixels, predict_pixels_of
from net2vec_jax.runs.application import Applied, apply_probes
from net2vec_jax.runs.classification import ClassificationProbe
from net2vec_jax.runs.directory import RunDirectory
from net2vec_jax.runs.files import read_arrays
from net2vec_jax.runs.finished import FinishedRun
from net2vec_jax.runs.segmentation import SegmentationProbe
from net2vec_jax.runs.sources import RunSources, SourceFlags

Output = Literal["masks", "heatmaps", "overlays", "sheets"]
Rank = Literal["maximum", "mean", "share"]
COLUMNS = ("share", "mean_probability", "maximum_probability")
_RANKS: dict[Rank, int] = {"share": 0, "mean": 1, "maximum": 2}
BLOCK = 128
"""Photographs whose results are noted together; a run that is stopped loses fewer than these."""
OVERLAY_PIXELS, SHEET_PIXELS = 1024, 256
"""Longest side of an overlay, and of a photograph on a sheet."""
BLOCKS = "blocks"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ApplyFlags:
    """Flags of applying a run.

    Attributes:
      run: directory of a finished run of either probe.
      images: photographs of any size and format, and folders of them, with the folders inside.
      out: directory of the results; what is complete there is not computed again.
      concepts: by name or number; all by default.
      classification: a finished run of the classification probe, which says of the same concepts
        whether a photograph shows them.
      write: what is written besides scores.csv: "masks", "heatmaps", "overlays", and "sheets", on
        which a concept's photographs are ranked.
      size: of masks, heat maps and overlays: the photograph's own, or the segmentation grid on
        which the run was scored.
      rank: by what of σ(z) a concept's photographs are ranked: its maximum, its mean, or the
        share of the photograph that is marked.
      ranked: photographs on a concept's sheet.
      filters: use the run's embeddings of so many filters; by default of all.
      repetition: which of the run's repetitions (--seeds) is used, counted from 0.
      network: as the run's --network; by default what the run was given.
      weights: as the run's --weights; by default what the run was given.
    """

    run: Path
    images: tuple[Path, ...]
    out: Path
    concepts: tuple[str, ...] = ()
    classification: Path | None = None
    write: tuple[Output, ...] = ("masks",)
    size: Literal["photograph", "segmentation"] = "photograph"
    rank: Rank = "maximum"
    ranked: int = 24
    filters: int | None = None
    repetition: int = 0
    network: str | None = None
    weights: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class _Scores:
    """What is kept of a photograph: pixels float32 [C, 3] and shown float32 [D] of `Applied`."""

    stamp: str
    pixels: np.ndarray
    shown: np.ndarray


class _Application:
    """A run applied to photographs, with the directory of its results."""

    def __init__(self, flags: ApplyFlags) -> None:
        self.flags = flags
        run = FinishedRun(flags.run)
        other = None if flags.classification is None else FinishedRun(flags.classification)
        if other is not None and (other.kind != "classification" or run.kind == other.kind):
            raise Net2VecError(
                "--classification is a run of the classification probe, beside a --run of the "
                "segmentation probe"
            )
        self.runs = [run] if other is None else [run, other]
        self.segmentation = run.probe if isinstance(run.probe, SegmentationProbe) else None
        told = self.runs[-1].probe
        self.classification = told if isinstance(told, ClassificationProbe) else None
        self.image_size = run.probe.require_image_size()
        if told.require_image_size() != self.image_size:
            raise Net2VecError(
                f"{flags.run} and {flags.classification} see images of different sizes, "
                f"{self.image_size} and {told.image_size}"
            )
        self.places = run.probe.find_places(flags.concepts or None)
        self.concepts = [run.probe.concepts[place] for place in self.places]
        self.categories = [run.probe.categories[place] for place in self.places]
        names = told.concepts
        self.told = (
            {name: names.index(name) for name in self.concepts if name in names}
            if self.classification
            else {}
        )
        if self.segmentation is None and {"heatmaps", "overlays"} & {*flags.write}:
            raise Net2VecError(
                f"{flags.run} is a run of the classification probe, which marks no pixels: it has "
                "neither heat maps nor overlays"
            )
        if self.segmentation is not None and "sheets" in flags.write and "masks" not in flags.write:
            raise Net2VecError("--write sheets needs masks too: --write masks sheets")
        self.directory = RunDirectory(flags.out, self._describe())

    def _describe(self) -> dict[str, Any]:
        """What results depend on besides the photographs."""
        flags = self.flags
        digest = hashlib.sha256()
        for run in self.runs:
            digest.update(run.probe.trained.weights.tobytes())
        return {
            "applied": [run.origin for run in self.runs],
            "embeddings": digest.hexdigest(),
            "concepts": self.concepts,
            "written": sorted({*flags.write} - {"sheets"}),
            "size": flags.size,
            "filters": flags.filters,
            "repetition": flags.repetition,
        }

    def read_blocks(self) -> dict[str, _Scores]:
        """Photographs that are complete, by name."""
        found = {}
        for path in sorted((self.directory / BLOCKS).glob("*.npz")):
            block = read_arrays(path)
            columns = [block[name] for name in ("name", "stamp", "pixels", "shown")]
            for name, stamp, pixels, shown in zip(*columns, strict=True):
                found[str(name)] = _Scores(str(stamp), pixels, shown)
        return found

    def write_block(self, photographs: list[Photograph], results: list[_Scores]) -> None:
        """Note that these photographs are complete."""
        folder = self.directory / BLOCKS
        folder.mkdir(exist_ok=True)
        number = len(list(folder.glob("*.npz")))
        arrays = {
            "name": np.array([photograph.name for photograph in photographs]),
            "stamp": np.array([result.stamp for result in results]),
            "pixels": np.stack([result.pixels for result in results]),
            "shown": np.stack([result.shown for result in results]),
        }
        self.directory.write_arrays(f"{BLOCKS}/{number:06d}.npz", arrays)

    def open_probes(self) -> list[Any]:
        """The probes with their networks, one network where they have the same."""
        flags = self.flags
        moved = SourceFlags(network=flags.network, weights=flags.weights)
        probes = [self.segmentation, self.classification]
        network = RunSources(self.runs[0], moved).network
        opened = []
        for probe in probes:
            if probe is not None:
                same = probe.origin.get("weights") == network.fingerprint
                own = network if same else RunSources(self.runs[-1]).network
                probe = dataclasses.replace(probe, network=own)
            opened.append(probe)
        return opened

    def finish(self, photographs: list[Photograph]) -> tuple[dict[str, _Scores], dict[str, str]]:
        """Apply the run to the photographs that are not complete.

        Returns:
          (results of all that can be read; why others cannot be), by name.
        """
        done = self.read_blocks()
        left = [p for p in photographs if p.name not in done or done[p.name].stamp != p.stamp]
        unreadable: dict[str, str] = {}
        if left:
            files = PhotographFiles(left, self.image_size)
            waiting: list[Photograph] = []
            stream = map_in_order(lambda result: self._write(files, result), self._apply(files))
            bar = track(stream, "photographs", unit="photograph", total=len(left))
            for index, result in enumerate(bar):
                if result is None:
                    unreadable[left[index].name] = files.unreadable[index]
                else:
                    done[left[index].name] = result
                    waiting.append(left[index])
                if len(waiting) == BLOCK or (waiting and index == len(left) - 1):
                    self.write_block(waiting, [done[p.name] for p in waiting])
                    waiting = []
        return {p.name: done[p.name] for p in photographs if p.name not in unreadable}, unreadable

    def _apply(self, files: PhotographFiles) -> Iterator[Applied]:
        segmentation, classification = self.open_probes()
        places = self.places if classification is not None and segmentation is None else ()
        return apply_probes(
            files, segmentation, classification,
            marked=self.places, told=places or [*self.told.values()],
            filters=self.flags.filters, seed=self.flags.repetition,
            keep_masks=self.flags.size == "segmentation",
        )  # fmt: skip

    def _write(self, files: PhotographFiles, found: Applied) -> _Scores | None:
        """Write a photograph's masks, heat maps and overlays; None if it cannot be read."""
        if found.index in files.unreadable:
            return None
        photograph = files.photographs[found.index]
        kinds = [kind for kind in ("masks", "heatmaps", "overlays") if kind in self.flags.write]
        for kind in kinds if self.segmentation else ():
            folder = self.directory / kind / photograph.name
            shutil.rmtree(folder, ignore_errors=True)  # of another state of the photograph
            folder.mkdir(parents=True)
        if self.segmentation:
            own = self.flags.size == "photograph"
            size = files.sizes[found.index] if own else self.segmentation.segmentation_size
            shown = read_thumbnail(photograph.path, OVERLAY_PIXELS) if "overlays" in kinds else None
            for row in range(len(self.places)):
                self._write_concept(photograph.name, found, row, size, kinds, shown)
        return _Scores(photograph.stamp, found.pixels, found.shown)

    def _write_concept(
        self, name: str, found: Applied, row: int, size: tuple[int, int], kinds: list[str],
        shown: np.ndarray | None,
    ) -> None:  # fmt: skip
        scores, color = found.scores[row], style_category(self.categories[row])[0]
        rows = None if found.packed is None else found.packed[row]
        if rows is None and scores.max() > 0:
            rows = np.packbits(mark_pixels(scores, size), axis=-1)
        if rows is not None and rows.any():
            if "masks" in kinds:
                palette = (0, 0, 0, *(round(255 * part) for part in to_rgb(color)))
                _write_indexed(self._place("masks", name, row), rows, size[1], palette, bits=1)
            if shown is not None:
                mask = np.unpackbits(rows, axis=-1, count=size[1]).astype(bool)
                with replacing(self._place("overlays", name, row, ".jpg")) as partial:
                    drawn = Image.fromarray(draw_mask(shown, mask, color))
                    drawn.save(partial, format="JPEG", quality=90)
        if "heatmaps" in kinds:
            probability = predict_pixels_of(scores[None], size)[1][0]
            index = np.round(255 * probability).astype(np.uint8)
            path = self._place("heatmaps", name, row)
            _write_indexed(path, index, size[1], _heat_palette(), bits=8)

    def _place(self, kind: str, name: str, row: int, suffix: str = ".png") -> Path:
        """The file of a concept and a photograph."""
        number = self.runs[0].probe.table.numbers[self.runs[0].probe.places[self.places[row]]]
        safe = make_safe(self.concepts[row])
        return self.directory / kind / name / f"{number:04d}_{safe}{suffix}"

    @cached_property
    def columns(self) -> list[str]:
        """Columns of scores.csv."""
        told = ["shown", "shown_probability"] if self.classification else []
        return ["photograph", "concept", *(COLUMNS if self.segmentation else ()), *told]

    def list_scores(self, results: dict[str, _Scores]) -> Iterator[list[Any]]:
        """Rows of scores.csv."""
        column = {name: place for place, name in enumerate(self.told)}
        for name, result in results.items():
            for row, concept in enumerate(self.concepts):
                told: list[Any] = ["", ""] if self.classification else []
                if concept in column:
                    probability = result.shown[column[concept]]
                    told = [int(probability > 0.5), probability]
                yield [name, concept, *(result.pixels[row] if self.segmentation else ()), *told]

    def draw_sheets(self, photographs: list[Photograph], results: dict[str, _Scores]) -> int:
        """Write a sheet per concept that is found anywhere; return how many."""
        flags, run, drawn = self.flags, self.runs[0], 0
        chosen = [photograph for photograph in photographs if photograph.name in results]
        for row, concept in enumerate(track(self.concepts, "sheets", unit="sheet")):
            if self.segmentation:
                pixels = np.stack([results[p.name].pixels[row] for p in chosen])
                value, found = pixels[:, _RANKS[flags.rank]], pixels[:, 0] > 0
                titles = [f"{share:.1%} marked, maximum {top:.2f}" for share, _, top in pixels]
            else:
                value = np.stack([results[p.name].shown[row] for p in chosen])
                found, titles = value > 0.5, [f"probability {p:.2f}" for p in value]
            order = [place for place in np.argsort(-value, kind="stable") if found[place]]
            order = order[: flags.ranked]
            if not order:
                continue
            masks = [self._read_mask(chosen[place].name, row) for place in order]
            figure = plot_ranked_sheet(
                concept, self.categories[row],
                [read_thumbnail(chosen[place].path, SHEET_PIXELS) for place in order],
                masks, [chosen[place].name for place in order],
                [f"{rank + 1}. {titles[place]}" for rank, place in enumerate(order)],
                note=f"found on {found.sum():,} of {len(chosen):,} photographs; {run.name}",
            )  # fmt: skip
            path = self._place("sheets", "", row)
            path.parent.mkdir(exist_ok=True)
            write_figure(figure, path, dpi=150)
            drawn += 1
        return drawn

    def _read_mask(self, name: str, row: int) -> np.ndarray | None:
        path = self._place("masks", name, row)
        if not self.segmentation or not path.exists():
            return None
        with Image.open(path) as image:
            return np.asarray(image).astype(bool)


@lru_cache(maxsize=1)
def _heat_palette() -> list[int]:
    """Colours of the probabilities 0/255 … 255/255."""
    colors = matplotlib.colormaps[COLORS](np.arange(256))[:, :3]
    return np.round(255 * colors).astype(int).ravel().tolist()


def _write_indexed(
    path: Path, rows: np.ndarray, width: int, palette: Sequence[int], bits: int
) -> None:
    """Write indices of 1 bit, packed, or of 8 bits, uint8 [Y, bytes], as a PNG with a palette.

    Pillow packs bits itself and needs six times as long, more than a network needs for an image.
    """

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    lines = np.pad(rows, ((0, 0), (1, 0)))  # each begins with 0: it is not filtered
    head = struct.pack(">IIBBBBB", width, len(rows), bits, 3, 0, 0, 0)
    parts = [(b"IHDR", head), (b"PLTE", bytes(palette))]
    parts += [(b"IDAT", zlib.compress(lines.tobytes(), 1)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
    with replacing(path) as partial:
        partial.write_bytes(content)


def main(flags: ApplyFlags) -> None:
    """Apply the run, and say where everything is and what could not be read."""
    if jax.process_count() > 1:
        raise Net2VecError(
            "one host applies a run: give each its own photographs and its own --out"
        )
    application = _Application(flags)
    photographs = find_photographs(flags.images, outside=flags.out)
    # Threads write photographs side by side; BLAS's own threads would wait for each other.
    with threadpool_limits(1, user_api="blas"):
        results, unreadable = application.finish(photographs)
    if not results:
        raise Net2VecError(
            f"none of {len(unreadable)} photographs can be read: "
            f"{join_messages([*unreadable.values()])}"
        )
    directory = application.directory
    directory.write_table("scores.csv", application.columns, application.list_scores(results))
    directory.write_table("unreadable.csv", ["photograph", "reason"], [*unreadable.items()])
    sheets = application.draw_sheets(photographs, results) if "sheets" in flags.write else 0
    announce_left_out("photographs", unreadable, of=len(photographs))
    untold = [name for name in application.concepts if name not in application.told]
    if application.segmentation and application.classification:
        reason = f"{flags.classification} has no such concept"
        announce_left_out("concepts from is shown or not", dict.fromkeys(untold, reason))
    told = f", {sheets} sheets" if sheets else ""
    print(
        f"{len(application.concepts)} concepts on {len(results):,} photographs{told}: results are "
        f"in {flags.out}"
    )
