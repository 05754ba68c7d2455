"""Opening a data file, plain or gzipped, and finding what stands beside it."""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from ptapp_core.errors import UserError


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """The bytes of `file`, unpacked if it is gzipped (told by its first two bytes, not by its name).

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


def file_digests(files: Sequence[Path]) -> list[str]:
    """`split.digest` of the bytes of each file."""

    def read(file: Path) -> str:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=8)).hexdigest()

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing and reading release the interpreter lock
        return list(pool.map(read, files))


def visible(folder: Path) -> list[Path]:
    """What `folder` holds, by name, without hidden entries and the extra folder of macOS archives."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX")))


def one_line(error: BaseException) -> str:
    """The error's message on one line; its kind where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
