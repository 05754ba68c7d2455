"""Data sets by name: fetched once into a cache, a broken download taken up where it stopped, checksums proven."""

import fcntl
import hashlib
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from torch import Tensor

from ptapp_core.data.files import cache_folder
from ptapp_core.data.split import BY_HASH, Division, Samples, SplitName
from ptapp_core.errors import UserError, one_line
from ptapp_vision.data.idx import FASHION, read_idx
from ptapp_vision.data.splits import Images, Splits, digests, divide


@dataclass(frozen=True)
class Source:
    """Where a data set comes from: addresses that end in "/", and the MD5 that its authors publish for each file."""

    mirrors: tuple[str, ...]
    files: Mapping[str, str]
    classes: tuple[str, ...]


SOURCES: Mapping[str, Source] = {
    "mnist": Source(
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        tuple("0123456789"),
    ),
    "fashion-mnist": Source(
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        FASHION,
    ),
    "cifar10": Source(  # the binary form: the one for Python is pickled, and loading data must run no code
        ("https://www.cs.toronto.edu/~kriz/",),
        {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    ),
}


def read_fetched(name: str, *, division: Division | None = BY_HASH, sources: Mapping[str, Source] = SOURCES) -> Splits:
    """The data set `name` of `sources`, fetched if it is not there yet; raises UserError where that cannot be done."""
    folder, source = fetch(name, sources=sources), sources[name]
    if name == "cifar10":
        return _read_cifar(folder / next(iter(source.files)), source.classes, division)
    return read_idx(folder, classes=source.classes, division=division)


def _read_cifar(archive: Path, classes: tuple[str, ...], division: Division | None) -> Splits:
    """CIFAR-10's binary form: an image is one byte of label and 3072 of pixels, uint8 (N, 3, 32, 32)."""
    batches: dict[str, Tensor] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.endswith("_batch.bin") or "/data_batch_" in member.name:
                stream = tar.extractfile(member)
                assert stream is not None, "the checksum was right, so these are files"
                batches[Path(member.name).name] = torch.frombuffer(bytearray(stream.read()), dtype=torch.uint8)

    def split(names: list[str]) -> Images:
        rows = torch.cat([batches[name].view(-1, 3073) for name in names])
        called = [f"{name}[{row}]" for name in names for row in range(len(batches[name]) // 3073)]
        return Images(
            rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].long(), Samples.of_rows(called, digests(rows[:, 1:]))
        )

    train = sorted(name for name in batches if name.startswith("data_"))
    parts: dict[SplitName, Images] = {"train": split(train), "test": split(["test_batch.bin"])}
    return divide(parts, classes, where=archive, what="CIFAR-10", division=division)


def fetch(name: str, *, sources: Mapping[str, Source] = SOURCES) -> Path:
    """The folder with all files of the data set, each proven by its MD5; what is missing is downloaded.

    Raises UserError, with the place to put the files by hand, where no mirror answers with the right ones.
    """
    source, folder = sources[name], cache_folder() / name
    if not _missing(folder, source):  # then the cache may be read-only
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / ".lock"):
        for file in _missing(folder, source):
            target = folder / file
            problems = [f"the {file} there has another MD5"] if target.exists() else []
            for mirror in source.mirrors:
                try:
                    _download(mirror + file, target, source.files[file])
                    break
                except (_WrongFile, HTTPException, OSError) as error:  # URLError and timeouts are OSErrors
                    problems.append(f"{mirror}: {one_line(error)}")
            else:
                raise UserError(
                    f"{name}: {file} could not be downloaded ({'; '.join(problems)}); "
                    f"run again to continue, or put {', '.join(source.files)} into {folder} by hand"
                )
    return folder


def _missing(folder: Path, source: Source) -> list[str]:
    """The files of the data set that are not there, or not with their MD5."""
    return [name for name, md5 in source.files.items() if not (folder / name).exists() or _md5(folder / name) != md5]


class _WrongFile(Exception):
    """What came has not the MD5 that was published."""


def _download(url: str, target: Path, md5: str) -> None:
    """Fetches into `target`.part, continuing where an earlier attempt stopped, and renames it when its MD5 is right."""
    part = target.with_name(target.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urlopen(request, timeout=30) as answer:
            go_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            expected = int(answer.headers.get("Content-Length") or 0)
            print(f"fetching {url} ({expected / 1e6:.1f} MB{' left' if go_on else ''})", file=sys.stderr)
            got = 0
            with part.open("ab" if go_on else "wb") as stream:
                while piece := answer.read(1 << 20):
                    got += stream.write(piece)
        if got < expected:
            raise ConnectionError(f"connection lost after {got:,} of {expected:,} bytes")
    except HTTPError as error:
        error.close()
        if error.code != 416:  # 416: nothing is left to send, the earlier attempt has it all
            raise
    found = _md5(part)
    if found != md5:
        part.unlink()
        raise _WrongFile(f"its MD5 is {found}, not {md5}")
    part.replace(target)


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """One process at a time: the ranks of a job ask for the same files at once."""
    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
