"""Name what users take for a weight file but is none, or is of a kind that is not read.

Downloads leave web pages and pointers under the names of weights, and suffixes tell little.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from net2vec_jax.core.errors import Net2VecError, list_names

HEAD_BYTES = 4096
AGAIN = "download the weight file itself again"
UNPACK = "unpack it and give the file inside"
CONVERT = (
    "open it with its own library and save the arrays with "
    "numpy.savez(FILE, **arrays) or as .safetensors"
)
TENSORFLOW = "load it with TensorFlow and save the weights as Keras .h5 or with numpy.savez"

# What the first bytes match, what the file is then, and what to do.
KINDS: tuple[tuple[bytes, str, str], ...] = (
    (
        rb"version https://git-lfs",
        "a Git LFS pointer, a few lines of text in place of the weights",
        "fetch them with `git lfs pull`",
    ),
    (
        rb"\S*/annex/objects/",
        "a git-annex pointer, one line of text in place of the weights",
        "fetch them with `git annex get`",
    ),
    (rb"(\xef\xbb\xbf)?\s*<", "a web page or an XML file, not weights", AGAIN),
    (rb"\x1f\x8b", "compressed by gzip", UNPACK),
    (rb"BZh\d1AY", "compressed by bzip2", UNPACK),
    (rb"\xfd7zXZ", "compressed by xz", UNPACK),
    (rb"\x28\xb5\x2f\xfd", "compressed by zstd", UNPACK),
    (rb"7z\xbc\xaf\x27\x1c|Rar!", "a packed archive", UNPACK),
    (rb".{4}TFL3", "a TensorFlow Lite model", CONVERT),
    (rb"GGUF|lmgg|tjgg|fmgg", "a GGUF file", CONVERT),
    (rb"\x08\x01\x12", "a TensorFlow SavedModel", TENSORFLOW),
    (rb"\x08[\x02-\x20][\x12\x1a\x22\x28\x3a\x42]", "an ONNX model", CONVERT),
    (rb"\n.{1,5}\n.{1,99}\x12.(Placeholder|Const|NoOp)", "a TensorFlow graph", TENSORFLOW),
    (rb"([\x81-\x8f]|\xde..)[\xa0-\xbf\xd9]", "a msgpack file, as Flax writes", CONVERT),
    (rb"MATLAB \d", "a MATLAB file", CONVERT),
    (rb"[\x03\x04]\0\0\0\x01\0\0\0", "a Torch7 (Lua) file", CONVERT),
    (rb"\x12\x01\0{6}", "an MXNet file", CONVERT),
    (rb"\x93NUMPY", "a single array (.npy)", CONVERT),
    (rb"\0{4}[\1\2]\0{3}.\0{3}", "a Darknet file without names of weights", CONVERT),
)
# What a folder is by the names in it; the first that matches counts.
FOLDERS = (
    ("saved_model.pb", "a TensorFlow SavedModel", TENSORFLOW),
    ("*.distcp", "a checkpoint of torch.distributed", "join it with torch's dcp_to_torch_save"),
    ("zero_to_fp32.py", "a DeepSpeed checkpoint", "run the zero_to_fp32.py in it"),
    ("_METADATA", "an Orbax checkpoint", CONVERT),
    ("manifest.ocdbt", "an Orbax checkpoint", CONVERT),
    ("_CHECKPOINT_METADATA", "an Orbax checkpoint", CONVERT),
    ("model.json", "a TensorFlow.js model", CONVERT),
    ("data.pkl", "an unpacked PyTorch file", "give the file that it was unpacked from"),
    ("*/data.pkl", "an unpacked PyTorch file", "give the file that it was unpacked from"),
    ("*.index", "a TensorFlow checkpoint", TENSORFLOW),
)


def refuse_known(path: Path, head: bytes) -> None:
    """Raise a Net2VecError that names the file's kind, if its first bytes tell one."""
    if not head:
        raise Net2VecError(f"{path}: is empty; {AGAIN}")
    for pattern, what, cure in KINDS:
        if re.match(pattern, head, re.DOTALL):
            raise Net2VecError(f"{path}: is {what}; {cure}")
    if re.search(r"\.(data-\d{5}-of-\d{5}|index)$|-shard\d+of\d+$", path.name):
        raise Net2VecError(f"{path}: is a part of a TensorFlow model; {TENSORFLOW}")


def refuse_text(path: Path, head: bytes) -> None:
    """The same for any text: an error page, a description of a network."""
    text = head[: len(head) - 4 * (len(head) == HEAD_BYTES)].decode("utf-8", "replace")
    if "�" in text or not all(letter.isprintable() or letter.isspace() for letter in text):
        return
    start = " ".join(text.split())[:60]
    if start[:1] in ("{", "["):
        if re.search(r'"(modelTopology|weightsManifest)"', text):
            raise Net2VecError(f"{path}: is the description of a TensorFlow.js model; {CONVERT}")
        raise Net2VecError(f"{path}: is JSON, not weights; {AGAIN}")
    if re.search(r"^\s*(name|layers?|input)\s*[:{]", text):
        raise Net2VecError(
            f"{path}: is a description of a Caffe network; give the .caffemodel with its weights"
        )
    raise Net2VecError(f"{path}: is text ({start!r}), not weights; {AGAIN}")


def refuse_archive(path: Path, members: Iterable[str]) -> None:
    """The same for a zip archive, by the names in it."""
    members = list(members)
    names = {name.rpartition("/")[2] for name in members}
    if "constants.pkl" in names:
        what = "a TorchScript archive (torch.jit.save)"
        cure = "in PyTorch, torch.save(torch.jit.load(FILE).state_dict(), NEW_FILE)"
    elif names & {"serialized_exported_program.json", "archive_format"}:
        what = "an exported program (torch.export)"
        cure = "in PyTorch, torch.save(torch.export.load(FILE).state_dict, NEW_FILE)"
    elif "model.weights.h5" in names:
        what = "a whole model of Keras 3"
        cure = "unpack it and give the model.weights.h5 inside"
    elif "data.pkl" in names:
        return
    else:
        what, cure = f"a zip archive of {list_names(members, most=5):.300}", UNPACK
    raise Net2VecError(f"{path}: is {what}; {cure}")


def refuse_folder(path: Path) -> None:
    """The same for a folder."""
    for pattern, what, cure in FOLDERS:
        if next(path.glob(pattern), None):
            raise Net2VecError(f"{path}: is {what}; {cure}")
