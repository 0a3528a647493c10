"""What fuzz tests share: how many cases, damage to sound files, and the law that each case obeys.

NET2VEC_JAX_FUZZ_CASES sets the number of cases per reader; then they differ from run to run.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import time
from collections.abc import Callable, Iterator, Sequence

import hypothesis
import hypothesis.strategies as st

from net2vec_jax.core.errors import Net2VecError

ASKED = os.environ.get("NET2VEC_JAX_FUZZ_CASES")
CASES = int(ASKED or 60)
LONGEST_SECONDS = 2.0
"""A case takes milliseconds; a reader that hangs is stopped, with its stack, after `HUNG`."""
HUNG_SECONDS = 60.0
LONGEST_MESSAGE = 20_000

fuzz_settings = hypothesis.settings(
    max_examples=CASES,
    derandomize=ASKED is None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    print_blob=True,
)

# Bytes that mean something to a parser.
TOKENS = [
    *(bytes([byte]) for byte in (0, 1, 0x7F, 0x80, 0xFE, 0xFF)),
    *(number.to_bytes(8, "little") for number in (0, 1, 2**31 - 1, 2**31, 2**63 - 1, 2**64 - 1)),
    *(number.to_bytes(4, "little") for number in (0, 2**16, 2**31 - 1, 2**32 - 1)),
]


@st.composite
def damaged(draw: st.DrawFn, sound: Sequence[bytes], tokens: Sequence[bytes] = ()) -> bytes:
    """A sound file with a few places overwritten, cut out, repeated, or with tokens put in."""
    content = bytearray(draw(st.sampled_from(sound)))
    inserts = st.one_of(st.sampled_from([*TOKENS, *tokens]), st.binary(min_size=1, max_size=12))
    for _ in range(draw(st.integers(1, 5))):
        place = draw(st.integers(0, len(content)))
        length = draw(st.one_of(st.integers(0, 8), st.integers(0, max(len(content) - place, 0))))
        match draw(st.sampled_from(["overwrite", "insert", "delete", "repeat", "cut", "flip"])):
            case "overwrite":
                new = draw(inserts)
                content[place : place + len(new)] = new
            case "insert":
                content[place:place] = draw(inserts)
            case "delete":
                del content[place : place + length]
            case "repeat":
                content[place:place] = content[place : place + length] * draw(st.integers(1, 3))
            case "cut":
                del content[place:]
            case "flip" if place < len(content):
                content[place] ^= 1 << draw(st.integers(0, 7))
    return bytes(content)


def read_or_refuse(read: Callable[[], object]) -> bool:
    """Whether it is read; it may only be refused with our own error, in time, and briefly."""
    with in_time():
        try:
            read()
        except Net2VecError as error:
            assert 0 < len(str(error)) < LONGEST_MESSAGE
            return False
    return True


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """What is done inside ends soon."""
    faulthandler.dump_traceback_later(HUNG_SECONDS, exit=True)
    start = time.process_time()  # of this process alone: others may slow it down
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
    assert time.process_time() - start < LONGEST_SECONDS
