"""Data sets by name, from a server on this machine: resumed, checked, refused."""

import gzip
import hashlib
import io
import struct
import tarfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch

from divisions import EXACT
from ptapp_core.data.files import cache_folder
from ptapp_core.errors import UserError
from ptapp_vision.data.fetched import SOURCES, Source, fetch, read_fetched

CONTENT = bytes(range(256)) * 40


class Server(ThreadingHTTPServer):
    """Serves `files`; notes the ranges asked for; cuts an answer after `cut` bytes; ignores ranges if told so."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str | None] = []
        self.cut: int | None = None
        self.ranges = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content = self.server.files.get(self.path[1:])
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.ranges else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: self.server.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("PTAPP_CACHE", str(tmp_path))
    with Server() as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def source(*mirrors: str, content: bytes = CONTENT) -> dict[str, Source]:
    return {"set": Source(mirrors, {"data.bin": hashlib.md5(content).hexdigest()}, ("a", "b"))}


def test_a_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    server.files["data.bin"] = CONTENT
    for _ in range(2):
        folder = fetch("set", sources=source(server.url))
    assert folder == tmp_path / "set"
    assert (folder / "data.bin").read_bytes() == CONTENT
    assert server.asked == [None]
    assert not (folder / "data.bin.part").exists()


@pytest.mark.parametrize("ranges", [True, False], ids=["server resumes", "server starts over"])
def test_a_lost_connection_is_told_and_taken_up_where_it_broke(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.files["data.bin"], server.cut = CONTENT, 3000
    with pytest.raises(
        UserError, match=r"set: data.bin could not be downloaded .*connection lost after 3,000 of 10,240"
    ):
        fetch("set", sources=source(server.url))
    assert (tmp_path / "set" / "data.bin.part").read_bytes() == CONTENT[:3000]
    server.cut, server.ranges = None, ranges
    fetch("set", sources=source(server.url))
    assert (tmp_path / "set" / "data.bin").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=3000-"]


def test_a_partial_file_that_is_complete_is_only_checked(server: Server, tmp_path: Path) -> None:
    server.files["data.bin"] = CONTENT
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "data.bin.part").write_bytes(CONTENT)
    fetch("set", sources=source(server.url))
    assert (tmp_path / "set" / "data.bin").read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing_behind_and_the_next_mirror_is_asked(server: Server, tmp_path: Path) -> None:
    server.files |= {"data.bin": CONTENT[::-1], "good/data.bin": CONTENT}
    with pytest.raises(UserError, match="its MD5 is "):
        fetch("set", sources=source(server.url))
    assert not list((tmp_path / "set").glob("data*"))
    fetch("set", sources=source(server.url, server.url + "good/"))
    assert (tmp_path / "set" / "data.bin").read_bytes() == CONTENT


def test_without_a_network_the_message_says_where_the_files_go(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "data.bin").write_bytes(b"another")
    with pytest.raises(UserError) as caught:
        fetch("set", sources=source(server.url, "http://127.0.0.1:1/"))
    message = str(caught.value)
    assert "\n" not in message
    assert "the data.bin there has another MD5" in message
    assert "HTTP Error 404" in message
    assert "refused" in message
    assert message.endswith(f"or put data.bin into {tmp_path / 'set'} by hand")


def test_files_put_there_by_hand_need_no_network(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "data.bin").write_bytes(CONTENT)
    fetch("set", sources=source("http://127.0.0.1:1/"))
    assert server.asked == []
    assert [file.name for file in (tmp_path / "set").iterdir()] == ["data.bin"]  # nothing written: it may be read-only


def test_the_cache_is_in_the_home_folder_unless_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PTAPP_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "ptapp"


def test_cifar10_comes_out_of_its_binary_archive(server: Server) -> None:
    def batch(start: int) -> bytes:
        return b"".join(
            bytes([row % 10]) + bytes([start + row]) * 1024 + b"\1" * 1024 + b"\2" * 1024 for row in range(30)
        )

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in {"data_batch_1": batch(0), "data_batch_2": batch(100), "test_batch": batch(200)}.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (name,) = SOURCES["cifar10"].files
    server.files[name] = packed.getvalue()
    md5 = hashlib.md5(packed.getvalue()).hexdigest()
    data = read_fetched(
        "cifar10", division=EXACT, sources={"cifar10": Source((server.url,), {name: md5}, SOURCES["cifar10"].classes)}
    )
    assert (len(data.train), len(data.val), len(data.test)) == (50, 10, 30)
    assert data.classes[3] == "cat"
    assert data.test.names[29] == "test_batch.bin[29]"
    assert data.test.labels.tolist() == [row % 10 for row in range(30)]
    assert data.test.images[29, :, 31, 31].tolist() == [229, 1, 2]


def test_the_mnist_family_is_read_from_the_cache(server: Server) -> None:
    images = bytes([0, 0, 8, 3]) + struct.pack(">3I", 20, 2, 2) + bytes(range(80))
    labels = bytes([0, 0, 8, 1]) + struct.pack(">I", 20) + bytes(row % 2 for row in range(20))
    for file in SOURCES["fashion-mnist"].files:
        server.files[file] = gzip.compress(images if "images" in file else labels)
    files = {file: hashlib.md5(content).hexdigest() for file, content in server.files.items()}
    data = read_fetched(
        "fashion-mnist", division=EXACT, sources={"fashion-mnist": Source((server.url,), files, ("x", "y"))}
    )
    assert data.classes == ("x", "y")
    assert torch.equal(data.test.images.flatten(), torch.arange(80, dtype=torch.uint8))  # type: ignore[union-attr]
