"""Folders whose names are the targets, where these are no classes: labels, or numbers."""

from dataclasses import replace
from pathlib import Path

from ptapp_core.data.files import file_digests
from ptapp_core.data.layout import MANIFEST
from ptapp_core.data.listing import Listing
from ptapp_core.data.pieces import note_on_pieces, pieces_of
from ptapp_core.data.targets import MULTILABEL, REGRESS, Wanted, numbers
from ptapp_core.errors import UserError, counted

_NUMBER = "folder"
"""What the number is called that the name of a folder says."""


def as_wanted(listing: Listing, wanted: Wanted) -> Listing:
    """The samples of class folders with the targets that are wanted; raises UserError where folders do not say them.

    Labels: a file that lies in several folders, byte for byte the same, has the labels of all of them. Numbers: the
    names of the folders.
    """
    if wanted.columns:
        raise UserError(f"--label-column {wanted.columns[0]}: {listing.where} is {listing.what}, and has no columns")
    if wanted.kind == MULTILABEL:
        return _labelled(listing)
    if wanted.kind == REGRESS:
        return _numbered(listing)
    return listing


def _numbered(listing: Listing) -> Listing:
    try:
        value = [numbers([name], [_NUMBER]) for name in listing.classes]
    except UserError as error:
        raise UserError(f"{listing.where}: {error}: name the folders by numbers, or write {MANIFEST}") from None
    labels = [value[label] for label in listing.class_numbers]
    found = replace(listing, labels=labels, classes=(_NUMBER,), kind=REGRESS, what="a folder per number")
    names = [Path(name).name for name in listing.names]
    # Names that come again in other folders number the files of a folder, which tells its own pieces.
    return found if len(set(names)) < len(names) else _in_pieces(found)


def _labelled(listing: Listing) -> Listing:
    digests = file_digests(listing.files)
    first: dict[tuple[str, str], int] = {}  # by split and content
    own: dict[int, set[int]] = {}
    for row, (digest, label) in enumerate(zip(digests, listing.class_numbers, strict=True)):
        split = listing.parts[row] if listing.parts else ""
        own.setdefault(first.setdefault((split, digest), row), set()).add(label)
    kept = listing.take(list(own))
    labels = [tuple(float(label in mine) for label in range(len(listing.classes))) for mine in own.values()]
    several = sum(len(mine) > 1 for mine in own.values())
    note = f"{counted(several, 'file')} in several folders, with the label of each"
    notes = (*kept.notes, note)
    return _in_pieces(replace(kept, labels=labels, kind=MULTILABEL, what="a folder per label", notes=notes))


def _in_pieces(listing: Listing) -> Listing:
    """The samples with the recordings that their names are pieces of, whatever their folders."""
    splits = listing.parts or ["train"] * len(listing.files)
    groups = pieces_of([Path(name).name for name in listing.names], [("", split) for split in splits])
    return replace(listing, groups=groups, group_note=note_on_pieces(groups) if groups else "")
