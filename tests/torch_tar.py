"""A file as torch wrote it before 0.1.10: a tar archive of storages, tensors and a pickle."""

from __future__ import annotations

import collections
import io
import pickle
import struct
import tarfile
from collections.abc import Sequence

import numpy as np

NUMBERS = np.arange(24, dtype=np.float32)
MEMBERS = ("sys_info", "pickle", "tensors", "storages")


class _Reference:
    """Pickles as the identity of a tensor."""

    def __init__(self, number: int) -> None:
        self.number = number


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: object) -> str | None:
        return str(obj.number) if isinstance(obj, _Reference) else None


def _pickle_triple(key: int, second: object, kind: str) -> bytes:
    """(key, second, class of torch), without torch."""
    fields = pickle.dumps(key, 2)[2:-1] + pickle.dumps(second, 2)[2:-1]
    return b"\x80\x02" + fields + f"ctorch\n{kind}\n".encode() + b"\x87."


def tar_file(
    *,
    sys_info: object = None,
    names: Sequence[str] = MEMBERS,
    elements: int = 24,
    shape: Sequence[int] = (4, 6),
    axes: int = 2,
    root: int = 7,
) -> bytes:
    """A state dict of `NUMBERS` in `shape`, and of a transposed part of them."""
    sys_info = sys_info or {"protocol_version": 1000, "little_endian": True}
    storages = pickle.dumps(1, 2) + _pickle_triple(7, "cpu", "FloatStorage")
    storages += struct.pack("<q", elements) + NUMBERS.tobytes()
    storages += pickle.dumps([(9, root, 6, 6)], 2)
    tensors = pickle.dumps(2, 2)
    for key, storage, sizes, strides in ((1000, 7, shape, (6, 1)), (1001, 9, (2, 3), (1, 2))):
        tensors += _pickle_triple(key, storage, "FloatTensor")
        tensors += struct.pack("<ii5q", axes, 0, *sizes, *strides, 0)
    pickled = io.BytesIO()
    entries = [("a.weight", _Reference(1000)), ("view", _Reference(1001))]
    _Pickler(pickled, 2).dump(collections.OrderedDict(entries))
    contents = (pickle.dumps(sys_info, 2), pickled.getvalue(), tensors, storages)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        for name, data in zip(names, contents, strict=True):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()
