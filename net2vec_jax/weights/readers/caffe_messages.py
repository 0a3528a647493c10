"""The part of Caffe's protobuf messages that holds trained weights.

Caffe's files follow its `caffe.proto`. Here are only the messages and fields that lead to the
weights, under Caffe's names and numbers, since protobuf skips fields that it does not know:

    message BlobShape { repeated int64 dim = 1 [packed = true]; }
    message BlobProto {
      optional int32 num = 1;  optional int32 channels = 2;     // shape in files before 2015
      optional int32 height = 3;  optional int32 width = 4;
      repeated float data = 5 [packed = true];
      optional BlobShape shape = 7;
      repeated double double_data = 8 [packed = true];
    }
    message LayerParameter {                                    // today's layers
      optional string name = 1;  optional string type = 2;  repeated BlobProto blobs = 7;
    }
    message V1LayerParameter {                                  // layers before 2015
      optional string name = 4;  optional int32 type = 5;  repeated BlobProto blobs = 6;
    }
    message NetParameter {
      optional string name = 1;
      repeated V1LayerParameter layers = 2;  repeated LayerParameter layer = 100;
    }

`type` of `V1LayerParameter` is an enumeration in Caffe, which has the same encoding.
"""

from __future__ import annotations

from functools import cache
from typing import Any

PACKAGE = "net2vec_jax.caffe"
LAYER_FIELDS = {2: ("V1LayerParameter", 6), 100: ("LayerParameter", 7)}
"""Fields of `NetParameter` that hold layers: their message, and its field that holds blobs."""
NUMBER_FIELDS: dict[int, tuple[str | None, str]] = {
    5: ("data", "<f4"),
    6: (None, "<f4"),
    8: ("double_data", "<f8"),
    9: (None, "<f8"),
}
"""Fields of `BlobProto` with long runs of numbers, and their type; gradients have no name here."""

# Message → (field, number, type, repeated); a type with a capital is another message.
_MESSAGES: dict[str, tuple[tuple[str, int, str, bool], ...]] = {
    "BlobShape": (("dim", 1, "int64", True),),
    "BlobProto": (
        ("num", 1, "int32", False),
        ("channels", 2, "int32", False),
        ("height", 3, "int32", False),
        ("width", 4, "int32", False),
        ("data", 5, "float", True),
        ("shape", 7, "BlobShape", False),
        ("double_data", 8, "double", True),
    ),
    "LayerParameter": (
        ("name", 1, "string", False),
        ("type", 2, "string", False),
        ("blobs", 7, "BlobProto", True),
    ),
    "V1LayerParameter": (
        ("name", 4, "string", False),
        ("type", 5, "int32", False),
        ("blobs", 6, "BlobProto", True),
    ),
}


@cache
def message_classes() -> dict[str, Any]:
    """The message classes by name: "BlobProto", "LayerParameter", "V1LayerParameter"."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(
        name="net2vec_jax/caffe.proto", package=PACKAGE, syntax="proto2"
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, number, kind, repeated in fields:
            field = described.field.add(name=name, number=number)
            field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind[0].isupper():
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
            else:
                field.type = getattr(kinds, f"TYPE_{kind.upper()}")
                if repeated and kind != "string":
                    field.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{message}"))
        for message in _MESSAGES
    }
