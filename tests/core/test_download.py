"""Downloads end complete and verified, or not at all; what was received is not received again."""

import contextlib
import errno
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from net2vec_jax.core import download
from net2vec_jax.core.checksum import Checksum, verify_file
from net2vec_jax.core.download import download_file
from net2vec_jax.core.errors import Net2VecError

CONTENT = np.random.default_rng(0).bytes(700_001)
HALF = 300_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Server(http.server.ThreadingHTTPServer):
    """Serves one file on this machine, as badly as a test wants.

    Attributes:
      content: the file.
      headers: sent with every answer; by default an ETag.
      drops: how many of the next answers end after `HALF` bytes of their body.
      stalls: whether an answer that should end early stays silent instead.
      ranges: whether requests for a range are granted.
      content_range: sent instead of the right one.
      status: answered instead of the file.
      redirect: where to, instead of the file.
      announces_length: whether the length is sent; otherwise the end of the connection is the end.
      requests: the Range header of every request, None where there was none.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = CONTENT
        self.headers = {"ETag": '"first"'}
        self.drops, self.stalls, self.ranges = 0, False, True
        self.content_range, self.status, self.redirect = None, None, None
        self.announces_length = True
        self.requests = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/weights.pth"


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append(wanted)
        if server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
            return
        if server.status:
            self.send_error(server.status)
            return
        condition = self.headers.get("If-Range")
        granted = wanted and server.ranges and condition in (None, *server.headers.values())
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if granted else 0
        total = len(server.content)
        if granted and start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.content[start:]
        self.send_response(206 if granted else 200)
        if granted:
            right = f"bytes {start}-{total - 1}/{total}"
            self.send_header("Content-Range", server.content_range or right)
        if server.announces_length:
            self.send_header("Content-Length", str(len(body)))
        for name, value in server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if server.drops:
            server.drops -= 1
            body = body[:HALF]
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)
        if server.stalls and len(body) == HALF:
            server.closing.wait(10)
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
def _no_pauses(monkeypatch):
    monkeypatch.setattr(download, "BACKOFF_SECONDS", 0.001)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "weights.pth"


def _get(server, path, checksum=f"sha256:{SHA256}"):
    return download_file(server.url, path, checksum=checksum, progress=False)


def _interrupt(server, path, checksum=f"sha256:{SHA256}"):
    """Leave the first `HALF` bytes, as after a connection that drops at every attempt."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "ATTEMPTS", 1)
        server.drops = 1
        with pytest.raises(Net2VecError, match=f"after {HALF} of 700001 bytes"):
            _get(server, path, checksum)
    assert _partial(path).read_bytes() == CONTENT[:HALF]
    server.requests.clear()


def _partial(path):
    return path.with_name(path.name + ".partial")


def _assert_complete(path, content=CONTENT):
    assert path.read_bytes() == content
    assert {other.name for other in path.parent.iterdir()} <= {path.name, path.name + ".lock"}


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
def test_file_arrives_whole(server, path, checksum):
    assert _get(server, path, checksum) == path
    _assert_complete(path)
    assert server.requests == [None]


def test_a_file_that_is_there_is_not_asked_for(server, path):
    path.parent.mkdir()
    path.write_bytes(b"by hand")
    assert _get(server, path).read_bytes() == b"by hand"
    assert server.requests == []


def test_empty_files_and_files_without_length_arrive(server, path):
    server.announces_length = False
    _get(server, path)
    _assert_complete(path)
    server.content, server.announces_length = b"", True
    empty = path.with_name("empty")
    _get(server, empty, None)
    assert empty.read_bytes() == b""


def test_bar_goes_on_from_where_the_file_is(server, path, capsys):
    _interrupt(server, path)
    download_file(server.url, path, checksum=None)
    assert "weights.pth:  43%" in capsys.readouterr().err


def test_drops_are_resumed_within_one_call(server, path):
    server.drops = 2
    _get(server, path)
    _assert_complete(path)
    assert server.requests == [None, "bytes=300000-", "bytes=600000-"]


def test_an_interrupted_download_is_resumed_by_the_next_call(server, path):
    _interrupt(server, path)
    _get(server, path)
    _assert_complete(path)
    assert server.requests == ["bytes=300000-"]


def test_a_date_tells_versions_apart_where_there_is_no_tag(server, path):
    server.headers = {"Last-Modified": "Mon, 01 Jan 2018 00:00:00 GMT", "ETag": 'W/"weak"'}
    _interrupt(server, path)
    _get(server, path)
    _assert_complete(path)
    assert server.requests == ["bytes=300000-"]


def test_connections_that_always_drop_end_in_an_error_that_says_how_far_it_got(server, path):
    server.drops = 99
    server.content = CONTENT * 3
    with pytest.raises(Net2VecError, match=r"after 1500000 of 2100003 bytes.*5 times; run again"):
        _get(server, path, None)
    assert _partial(path).stat().st_size == 5 * HALF
    assert len(server.requests) == download.ATTEMPTS


def test_silent_servers_are_given_up(server, path, monkeypatch):
    monkeypatch.setattr(download, "READ_SECONDS", 0.1)
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    server.stalls, server.drops = True, 2
    with pytest.raises(Net2VecError, match=r"the connection ended after \d+ of 700001 bytes"):
        _get(server, path)
    received = _partial(path).read_bytes()
    assert received == CONTENT[: len(received)]
    server.stalls = False
    _get(server, path)
    _assert_complete(path)


def test_a_file_that_changed_is_not_stitched_together(server, path):
    _interrupt(server, path, None)
    server.content, server.headers = CONTENT[::-1], {"ETag": '"second"'}
    _get(server, path, None)
    _assert_complete(path, CONTENT[::-1])
    assert server.requests == ["bytes=300000-"]


def test_a_changed_file_is_noticed_where_the_server_grants_ranges_regardless(server, path):
    _interrupt(server, path, None)
    server.content = CONTENT[::-1]
    record = json.loads(path.with_name("weights.pth.partial.json").read_text())
    assert record["validator"] == '"first"'
    server.headers = {"ETag": '"second"', "X": '"first"'}  # so that If-Range is granted
    _get(server, path, None)
    _assert_complete(path, CONTENT[::-1])
    assert server.requests == ["bytes=300000-", None]


def test_without_checksum_and_version_nothing_is_resumed(server, path):
    server.headers = {}
    _interrupt(server, path, None)
    _get(server, path, None)
    _assert_complete(path)
    assert server.requests == [None]


def test_servers_that_ignore_ranges_send_all_again(server, path):
    _interrupt(server, path)
    server.ranges = False
    _get(server, path)
    _assert_complete(path)
    assert server.requests == ["bytes=300000-"]


@pytest.mark.parametrize(
    "content_range",
    ["bytes 0-700000/700001", "bytes 300000-700000/800000", "bytes", "bytes */700001"],
)
def test_ranges_that_do_not_go_on_are_not_used(server, path, content_range):
    _interrupt(server, path)
    server.content_range = content_range
    _get(server, path)
    _assert_complete(path)
    assert server.requests == ["bytes=300000-", None]


def test_a_whole_partial_file_is_finished(server, path):
    _interrupt(server, path)
    _partial(path).write_bytes(CONTENT)
    _get(server, path)
    _assert_complete(path)
    assert server.requests == []


@pytest.mark.parametrize(("extra", "requests"), [(b"", 1), (b"too long", 2)])
def test_nothing_after_the_end_is_either_whole_or_wrong(server, path, extra, requests):
    _interrupt(server, path)
    record = path.with_name("weights.pth.partial.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"total": None}))
    _partial(path).write_bytes(CONTENT + extra)
    _get(server, path)
    _assert_complete(path)
    assert len(server.requests) == requests


@pytest.mark.parametrize("record", [None, "", "[]", '{"url": "http://elsewhere"}'])
def test_partial_files_of_unknown_origin_are_not_used(server, path, record):
    _interrupt(server, path)
    beside = path.with_name("weights.pth.partial.json")
    beside.unlink() if record is None else beside.write_text(record)
    _get(server, path)
    _assert_complete(path)
    assert server.requests == [None]


def test_a_wrong_checksum_is_refused_and_the_bytes_removed(server, path):
    with pytest.raises(Net2VecError) as caught:
        _get(server, path, "sha256:" + "0" * 64)
    for part in (server.url, SHA256, "0" * 64, f"put it at {path}"):
        assert part in str(caught.value)
    assert {other.name for other in path.parent.iterdir()} == {"weights.pth.lock"}


@pytest.mark.parametrize("status", [403, 404, 500])
def test_refusals_name_the_status(server, path, status):
    server.status = status
    with pytest.raises(Net2VecError, match=rf"answered {status} .*put it at {path}"):
        _get(server, path)
    assert len(server.requests) == 1


def test_a_refusal_keeps_what_was_received(server, path):
    _interrupt(server, path)
    server.status = 503
    with pytest.raises(Net2VecError, match="503"):
        _get(server, path)
    assert _partial(path).read_bytes() == CONTENT[:HALF]


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
    with pytest.raises(Net2VecError, match=r"weights\.pth cannot be reached .*refused.*; ask Ada"):
        download_file(closed.url, path, checksum=None, hint="ask Ada")
    with pytest.raises(Net2VecError, match=r"nowhere\.invalid/a cannot be reached"):
        download_file("http://nowhere.invalid/a", path, checksum=None)


def test_targets_that_cannot_be_written_are_refused(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Net2VecError, match=r"a\.pth cannot be written \(a file is where"):
        _get(server, tmp_path / "file" / "a.pth")
    with pytest.raises(Net2VecError, match=r"a\.pth cannot be written \(a file is where"):
        _get(server, tmp_path / "file" / "folder" / "a.pth")
    with pytest.raises(Net2VecError, match="is a directory"):
        _get(server, tmp_path)
    assert server.requests == []


def test_a_full_disk_is_named_and_the_bytes_kept(server, path, monkeypatch):
    _interrupt(server, path)

    class Full:
        def __init__(self, *args):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(download, "open", Full, raising=False)
        with pytest.raises(Net2VecError, match="disk is full; free some space and run again"):
            _get(server, path)
    _get(server, path)
    _assert_complete(path)
    assert server.requests == ["bytes=300000-", "bytes=300000-"]


def test_one_downloads_while_the_others_wait(server, path, capsys):
    server.stalls, server.drops = True, 1  # the first answer stays unfinished for a while
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
    assert server.requests == [None, "bytes=300000-"]


def test_two_processes_download_once(server, path):
    script = (
        "import sys; from net2vec_jax.core.download import download_file; "
        "download_file(sys.argv[1], sys.argv[2], checksum=None, progress=False)"
    )
    command = [sys.executable, "-c", script, server.url, str(path)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    _assert_complete(path)
    assert server.requests == [None]


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


def test_files_put_there_by_hand_can_be_verified(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    verify_file(path, f"sha256:{SHA256[:8]}")
    assert Checksum.parse(f"sha256:{SHA256}").found_in(path) == SHA256
    with pytest.raises(Net2VecError, match=rf"a is another file.*{SHA256[:8]}, not 00000000"):
        verify_file(path, "sha256:00000000")
    with pytest.raises(Net2VecError, match="cannot be read"):
        verify_file(tmp_path / "none", "sha256:00000000")
