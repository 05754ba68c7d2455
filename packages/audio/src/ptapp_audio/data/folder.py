"""A folder for each class: to be divided, divided into train/ val/ test/ already, or by Speech Commands' lists."""

import re
from dataclasses import replace
from pathlib import Path
from posixpath import normpath

from ptapp_audio.data.listing import recording_of
from ptapp_audio.data.read import SOUNDS
from ptapp_core.data.class_folders import list_classes
from ptapp_core.data.listing import Listing
from ptapp_core.data.split import SplitName
from ptapp_core.errors import UserError

LISTS: dict[str, SplitName] = {"validation_list.txt": "val", "testing_list.txt": "test"}
NOISE = "_background_noise_"
"""The folder of Speech Commands with minutes of noise to mix in: no class."""
_SPEAKER = re.compile(r"([0-9a-f]{8})_nohash_\d+\.\w+")  # as Speech Commands names its files


def read_folder(root: Path) -> Listing:
    """Audio files whose folder names their class; classes go by name. There may be a test/ alone, to be measured."""
    whole = list_classes(root, SOUNDS, need_train=False)
    if NOISE in whole.classes:
        whole = whole.without(NOISE)
        whole = replace(whole, notes=(*whole.notes, f"left out: {NOISE}, which is to be mixed in and is no class"))
    recordings = [recording_of(file, name) for file, name in zip(whole.files, whole.names, strict=True)]
    if len(set(recordings)) == len(recordings):
        return whole
    return replace(whole, groups=recordings, columns={"recording": recordings}, group_note="")


def has_lists(root: Path) -> bool:
    """Whether the lists of Speech Commands are there."""
    return all((root / name).is_file() for name in LISTS)


def read_lists(root: Path) -> Listing:
    """Speech Commands (Warden 2018): a folder per word, and the files of val and test in two lists."""
    whole = list_classes(root, SOUNDS).without(NOISE)
    split: dict[str, SplitName] = dict.fromkeys(whole.names, "train")
    for name, part in LISTS.items():
        try:
            lines = (root / name).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise UserError(f"{root / name}: not a text in UTF-8 ({error})") from error
        for number, line in enumerate(map(str.strip, lines), start=1):
            if not line:
                continue
            file = normpath(line)  # ./yes/0.wav is yes/0.wav
            if file not in split:
                raise UserError(f"{root / name}:{number}: {line}: no such file in the folder of a word")
            if split[file] not in ("train", part):
                raise UserError(f"{root / name}:{number}: {line}: is in the list of {split[file]} as well; remove one")
            split[file] = part
    parts = [split[name] for name in whole.names]
    whole = replace(whole, what="a folder per word, and lists of val and test", parts=parts)
    speakers = [match[1] for file in whole.files if (match := _SPEAKER.fullmatch(file.name))]
    if len(speakers) < len(parts):
        return whole
    return replace(whole, groups=speakers, columns={"speaker": speakers}, group_note="")
