"""A table with a row per image file; see `ptapp_core.data.manifest`."""

from pathlib import Path
from typing import Literal

from ptapp_core.data.listing import AUTO
from ptapp_core.data.manifest import read_manifest
from ptapp_core.data.split import BY_HASH, Division
from ptapp_vision.data.decode import IMAGES, Span
from ptapp_vision.data.folder import Cache, read_listing
from ptapp_vision.data.splits import Splits


def read_table(
    file: Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    span: Span | Literal["own"] | None = "own",
    division: Division | None = BY_HASH,
    group_column: str | None = AUTO,
    skip_bad: bool = False,
    cache: Cache = "auto",
) -> Splits:
    """Reads the images that a manifest lists, see `folder.read_listing`; raises UserError, naming the row or file."""
    listing, bad_rows = read_manifest(file, IMAGES, segments=False, skip_bad=skip_bad)
    return read_listing(
        listing.grouped(group_column),
        size=size,
        channels=channels,
        span=span,
        division=division,
        skip_bad=skip_bad,
        cache=cache,
        bad_rows=bad_rows,
    )
