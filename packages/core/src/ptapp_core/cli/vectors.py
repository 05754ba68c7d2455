"""What `embed` writes: vectors as NumPy reads them, and beside them the name of each row."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ptapp_core.errors import UserError, counted

_NAMES = ".names.txt"


def write_vectors(out: Path, vectors: Sequence[npt.NDArray[np.float32]], names: Sequence[str]) -> None:
    """Writes rows (n, D) one after the other to `out`, float32 (N, D), and the N names to NAME.names.txt beside it.

    A line break in a name is written as `\\n`. Raises UserError where there is no row.
    """
    if not names:
        raise UserError(f"--out {out}: nothing could be read, so nothing is written")
    rows = np.concatenate(vectors)
    out.parent.mkdir(parents=True, exist_ok=True)
    np.save(out, rows)
    lines = "".join(name.replace("\n", "\\n") + "\n" for name in names)
    beside = out.with_suffix(_NAMES)
    beside.write_text(lines, encoding="utf-8", errors="surrogateescape")
    print(f"{out}: {counted(len(rows), 'vector')} of {rows.shape[1]} numbers; {beside} names the rows")
