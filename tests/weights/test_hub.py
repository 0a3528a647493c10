"""Weights of the Hub, against a server on this machine that answers as the Hub does."""

from __future__ import annotations

import http.server
import json
import threading

import pytest

from net2vec_jax.core.errors import Net2VecError
from net2vec_jax.weights.hub import HubSettings, fetch_hub_weights, is_on_hub, read_hub_settings

COMMIT = "a" * 40
HALVES = (127.5, 127.5, 127.5)
CONFIG = {
    "architecture": "resnet18",
    "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3, "input_size": [3, 288, 288]},
}
FILES = {
    "timm/resnet18.test": {"model.safetensors": b"weights", "config.json": json.dumps(CONFIG)},
    "own/old": {"pytorch_model.bin": b"old"},
    "own/parts": {
        "model.safetensors.index.json": '{"weight_map": {"a": "one.st", "b": "two.st"}}',
        "one.st": b"1",
        "two.st": b"2",
    },
    "own/named": {"deep/weights.pth": b"named", "README.md": b""},
}


class _Hub(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        owner, name, _, revision, file = self.path.strip("/").split("/", 4)
        files = FILES.get(f"{owner}/{name}")
        refusal = (
            (403, "GatedRepo")
            if owner == "gated"
            else (401, "RepoNotFound")
            if files is None
            else (404, "RevisionNotFound")
            if revision not in ("main", COMMIT)
            else (404, "EntryNotFound")
            if file not in files
            else None
        )
        content = b"" if refusal or files is None else files[file]
        content = content.encode() if isinstance(content, str) else content
        self.send_response(refusal[0] if refusal else 200)
        if refusal:
            self.send_header("X-Error-Code", refusal[1])
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{owner}{name}{file.replace("/", "-")}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def do_GET(self):
        self.wfile.write(self.do_HEAD())

    def log_message(self, format, *args):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The server's thread; cache and address are its own."""
    constants = pytest.importorskip("huggingface_hub.constants")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield server
    server.shutdown()
    server.server_close()


def test_names_of_the_hub_are_known():
    assert is_on_hub("hf:facebook/dino") and is_on_hub("timm:resnet50")
    assert not is_on_hub("timm/resnet50") and not is_on_hub("imagenet")


@pytest.mark.parametrize(
    "name, content",
    [
        ("timm:resnet18.test", b"weights"),
        ("hf:timm/resnet18.test@main", b"weights"),
        ("hf:own/old", b"old"),
        (f"hf:own/named@{COMMIT}/deep/weights.pth", b"named"),
    ],
)
def test_weights_are_fetched_and_then_found_without_a_network(hub, name, content):
    assert fetch_hub_weights(name).read_bytes() == content
    hub.shutdown()
    hub.server_close()
    assert fetch_hub_weights(name).read_bytes() == content


def test_the_configuration_beside_says_what_the_network_sees(hub):
    settings = read_hub_settings(fetch_hub_weights("timm:resnet18.test").parent)
    assert settings == HubSettings("resnet18", HALVES, (63.75, 63.75, 63.75), 288)


def test_all_parts_are_fetched(hub):
    folder = fetch_hub_weights("hf:own/parts").parent
    assert {"one.st", "two.st"} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    "name, reason",
    [
        ("hf:own", "write hf:OWNER/NAME"),
        ("hf:own/none", "has no repository own/none"),
        ("timm:resnet18.test@v2", "no revision v2"),
        ("hf:own/named", "has no weights .* name its file"),
        ("hf:own/named/weights.pth", r"has no weights\.pth"),
        ("hf:gated/one", "access is granted"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(hub, name, reason):
    with pytest.raises(Net2VecError, match=reason) as caught:
        fetch_hub_weights(name)
    assert "\n" not in str(caught.value)


def test_without_network_and_cache_the_remedy_is_said(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Net2VecError, match="the Hub cannot be reached"):
        fetch_hub_weights("timm:resnet18.test")


def test_transformers_preprocessing_is_read(tmp_path):
    config = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 255}
    images = config | {"size": {"height": 384, "width": 384}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(images))
    assert read_hub_settings(tmp_path) == HubSettings(None, HALVES, HALVES, 384)
    assert read_hub_settings(tmp_path / "elsewhere") == HubSettings()
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [1, "a"]}))
    with pytest.raises(Net2VecError, match="is damaged"):
        read_hub_settings(tmp_path)
