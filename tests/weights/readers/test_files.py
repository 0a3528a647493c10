"""A weight file's format is known by its suffix."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.readers.files import load_weight_file


def test_suffixes_choose_the_reader(tmp_path):
    torch = pytest.importorskip("torch")
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "weights.SafeTensors")
    for name in ("weights.pth", "weights.pt", "weights_places365.pth.tar", "pytorch_model.bin"):
        torch.save({"a": torch.ones(2)}, tmp_path / name)
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(load_weight_file(path)["a"], [1, 1])


def test_caffe_files_are_read_by_the_caffe_reader(tmp_path):
    (tmp_path / "a.caffemodel").write_bytes(b"no protobuf")
    with pytest.raises(Net2VecError, match=r"a\.caffemodel: is"):
        load_weight_file(tmp_path / "a.caffemodel")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "weights.h5").write_bytes(b"x")
    with pytest.raises(Net2VecError, match=r"weights\.h5: unknown kind .* \.safetensors, \.caffe"):
        load_weight_file(tmp_path / "weights.h5")
    with pytest.raises(Net2VecError, match="no such weight file"):
        load_weight_file(tmp_path / "none.h5")
    with pytest.raises(Net2VecError, match="is a directory"):
        load_weight_file(tmp_path)
