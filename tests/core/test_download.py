"""Downloads end complete and verified, or leave nothing."""

import contextlib
import errno
import hashlib
import http.server
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from net2vec_jax.core import download
from net2vec_jax.core.download import download_file
from net2vec_jax.core.errors import Net2VecError

CONTENT = np.random.default_rng(0).bytes(700_001)
HALF = 300_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Server(http.server.ThreadingHTTPServer):
    """Serves one file on this machine, as badly as a test wants.

    Attributes:
      content: the file.
      drops: whether answers end after `HALF` bytes of their body.
      stalls: whether an answer that should end early stays silent instead.
      status: answered instead of the file.
      redirect: where to, instead of the file.
      announces_length: whether the length is sent; otherwise the end of the connection is the end.
      requests: how many there were.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = CONTENT
        self.drops, self.stalls = False, False
        self.status, self.redirect = None, None
        self.announces_length = True
        self.requests = 0
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/weights.pth"


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        server.requests += 1
        if server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
            return
        if server.status:
            self.send_error(server.status)
            return
        body = server.content
        self.send_response(200)
        if server.announces_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = HALF if server.drops or server.stalls else len(body)
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body[:cut])
            if server.stalls:
                server.closing.wait(10)
                if not server.drops:
                    self.wfile.write(body[cut:])
        self.close_connection = True


@pytest.fixture
def server():
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "weights.pth"


def _get(server, path, checksum=f"sha256:{SHA256}"):
    return download_file(server.url, path, checksum=checksum, progress=False)


def _assert_complete(path, content=CONTENT):
    assert path.read_bytes() == content
    assert {other.name for other in path.parent.iterdir()} <= {path.name, path.name + ".lock"}


def _assert_nothing_left(path):
    assert {other.name for other in path.parent.iterdir()} <= {path.name + ".lock"}


@pytest.mark.parametrize(
    "checksum",
    [
        f"sha256:{SHA256}",
        f"SHA256:{SHA256[:8].upper()}",
        f"sha1:{hashlib.sha1(CONTENT).hexdigest()}",
        f"md5:{hashlib.md5(CONTENT).hexdigest()}",
        None,
    ],
)
def test_file_arrives_whole_and_once(server, path, checksum):
    assert _get(server, path, checksum) == path
    assert _get(server, path, checksum) == path
    _assert_complete(path)
    assert server.requests == 1


def test_a_right_file_put_there_by_hand_is_used(server, path):
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert _get(server, path, f"sha256:{SHA256[:8]}").read_bytes() == CONTENT
    assert server.requests == 0


def test_a_wrong_file_put_there_by_hand_is_refused_and_kept(server, path):
    path.parent.mkdir()
    path.write_bytes(b"by hand")
    with pytest.raises(Net2VecError) as caught:
        _get(server, path)
    for part in (hashlib.sha256(b"by hand").hexdigest(), SHA256, f"delete {path}"):
        assert part in str(caught.value)
    assert path.read_bytes() == b"by hand"
    assert server.requests == 0


def test_empty_files_and_files_without_length_arrive(server, path):
    server.announces_length = False
    _get(server, path)
    _assert_complete(path)
    server.content, server.announces_length = b"", True
    empty = path.with_name("empty")
    _get(server, empty, None)
    assert empty.read_bytes() == b""


def test_a_bar_shows_the_bytes(server, path, capsys):
    download_file(server.url, path, checksum=None)
    assert "100%" in capsys.readouterr().err


def test_dropped_connections_leave_nothing(server, path):
    server.drops = True
    with pytest.raises(Net2VecError, match=rf"{server.url}: .* ended after .*run again"):
        _get(server, path, None)
    _assert_nothing_left(path)
    server.drops = False
    _get(server, path)
    _assert_complete(path)


def test_silent_servers_are_given_up(server, path, monkeypatch):
    monkeypatch.setattr(download, "READ_SECONDS", 0.1)
    server.stalls = server.drops = True
    with pytest.raises(Net2VecError, match=r"ended after \d+ bytes .*timed out"):
        _get(server, path)
    _assert_nothing_left(path)


def test_a_killed_download_is_begun_anew(server, path):
    path.parent.mkdir()
    path.with_name("weights.pth.partial").write_bytes(b"beginning")
    _get(server, path)
    _assert_complete(path)


def test_a_wrong_checksum_is_refused_and_the_bytes_removed(server, path):
    with pytest.raises(Net2VecError) as caught:
        _get(server, path, "sha256:" + "0" * 64)
    for part in (server.url, SHA256, "0" * 64, f"put it at {path}"):
        assert part in str(caught.value)
    _assert_nothing_left(path)


@pytest.mark.parametrize("status", [403, 404, 500])
def test_refusals_name_the_status(server, path, status):
    server.status = status
    with pytest.raises(Net2VecError, match=rf"{server.url}.* {status} .*put it at {path}"):
        _get(server, path)
    _assert_nothing_left(path)


def test_only_web_addresses_are_followed(server, path, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with pytest.raises(Net2VecError, match="only http and https"):
        download_file(secret.as_uri(), path, checksum=None)
    server.redirect = secret.as_uri()
    with pytest.raises(Net2VecError, match="cannot be reached"):
        _get(server, path)
    server.redirect = server.url
    with pytest.raises(Net2VecError, match="redirects"):
        _get(server, path)
    assert not path.exists()


def test_no_server_gives_address_and_hint(path):
    closed = _Server()  # a port that nobody listens at any more
    closed.server_close()
    with pytest.raises(Net2VecError, match=r"weights\.pth: cannot be reached .*refused.* ask Ada"):
        download_file(closed.url, path, checksum=None, hint="ask Ada")
    with pytest.raises(Net2VecError, match=r"nowhere\.invalid/a: cannot be reached"):
        download_file("http://nowhere.invalid/a", path, checksum=None)


def test_targets_that_cannot_be_written_are_refused(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Net2VecError, match=r"a\.pth cannot be .*written \(a file is where"):
        _get(server, tmp_path / "file" / "a.pth")
    with pytest.raises(Net2VecError, match=r"a\.pth cannot be .*written \(a file is where"):
        _get(server, tmp_path / "file" / "folder" / "a.pth")
    with pytest.raises(Net2VecError, match="is a directory"):
        _get(server, tmp_path)
    assert server.requests == 0


def test_a_full_disk_is_named_and_nothing_left(server, path, monkeypatch):
    import pooch

    def fill(self, url, output_file, pooch):
        with open(output_file, "wb") as file:
            file.write(b"beginning")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", fill)
    with pytest.raises(Net2VecError, match=rf"{path}: the disk is full; free some space and run"):
        _get(server, path)
    _assert_nothing_left(path)


def test_one_downloads_while_the_others_wait(server, path, capsys):
    server.stalls = True  # the first answer stays unfinished for a while
    threads = [threading.Thread(target=_get, args=(server, path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while "waiting for it" not in (shown := capsys.readouterr().err):
        assert time.monotonic() < deadline, shown
        time.sleep(0.01)
    server.closing.set()
    for thread in threads:
        thread.join(10)
    _assert_complete(path)
    assert server.requests == 1


def test_two_processes_download_once(server, path):
    script = (
        "import sys; from net2vec_jax.core.download import download_file; "
        "download_file(sys.argv[1], sys.argv[2], checksum=None, progress=False)"
    )
    command = [sys.executable, "-c", script, server.url, str(path)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    _assert_complete(path)
    assert server.requests == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        SHA256,
        "sha256:1234567",
        f"sha256:{SHA256}0",
        "sha1:12345678",
        "crc:00",
        "sha256:xxxxxxxx",
    ],
)
def test_malformed_checksums_are_mistakes_of_the_program(path, text):
    with pytest.raises(ValueError, match="is no checksum") as caught:
        download_file("http://127.0.0.1/a", path, checksum=text)
    assert not isinstance(caught.value, Net2VecError)
    assert not path.parent.exists()
