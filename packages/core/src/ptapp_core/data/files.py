"""Opening a data file, plain or gzipped, and finding what stands beside it."""

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from ptapp_core.errors import UserError, one_line

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """The bytes of `file`, unpacked if it is gzipped (recognised by its first two bytes, not by its name).

    Raises UserError, naming the file, where it cannot be read or its gzip stream is corrupt or cut short.
    """
    try:
        with file.open("rb") as plain:
            zipped = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            if zipped:
                with gzip.open(plain) as unpacked:
                    yield cast(BinaryIO, unpacked)
            else:
                yield plain
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{file}: corrupt or truncated gzip file ({one_line(error)}); fetch it again") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or one_line(error)})") from error


def cache_folder() -> Path:
    """Where data that was fetched or decoded lies: `PTAPP_CACHE`, or ~/.cache/ptapp."""
    return Path(os.environ.get("PTAPP_CACHE") or Path.home() / ".cache" / "ptapp").expanduser()


def file_digests(files: Sequence[Path]) -> list[str]:
    """`split.digest` of the bytes of each file."""

    def read(file: Path) -> str:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=8)).hexdigest()

    return in_threads(read, files)


def in_threads(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """`work` of each item, in their order, by threads: for work that releases the interpreter lock, on many files.

    A thread takes up to 32 items at a time, for to pass each of them on would take as long as reading a small file.
    """
    threads = os.cpu_count() or 1
    size = min(32, -(-len(items) // (4 * threads)) or 1)
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    with ThreadPoolExecutor(threads) as pool:
        return [done for part in pool.map(lambda part: [work(item) for item in part], parts) for done in part]


def visible(folder: Path) -> list[Path]:
    """What `folder` holds, by name, without hidden entries and the extra folder of macOS archives."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
    return sorted(entries, key=lambda entry: entry.name)  # twice as fast as to compare paths
