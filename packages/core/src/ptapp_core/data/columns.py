"""What the columns of a manifest are called, and what is said of those that are not known."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ptapp_core.data.files import visible
from ptapp_core.data.table import header_of
from ptapp_core.data.targets import CLASSES, CLASSIFY, Wanted

FILE = (
    "filename", "file_name", "file", "path", "filepath", "file_path", "slice_file_name", "image", "image_path", "img",
    "audio", "audio_path", "audio_file", "wav", "begin_path", "begin_file", "fname", "image_name", "image_file",
    "image_filename", "img_name", "img_path", "image_id", "image_index", "id_code",
)  # fmt: skip
LABEL = (
    "category", "label", "class", "target", "event_label", "class_name", "classname", "labels", "emotion", "genre",
    "species", "common_name", "scientific_name", "diagnosis", "class_label", "label_name", "category_name",
    "primary_label", "dx", "breed", "class_id", "classid",
)  # fmt: skip
LABELS = ("labels", "tags", "label", "finding_labels", "genres", "genre", "attributes", "categories", "classes", *LABEL)
"""Columns whose cells list labels."""
NUMBER = ("target", "label", "value", "score", "rating", "age", "y", "price", "mos", "labels", "quality", "regression")
"""Columns of a number to learn."""
SPLIT = ("split", "subset", "partition", "set", "usage", "dataset", "data_set", "phase")
FOLD = ("fold", "kfold")
GROUP = (
    "group", "group_id", "patient", "patient_id", "subject", "subject_id", "speaker", "speaker_id", "client_id",
    "actor", "participant", "participant_id", "session", "session_id", "recording", "recording_id", "src_file",
    "source_file", "source", "source_id", "fsid", "video", "video_id", "lesion", "lesion_id", "user_id",
    "animal_id",
)  # fmt: skip
_GROUPS = tuple(dict.fromkeys(name.replace("_", "") for name in GROUP))
_TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_SYNONYMS = 5  # known names that a message gives
_SHOWN, _WIDE = 12, 24  # columns that a message names, and characters of each


def plain(name: str) -> str:
    """A column's name without case, blanks and units: `begin_time` for `Begin Time (s)`."""
    return re.sub(r"[-_ .]+", "_", re.sub(r"\(s\)|\[s\]", "", name.lower()).strip())


def is_group(name: str) -> bool:
    """Whether a column is called as groups are: `patient_id`, `Patient ID`, `PatientID`."""
    return _joined(name) in _GROUPS


def groups_among(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """The columns, cells by name, that are called as groups are and have several values; the likeliest first."""
    titles = {_joined(title): title for title in columns}
    return [titles[name] for name in _GROUPS if name in titles and len(set(columns[titles[name]])) > 1]


def _joined(name: str) -> str:
    return plain(name).replace("_", "")


def fits(header: Sequence[str], wanted: Wanted = CLASSES) -> bool:
    """Whether there is a column of files, and one of what is wanted: of classes, or of the names that are asked for."""
    names = list(map(plain, header))
    if not any(name in FILE for name in names):
        return False
    if wanted.columns or wanted.kind != CLASSIFY:
        return len(names) > 1
    return any(name in LABEL for name in names)


def what_lacks(header: Sequence[str], wanted: Wanted = CLASSES) -> str:
    """What a table needs to be a manifest, beside the columns that it has: the rest of a message."""
    if not any(header):
        return "it is empty, or has an empty first line; write the names of the columns there"
    names = list(map(plain, header))
    remedies = [
        f"rename the column of the {what} to {known[0]} (or {', '.join(known[1:_SYNONYMS])}, ...)"
        for known, what in ((FILE, "files"), *(((LABEL, "classes"),) if wanted == CLASSES else ()))
        if not any(name in known for name in names)
    ]
    return f"its columns are {named(header)}; {' and '.join(remedies)}"


def hint_on_tables(folder: Path) -> str:
    """Why the first table of a folder is no manifest, as the rest of a message on the folder; empty without one."""
    for file in visible(folder):
        if file.name.lower().endswith(_TABLES) and (header := header_of(file, fits)) and not fits(header):
            return f"; {file.name} is no manifest: {what_lacks(header)}"
    return ""


def named(columns: Sequence[str]) -> str:
    """The columns for a message; the first of many, each cut to its beginning."""
    shown = [name if len(name) <= _WIDE else f"{name[:_WIDE]}..." for name in columns[:_SHOWN]]
    more = f", ... ({len(columns):,} in all)" if len(columns) > _SHOWN else ""
    return " ".join(", ".join(shown).split()) + more
