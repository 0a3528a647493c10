"""Read the weights of a `.caffemodel`, in both of Caffe's layer formats, without Caffe.

The file is one protobuf message: layers, in them blobs, in them numbers.
"""

from __future__ import annotations

import functools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from net2vec_jax.core.errors import Net2VecError

_MESSAGES = """
message BlobShape { repeated int64 dim = 1; }
message BlobProto {
  optional int32 num = 1;  optional int32 channels = 2;
  optional int32 height = 3;  optional int32 width = 4;
  repeated bytes data = 5;  optional BlobShape shape = 7;  repeated bytes double_data = 8;
}
message LayerParameter {
  optional string name = 1;  optional string type = 2;  repeated BlobProto blobs = 7;
}
message V1LayerParameter {
  optional bytes layer = 1;
  optional string name = 4;  optional int32 type = 5;  repeated BlobProto blobs = 6;
}
message NetParameter { repeated V1LayerParameter layers = 2;  repeated LayerParameter layer = 100; }
"""
"""What leads to the weights in Caffe's caffe.proto; protobuf skips fields that it does not know.

`data` and `double_data` are packed float and double there, and the type of a V1 layer is an
enumeration; the encoding is the same. V1 layers, and num … width, are those of files before 2015;
`layer` in a V1 layer is one of the format before 2013.
"""
# Layers whose kernel is a matrix, by their name today and their number before 2015.
INNER_PRODUCT = ("InnerProduct", 14)
MOST_AXES = 32
"""Axes of a blob in Caffe."""


class _DamagedError(Exception):
    """Why a file is no caffemodel; the caller adds the file's name."""


def load_caffe_file(path: str | Path) -> dict[str, np.ndarray]:
    """Read the weights of all layers.

    Args:
      path: a .caffemodel file, with layers as Caffe writes them since 2015 or as before.

    Returns:
      {"layer.number": float32 or float64 array}, in the order of the file: "conv1.0" is the kernel
      [out, in / groups, height, width], "fc6.0" the matrix [out, in], and ".1" the bias [out].

    Raises:
      Net2VecError: the file is truncated, no caffemodel or of the format before 2013; a
        blob's shape and number of values disagree; two layers have one name.
    """
    from google.protobuf.message import DecodeError

    path = Path(path)
    try:
        return _read_layers(_net_parameter_class().FromString(path.read_bytes()))
    except DecodeError as error:
        raise Net2VecError(
            f"{path}: is no .caffemodel, or is truncated or damaged ({error}); download it again"
        ) from error
    except _DamagedError as error:
        raise Net2VecError(f"{path}: {error}") from error
    except (OSError, ValueError) as error:  # a directory, an unreadable file, a name in no UTF-8
        raise Net2VecError(f"{path}: cannot be read as a .caffemodel file ({error})") from error


@functools.cache
def _net_parameter_class() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    package = "net2vec_jax.caffe"
    file = descriptor_pb2.FileDescriptorProto(
        name="net2vec_jax/caffe.proto", package=package, syntax="proto2"
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, body in re.findall(r"message (\w+) {(.*?)}", _MESSAGES, re.DOTALL):
        described = file.message_type.add(name=message)
        for label, kind, name, number in re.findall(r"(\w+) (\w+) (\w+) = (\d+);", body):
            field = described.field.add(name=name, number=int(number))
            field.label = kinds.Label.Value(f"LABEL_{label.upper()}")
            if kind[0].isupper():
                field.type_name = f".{package}.{kind}"
                kind = "message"
            field.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.NetParameter"))


def _read_layers(net: Any) -> dict[str, np.ndarray]:
    if any(layer.HasField("layer") and not layer.blobs for layer in net.layers):
        raise _DamagedError(
            "is of the format before 2013; convert it with Caffe's upgrade_net_proto_binary"
        )
    arrays: dict[str, np.ndarray] = {}
    for layer in (*net.layers, *net.layer):
        for place, blob in enumerate(layer.blobs):
            key = f"{layer.name}.{place}"
            if key in arrays:
                raise _DamagedError(
                    f"is damaged: two layers with weights are named {layer.name!r:.60}"
                )
            arrays[key] = _read_blob(blob, key, is_matrix=layer.type in INNER_PRODUCT)
    if not arrays:
        raise _DamagedError("holds no layers with weights, so it is no .caffemodel")
    return arrays


def _read_blob(blob: Any, key: str, *, is_matrix: bool) -> np.ndarray:
    """A blob's values in their shape.

    Before 2015 every blob had four axes: a matrix was [1, 1, out, in], a bias [1, 1, 1, out].
    """
    runs = []
    for fields, dtype in ((blob.data, np.dtype("<f4")), (blob.double_data, np.dtype("<f8"))):
        for run in fields:
            if len(run) % dtype.itemsize:
                raise _DamagedError(f"is damaged: its blob {key:.80} ends within a number")
            runs.append(np.frombuffer(run, dtype))
    values = runs[0] if len(runs) == 1 else np.concatenate([np.zeros(0, np.float32), *runs])
    if blob.HasField("shape"):
        shape = tuple(blob.shape.dim)
    else:
        shape = (blob.num, blob.channels, blob.height, blob.width)
        axes = 1 if not key.endswith(".0") else 2 if is_matrix else 4
        if shape[: 4 - axes] != (1,) * (4 - axes):
            raise _DamagedError(
                f"is damaged: its blob {key:.80} has shape {shape}; expected at most {axes} axes "
                "longer than 1"
            )
        shape = shape[4 - axes :]
    # The product of a long list of numbers would take for ever.
    if len(shape) > MOST_AXES or min(shape, default=1) < 0 or math.prod(shape) != len(values):
        raise _DamagedError(
            f"is damaged: its blob {key:.80} has shape {shape!s:.200}, but {len(values)} values"
        )
    return values.reshape(shape)
