"""IDX files, the format of the MNIST family: a header of sizes, then one byte a pixel or label.

The format is described at the foot of LeCun's MNIST page: two zero bytes, the type (8 is uint8), the number of
dimensions, each dimension as a big-endian uint32, then the values in row-major order.
"""

import math
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ptapp_core.data.files import opened
from ptapp_core.data.split import BY_HASH, Division, Samples, SplitName
from ptapp_core.errors import UserError
from ptapp_vision.data.splits import Images, Splits, digests, divide

FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_PREFIXES: dict[str, SplitName] = {"train": "train", "val": "val", "t10k": "test", "test": "test"}


def find_idx(root: Path) -> list[Path]:
    """The folders at or below `root` (as torchvision lays them out: NAME/raw) that hold training images."""
    folders = {root, *root.glob("*"), *root.glob("*/raw")}
    return [folder for folder in sorted(folders) if _find(folder, "train", "images")]


def read_idx(folder: Path, *, classes: tuple[str, ...] = (), division: Division | None = BY_HASH) -> Splits:
    """Reads `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the like (`t10k-` or `test-`; gzipped or not).

    Images are uint8 (N, 1, H, W). Class names, where not given, come from a `classes.txt` beside the files (one a
    line), are those of Fashion-MNIST where the path says "fashion", and the digits otherwise. Raises UserError where a
    file is missing, of another format, truncated, or the counts of images and labels differ.
    """
    parts: dict[SplitName, Images] = {}
    for prefix, split in _PREFIXES.items():
        pixels_file = _find(folder, prefix, "images")
        if pixels_file is None or split in parts:
            continue
        labels_file = _find(folder, prefix, "labels")
        if labels_file is None:
            raise UserError(f"{pixels_file}: its labels, {prefix}-labels-idx1-ubyte[.gz], are not beside it")
        images, labels = _read_array(pixels_file, 3), _read_array(labels_file, 1).long()
        if len(images) != len(labels):
            raise UserError(f"{pixels_file}: {len(images):,} images, but {labels_file} has {len(labels):,} labels")
        stem = pixels_file.name.partition("-idx")[0].partition(".idx")[0]
        samples = Samples.of_rows([f"{stem}[{row}]" for row in range(len(labels))], digests(images))
        parts[split] = Images(images[:, None], labels, samples)
    if "train" not in parts:
        raise UserError(f"{folder}: no train-images-idx3-ubyte[.gz] in it")
    highest = max(int(part.labels.max()) for part in parts.values())
    return divide(
        parts, classes or _classes(folder, highest), where=folder, what=f"IDX files in {folder}", division=division
    )


def _find(folder: Path, prefix: str, kind: str) -> Path | None:
    """The plain file where both it and its gzipped source are there: it is the quicker one to read."""
    digit = 3 if kind == "images" else 1
    names = (f"{prefix}-{kind}{dash}idx{digit}-ubyte{end}" for end in ("", ".gz") for dash in ("-", "."))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_array(file: Path, dimensions: int) -> Tensor:
    with opened(file) as stream:
        data = stream.read()
    head = 4 + 4 * dimensions
    if data[:4] != bytes([0, 0, 8, dimensions]):
        kind = "images" if dimensions == 3 else "labels"
        raise UserError(
            f"{file}: no IDX file of {kind}; it begins with the bytes {data[:4].hex(' ') or '(none)'}, "
            f"not 00 00 08 {dimensions:02x}"
        )
    if len(data) < head:
        raise UserError(f"{file}: truncated in its header ({len(data)} of {head} bytes)")
    shape = struct.unpack(f">{dimensions}I", data[4:head])
    expected = math.prod(shape)
    if len(data) - head != expected:
        raise UserError(
            f"{file}: {'truncated' if len(data) - head < expected else 'too long'}: {len(data) - head:,} bytes of data "
            f"where its header, {' x '.join(map(str, shape))}, promises {expected:,}"
        )
    if expected == 0:
        raise UserError(f"{file}: holds no data (its header says {' x '.join(map(str, shape))})")
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=head).reshape(shape).copy())


def _classes(folder: Path, highest: int) -> tuple[str, ...]:
    listed = next((up / "classes.txt" for up in (folder, *folder.parents[:2]) if (up / "classes.txt").is_file()), None)
    if listed:
        with opened(listed) as stream:
            names = tuple(
                line.strip() for line in stream.read().decode("utf-8", "replace").splitlines() if line.strip()
            )
        if len(names) <= highest:
            raise UserError(f"{listed}: {len(names)} class names, but the labels beside it go up to {highest}")
        return names
    if highest < len(FASHION) and "fashion" in str(folder.resolve()).lower():
        return FASHION
    return tuple(str(label) for label in range(highest + 1))
