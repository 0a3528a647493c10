"""Published checksums, and whether a file has them: "sha256:…", "sha1:…" or "md5:…"."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from net2vec_jax.core.errors import Net2VecError

_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64}
_SHORTEST_PREFIX = 8


@dataclass(frozen=True)
class Checksum:
    """What a file's digest must be.

    Attributes:
      algorithm: "md5", "sha1" or "sha256".
      digits: hexadecimal, lower case; of a SHA-256 at least the first 8, which is what torchvision
        puts in its file names, of the others all.
    """

    algorithm: str
    digits: str

    @classmethod
    def parse(cls, text: str) -> Checksum:
        """From "sha256:9e3f2a71…", "sha1:…" or "md5:…".

        Raises:
          ValueError: the text is no such checksum.
        """
        algorithm, _, digits = text.lower().partition(":")
        length = _DIGITS.get(algorithm, 0)
        shortest = _SHORTEST_PREFIX if algorithm == "sha256" else length
        if not (length and shortest <= len(digits) <= length and re.fullmatch("[0-9a-f]+", digits)):
            raise ValueError(
                f"{text!r} is no checksum; write sha256: with 8 to 64 hexadecimal digits, sha1: "
                "with 40 or md5: with 32"
            )
        return cls(algorithm, digits)

    def found_in(self, path: Path) -> str:
        """The first digits of the file's digest, as many as are known."""
        with open(path, "rb") as file:
            return hashlib.file_digest(file, self.algorithm).hexdigest()[: len(self.digits)]


def verify_file(path: str | Path, checksum: str) -> None:
    """Refuse a file that is not the one expected, such as one that was put there by hand.

    Args:
      path: the file.
      checksum: "sha256:…" (a prefix of at least 8 digits suffices), "sha1:…" or "md5:…".

    Raises:
      Net2VecError: the file cannot be read, or its checksum is another.
      ValueError: the checksum is malformed.
    """
    expected = Checksum.parse(checksum)
    try:
        found = expected.found_in(Path(path))
    except OSError as error:
        raise Net2VecError(f"{path}: cannot be read ({error.strerror})") from error
    if found != expected.digits:
        raise Net2VecError(
            f"{path} is another file than expected, or damaged: its {expected.algorithm} is "
            f"{found}, not {expected.digits}; remove it and download it again"
        )
