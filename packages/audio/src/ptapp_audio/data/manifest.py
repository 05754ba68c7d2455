"""A table with a row per recording or segment of one; see `ptapp_core.data.manifest`."""

from dataclasses import replace
from pathlib import Path

from ptapp_audio.data.known import official_test
from ptapp_audio.data.listing import recording_of
from ptapp_audio.data.read import SOUNDS
from ptapp_core.data.listing import Listing
from ptapp_core.data.manifest import read_manifest as read
from ptapp_core.data.targets import CLASSES, Wanted


def read_manifest(file: Path, skip_bad: bool = False, wanted: Wanted = CLASSES) -> tuple[Listing, list[str]]:
    """The recordings of a manifest, and of each row that was left out "row: reason"; raises UserError."""
    listing, skipped = read(file, SOUNDS, segments=True, skip_bad=skip_bad, wanted=wanted)
    listing = official_test(listing)
    recordings = [recording_of(path, name) for path, name in zip(listing.files, listing.names, strict=True)]
    if listing.groups is None and len(set(recordings)) < len(recordings):
        listing = replace(listing, groups=recordings)
    return listing, skipped
