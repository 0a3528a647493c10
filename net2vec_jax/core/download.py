"""Download a large file once: resumed after an interruption, verified, complete or not at all.

Bytes gather in `<name>.partial` beside the target, and `<name>.partial.json` says which file of the
server they are of, so that pieces of two versions are never put together. The partial file is
renamed only after its checksum was found right; `<name>.lock` lets one process download while the
others wait.
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from net2vec_jax.core.checksum import Checksum
from net2vec_jax.core.errors import FULL_DISK, Net2VecError
from net2vec_jax.core.locks import only_one_process

if TYPE_CHECKING:
    import requests

CONNECT_SECONDS = 15.0
READ_SECONDS = 60.0
"""How long a server may be silent."""
ATTEMPTS = 5
"""How often one call asks for a file whose connection drops."""
BACKOFF_SECONDS = 0.5
"""The pause before the second attempt; doubled before each further one."""
CHUNK_BYTES = 1 << 17


class _DroppedError(Exception):
    """The connection ended early; asking again may help."""


def download_file(
    url: str,
    path: str | Path,
    *,
    checksum: str | None,
    progress: bool = True,
    hint: str | None = None,
) -> Path:
    """Download a file, unless it is already there.

    A file that is there is returned as it is: it was verified before it got its name. One that was
    put there by hand is not verified; `checksum.verify_file` does that.

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
      Net2VecError: the server cannot be reached or refuses, the connection drops again and again,
        the checksum is wrong, or the file cannot be written. What was received is kept, except
        after a wrong checksum, and the next call goes on from there.
      ValueError: the checksum is malformed.
    """
    path = Path(path)
    expected = None if checksum is None else Checksum.parse(checksum)
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
                    partial = _Partial(path, url, expected)
                    _receive_all(partial, progress, hint)
                    partial.finish(path, hint)
    except OSError as error:
        raise _disk_error(path, error, hint) from error
    return path


class _Partial:
    """The bytes received so far, and the record of what they are the beginning of."""

    def __init__(self, target: Path, url: str, expected: Checksum | None) -> None:
        self.url, self.expected = url, expected
        self.path = target.with_name(target.name + ".partial")
        self._record = target.with_name(target.name + ".partial.json")
        self.validator: str | None = None
        self.total: int | None = None
        if not self._recall():
            self.remove()

    def _recall(self) -> bool:
        """Read the record; whether the bytes can be gone on from."""
        try:
            record: Any = json.loads(self._record.read_text(encoding="utf-8"))
            self.validator, self.total = record["validator"], record["total"]
            # Without a validator only the checksum would notice that the file has changed.
            known = self.validator is not None or self.expected is not None
            return record["url"] == self.url and known
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return False

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def is_whole(self) -> bool:
        return self.total is not None and self.size == self.total

    def remove(self) -> None:
        """Forget all that was received."""
        self.path.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)
        self.validator = self.total = None

    def begin(self, validator: str | None, total: int | None) -> None:
        """Begin at the first byte of the file that the server now has."""
        self.remove()
        self.validator, self.total = validator, total
        record = {"url": self.url, "validator": validator, "total": total}
        self._record.write_text(json.dumps(record), encoding="utf-8")

    def finish(self, target: Path, hint: str) -> None:
        """Verify the bytes and move them to their place."""
        if self.expected is not None:
            found = self.expected.found_in(self.path)
            if found != self.expected.digits:
                self.remove()
                raise Net2VecError(
                    f"{self.url}: the file received is not the one expected: its "
                    f"{self.expected.algorithm} is {found}, not {self.expected.digits}; it was "
                    f"removed; run again, and if that does not help {hint}"
                )
        with open(self.path, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(self.path, target)
        self._record.unlink(missing_ok=True)


def _receive_all(partial: _Partial, progress: bool, hint: str) -> None:
    """Receive until the partial file is whole."""
    import requests

    with (
        requests.Session() as session,
        tqdm(
            desc=partial.path.name.removesuffix(".partial"),
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            leave=False,
            disable=not progress,
        ) as bar,
    ):
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
            try:
                if not partial.is_whole:
                    _receive(session, partial, bar, hint)
                return
            except _DroppedError as error:
                reason = error
            except requests.RequestException as error:
                if attempt == 0:
                    raise Net2VecError(
                        f"{partial.url} cannot be reached ({_reason(error)}); {hint}"
                    ) from error
                reason = error
    of_total = "" if partial.total is None else f" of {partial.total}"
    raise Net2VecError(
        f"{partial.url}: the connection ended after {partial.size}{of_total} bytes "
        f"({_reason(reason)}), {ATTEMPTS} times; run again to resume there, or {hint}"
    ) from reason


def _receive(session: requests.Session, partial: _Partial, bar: tqdm, hint: str) -> None:
    """Ask once for the bytes that are missing, and append what comes."""
    import urllib3.exceptions

    with _answer(session, partial) as response:
        if response.status_code == 416 and partial.size:  # nothing follows: all is there
            return
        if response.status_code != (206 if partial.size else 200):
            raise Net2VecError(
                f"{partial.url}: the server answered {response.status_code} "
                f"({response.reason or 'no reason given'}); {hint}"
            )
        bar.reset(partial.total)
        bar.initial = bar.n = partial.size
        bar.refresh()
        try:
            with open(partial.path, "ab") as file:
                # As sent: some servers call an archive's own compression a content encoding.
                for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
                    file.write(chunk)
                    bar.update(len(chunk))
        except urllib3.exceptions.HTTPError as error:
            raise _DroppedError(str(error)) from error
    if partial.total is not None and not partial.is_whole:
        raise _DroppedError("the server sent less than it announced")


def _answer(session: requests.Session, partial: _Partial) -> requests.Response:
    """The server's answer; `partial` is begun anew unless what follows continues it."""
    size = partial.size
    headers = {"Accept-Encoding": "identity"}
    if size:
        headers["Range"] = f"bytes={size}-"
        if partial.validator is not None:
            headers["If-Range"] = partial.validator
    response = session.get(
        partial.url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)
    )
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        partial.begin(_validator(response), int(length) if length.isdecimal() else None)
    elif size and response.status_code in (206, 416) and not _continues(response, partial, size):
        response.close()
        partial.remove()
        return _answer(session, partial)
    return response


def _continues(response: requests.Response, partial: _Partial, size: int) -> bool:
    """Whether an answer to a request for a range is of the same file and goes on where we are."""
    content_range = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", content_range.strip())
    if match is None:
        return False
    start, announced = match.groups()
    total = partial.total if announced == "*" else int(announced)
    if response.status_code == 416:
        start = total
    validator = _validator(response)
    same = None in (validator, partial.validator) or validator == partial.validator
    if not same or partial.total not in (None, total) or str(start) != str(size):
        return False
    partial.total = total
    return True


def _validator(response: requests.Response) -> str | None:
    """What tells versions of a file apart: its strong ETag, otherwise its date."""
    tag = response.headers.get("ETag")
    return tag if tag and tag.startswith('"') else response.headers.get("Last-Modified")


def _disk_error(path: Path, error: OSError, hint: str) -> Net2VecError:
    if error.errno in FULL_DISK:
        return Net2VecError(
            f"{path}: the disk is full; free some space and run again, which goes on from what was "
            "received"
        )
    reason = error.strerror or str(error)
    if isinstance(error, FileExistsError | NotADirectoryError):
        reason = "a file is where one of its folders must be"
    return Net2VecError(f"{path} cannot be written ({reason}); {hint}")


def _reason(error: Exception) -> str:
    """What lies at the bottom of an error of requests, without the layers around it."""
    inner = error.args[0] if error.args else error
    return str(getattr(inner, "reason", inner))
