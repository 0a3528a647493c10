"""Download a file once, verified, complete or not at all.

pooch receives the bytes into `<name>.partial`, which gets the file's name only after its checksum
was found right. `<name>.lock` lets one process download while the others wait. A file that is
there already, perhaps put there by hand, is verified as well.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from net2vec_jax.core.errors import FULL_DISK, Net2VecError
from net2vec_jax.core.locks import only_one_process, replacing

CONNECT_SECONDS = 15.0
READ_SECONDS = 60.0
"""How long a server may be silent."""
CHUNK_BYTES = 1 << 17
_DIGITS = {"sha256": (8, 64), "sha1": (40, 40), "md5": (32, 32)}
"""Fewest and most hexadecimal digits; torchvision's file names hold the first 8 of a SHA-256."""


def download_file(
    url: str,
    path: str | Path,
    *,
    checksum: str | None,
    progress: bool = True,
    hint: str | None = None,
) -> Path:
    """Download a file, unless it is already there; verify it in either case.

    Args:
      url: an http or https address.
      path: where the file shall be; its folder is created.
      checksum: "sha256:…" (a prefix of at least 8 digits suffices), "sha1:…" or "md5:…"; None for
        a file whose checksum nobody published: then only its length is checked.
      progress: whether a bar is shown.
      hint: what to do if the download fails; by default to put the file there by hand.

    Returns:
      The path.

    Raises:
      Net2VecError: the server cannot be reached or refuses, the connection drops, the checksum is
        wrong, or the file cannot be written; nothing is left of what was received. Or the file
        that is there is another one; it stays.
      ValueError: the checksum is malformed.
    """
    path = Path(path)
    expected = _parse_checksum(checksum)
    hint = hint or f"download it elsewhere and put it at {path}"
    if not re.match("https?://", url, re.IGNORECASE):
        raise Net2VecError(f"{url}: only http and https addresses can be downloaded; {hint}")
    try:
        if path.is_dir():
            raise Net2VecError(f"{path} is a directory; a file is to be downloaded there")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with only_one_process(path, "downloaded"):
                if not path.exists():  # another process may have been faster
                    with replacing(path) as partial:
                        _receive(url, partial, progress, hint)
                        if found := _other_digest(partial, expected):
                            raise Net2VecError(
                                f"{url}: the file received is not the one expected: its {found}; "
                                f"it was removed; run again, and if that does not help {hint}"
                            )
                    return path
        if found := _other_digest(path, expected):
            raise Net2VecError(
                f"{path} is another file than expected, or damaged: its {found}; delete {path} and "
                "run again, which downloads it"
            )
    except OSError as error:
        raise _disk_error(path, error, hint) from error
    return path


def _parse_checksum(text: str | None) -> tuple[str, str] | None:
    """Algorithm and lower-case digits of "sha256:9e3f2a71…", "sha1:…" or "md5:…"."""
    if text is None:
        return None
    algorithm, _, digits = text.lower().partition(":")
    fewest, most = _DIGITS.get(algorithm, (1, 0))
    if not (fewest <= len(digits) <= most and re.fullmatch("[0-9a-f]+", digits)):
        raise ValueError(
            f"{text!r} is no checksum; write sha256: with 8 to 64 hexadecimal digits, sha1: "
            "with 40 or md5: with 32"
        )
    return algorithm, digits


def _other_digest(path: Path, expected: tuple[str, str] | None) -> str:
    """In what a file's digest differs from the expected one; empty where it does not."""
    if expected is None:
        return ""
    algorithm, digits = expected
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()[: len(digits)]
    return "" if found == digits else f"{algorithm} is {found}, not {digits}"


def _receive(url: str, partial: Path, progress: bool, hint: str) -> None:
    """Write what the server sends to `partial`."""
    import pooch
    import requests

    download = pooch.HTTPDownloader(
        progressbar=progress,
        chunk_size=CHUNK_BYTES,
        timeout=(CONNECT_SECONDS, READ_SECONDS),
        headers={"Accept-Encoding": "identity"},
    )
    try:
        download(url, str(partial), None)
    except requests.HTTPError as error:
        raise Net2VecError(f"{url}: the server answered {error}; {hint}") from error
    except requests.RequestException as error:
        reached = partial.exists() and partial.stat().st_size
        what = f"the connection ended after {reached} bytes" if reached else "cannot be reached"
        raise Net2VecError(f"{url}: {what} ({_reason(error)}); run again, or {hint}") from error


def _disk_error(path: Path, error: OSError, hint: str) -> Net2VecError:
    if error.errno in FULL_DISK:
        return Net2VecError(f"{path}: the disk is full; free some space and run again")
    reason = error.strerror or str(error)
    if isinstance(error, FileExistsError | NotADirectoryError):
        reason = "a file is where one of its folders must be"
    return Net2VecError(f"{path} cannot be read or written ({reason}); {hint}")


def _reason(error: Exception) -> str:
    """What lies at the bottom of an error of requests, without the layers around it."""
    inner = error.args[0] if error.args else error
    return str(getattr(inner, "reason", inner))
