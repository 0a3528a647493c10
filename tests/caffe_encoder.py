"""Write Caffe's files byte by byte, after caffe.proto and protobuf's encoding, without protobuf."""

from __future__ import annotations


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field, value):
    """A field of an integer type."""
    return varint(field << 3) + varint(value)


def message(field, contents):
    """A field that is a message, a string or a packed list."""
    return varint(field << 3 | 2) + varint(len(contents)) + contents


def shaped_blob(array, *, double=False):
    """BlobProto { data = 5, diff = 6, shape = 7 { dim = 1 }, double_data = 8 }."""
    field, kind = (8, "<f8") if double else (5, "<f4")
    data = message(field, array.astype(kind).tobytes())
    gradient = message(6, array.astype("<f4").tobytes())
    dimensions = message(1, b"".join(varint(length) for length in array.shape))
    return message(7, dimensions) + data + gradient


def legacy_blob(array):
    """BlobProto { num = 1, channels = 2, height = 3, width = 4, data = 5 }, always four axes."""
    shape = (1,) * (4 - array.ndim) + array.shape
    axes = b"".join(number(place, length) for place, length in enumerate(shape, 1))
    return axes + message(5, array.astype("<f4").tobytes())


def layer(name, kind, blobs):
    """NetParameter.layer = 100: LayerParameter { name = 1, type = 2, blobs = 7 }."""
    phase = number(10, 1)  # a field that the reader does not know
    parts = [message(1, name.encode()), message(2, kind.encode()), phase]
    return message(100, b"".join([*parts, *(message(7, blob) for blob in blobs)]))


def v1_layer(name, kind, blobs):
    """NetParameter.layers = 2: V1LayerParameter { name = 4, type = 5, blobs = 6 }."""
    parts = [message(2, b"data"), message(4, name.encode()), number(5, kind)]
    return message(2, b"".join([*parts, *(message(6, blob) for blob in blobs)]))
