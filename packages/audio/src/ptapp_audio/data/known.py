"""Published data sets whose file names say the class, the speaker or recording, and the official test.

Each is recognised by the names alone, wherever its folder lies, as its authors publish it.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path

from ptapp_audio.data.read import look
from ptapp_audio.data.unreadable import Unreadable
from ptapp_core.data.listing import Listing
from ptapp_core.data.split import SplitName
from ptapp_core.errors import UserError, counted

Names = Mapping[str, str]
"""What a pattern finds in the name of a file."""


@dataclass(frozen=True)
class Known:
    """A data set; `pattern` is that of FOLDER/FILE, with what the name says as groups, `label` among them."""

    what: str
    pattern: str
    classes: Mapping[str, str] = field(default_factory=dict)
    """What a label stands for; the label itself where it is not in here."""
    _: KW_ONLY
    group: str | None = None
    """Which part of the name stays in one split."""
    part: Callable[[Names], SplitName] | None = None
    """The official split of a file."""
    test_fold: int | None = None
    """Which `fold` of the name is the test of a job that asks for no fold."""
    one_folder: bool = False
    """Whether such names are taken for this set's only where all files lie in one folder, which is no class."""
    copied: bool = False
    """Whether the set is often unpacked with second copies; its file names are unique."""
    left_out: str = "(?!)"
    """The pattern of FOLDER/FILE of files that are no samples."""
    often_broken: str = "(?!)"
    """The pattern of a file that is broken in common copies, and is left out where it is."""


def _of_speech_commands(names: Names) -> SplitName:
    """The split by the SHA-1 of the speaker, as the authors' README gives it: the same for both versions."""
    most = 2**27 - 1
    hashed = int(hashlib.sha1(names["speaker"].encode(), usedforsecurity=False).hexdigest(), 16)
    percentage = hashed % (most + 1) * (100.0 / most)
    return "val" if percentage < 10 else "test" if percentage < 20 else "train"


_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_URBAN = (
    "air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling", "engine_idling", "gun_shot",
    "jackhammer", "siren", "street_music",
)  # fmt: skip
_ENVIRONMENT = (
    "dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow", "rain", "sea_waves",
    "crackling_fire", "crickets", "chirping_birds", "water_drops", "wind", "pouring_water", "toilet_flush",
    "thunderstorm", "crying_baby", "sneezing", "clapping", "breathing", "coughing", "footsteps", "laughing",
    "brushing_teeth", "snoring", "drinking_sipping", "door_wood_knock", "mouse_click", "keyboard_typing",
    "door_wood_creaks", "can_opening", "washing_machine", "vacuum_cleaner", "clock_alarm", "clock_tick",
    "glass_breaking", "helicopter", "chainsaw", "siren", "car_horn", "engine", "train", "church_bells", "airplane",
    "fireworks", "hand_saw",
)  # fmt: skip
_GENRES = "blues|classical|country|disco|hiphop|jazz|metal|pop|reggae|rock"

KNOWN = (
    Known(  # Livingstone & Russo 2018; speech (vocal channel 01) and song (02)
        "RAVDESS, emotions of actors",
        r".*/0[1-3]-(?P<channel>0[12])-(?P<label>0[1-8])-0[12]-0[12]-0[12]-(?P<actor>\d\d)\.\w+",
        {f"{number:02d}": name for number, name in enumerate(_EMOTIONS, start=1)},
        group="actor",
        copied=True,
    ),
    Known(  # Burkhardt et al. 2005
        "EmoDB, emotions of speakers",
        r".*/(?P<speaker>\d\d)(?P<text>[ab]\d\d)(?P<label>[WLEAFTN])[a-z]?\.\w+",
        dict(W="anger", L="boredom", E="disgust", A="fear", F="happiness", T="sadness", N="neutral"),
        group="speaker",
    ),
    Known(  # Cao et al. 2014
        "CREMA-D, emotions of actors",
        r".*/(?P<actor>1\d{3})_(?P<sentence>[A-Z]{3})_(?P<label>ANG|DIS|FEA|HAP|NEU|SAD)_(?P<level>LO|MD|HI|XX?)\.\w+",
        dict(ANG="anger", DIS="disgust", FEA="fear", HAP="happiness", NEU="neutral", SAD="sadness"),
        group="actor",
        copied=True,
    ),
    Known(  # Pichora-Fuller & Dupuis 2010; one file is called OA_ for OAF_
        "TESS, emotions of two speakers, whose words stay together; --split-by speaker tests on one of them",
        r".*/(?P<speaker>OA|YA)F?_(?P<word>[a-z]+)_(?P<label>angry|disgust|fear|happy|neutral|ps|sad)\.\w+",
        dict(ps="pleasant surprise"),
        group="word",
        copied=True,
    ),
    Known(  # Salamon, Jacoby & Bello 2014
        "UrbanSound8K",
        r"fold(?P<fold>10|[1-9])/(?P<fsID>\d+)-(?P<label>\d)-\d+-\d+\.\w+",
        {str(number): name for number, name in enumerate(_URBAN)},
        group="fsID",
        test_fold=10,
    ),
    Known(  # Piczak 2015
        "ESC-50",
        r".*/(?P<fold>[1-5])-(?P<src_file>\d+)-(?P<take>[A-Z])-(?P<label>[1-4]?\d)\.\w+",
        {str(number): name for number, name in enumerate(_ENVIRONMENT)},
        group="src_file",
        test_fold=5,
        one_folder=True,
    ),
    Known(  # Tzanetakis & Cook 2002
        "GTZAN, genres",
        rf"(?P<label>{_GENRES})/(?P=label)\.\d{{5}}\.\w+",
        often_broken=r"jazz/jazz\.00054\.wav",
    ),
    Known(  # Warden 2018
        "Speech Commands; val and test by its authors' rule, whole speakers",
        r"(?P<label>[^/]+)/(?P<speaker>[0-9a-f]{8})_nohash_\d+\.\w+",
        group="speaker",
        part=_of_speech_commands,
        left_out="_background_noise_/.*",
    ),
    Known(  # Jackson et al., the Free Spoken Digit Dataset
        "names of class, speaker and take; takes 0 to 4 are the test",
        r".*/(?P<label>[^_]+)_(?P<speaker>[^_]+)_(?P<take>\d+)\.\w+",
        part=lambda names: "test" if int(names["take"]) < 5 else "train",
        one_folder=True,
    ),
)


_FOLD = "; fold "
_MOST = 0.9
"""Share of the names at which files are taken for those of a set: one more file must not make a set of another kind."""
NO_MANIFEST = re.compile(r"features_\d+_sec\.csv")
"""Tables beside GTZAN: features of its files, with names and labels as in a manifest."""


def read_known(root: Path, files: Sequence[Path]) -> Listing | None:
    """The data set that these files, all audio files below `root`, are; None where it is none of those known.

    Raises UserError, naming one, where a few of the files are not of the set that all others are.
    """
    return next((found for known in KNOWN if (found := _read(known, root, files))), None)


def official_test(listing: Listing) -> Listing:
    """The same with the test fold of its set, where the columns of a manifest are those of ESC-50 or UrbanSound8K."""
    for columns, test in (({"esc10", "src_file"}, 5), ({"fsID", "classID"}, 10)):
        if columns <= set(listing.columns) and listing.folds and not listing.parts:
            return _tested_on(listing, test)
    return listing


def without_fold(what: str) -> str:
    """The listing for a job that chooses another fold than the official one as its test."""
    return what.partition(_FOLD)[0]


def _tested_on(listing: Listing, test: int) -> Listing:
    """The listing with this fold as its test; where it has no sample of it, that is said, and the test is drawn."""
    assert listing.folds
    if test not in listing.folds:
        note = f"fold {test}, the official test, is not among these folds: another test is drawn, or give --fold"
        return replace(listing, notes=(*listing.notes, note))
    what = f"{listing.what}{_FOLD}{test} is the test, --folds {test} is the authors' cross-validation"
    return replace(listing, what=what, parts=["test" if fold == test else "train" for fold in listing.folds])


def _read(known: Known, root: Path, files: Sequence[Path]) -> Listing | None:
    pattern, left_out, broken = (re.compile(each) for each in (known.pattern, known.left_out, known.often_broken))
    kept: dict[str, tuple[Path, Names]] = {}
    notes: list[str] = []
    strangers: list[str] = []
    copies = 0
    for file in files:
        name = f"{file.parent.name}/{file.name}"
        if left_out.fullmatch(name):
            continue
        match = pattern.fullmatch(name)
        if match is None:
            strangers.append(name)
            continue
        if broken.fullmatch(name) and not _opens(file):
            notes.append(f"left out: {file}, which is broken in most copies of this set")
            continue
        key = file.name if known.copied else str(file)
        copies += key in kept
        kept.setdefault(key, (file, match.groupdict()))
    if len(kept) < _MOST * (len(kept) + len(strangers)) or not kept:
        return None
    if known.one_folder and len({file.parent for file, _ in kept.values()}) > 1:
        return None
    if strangers:
        raise UserError(
            f"{root}: the names of {len(kept):,} files are those of {known.what.partition(',')[0]}, and "
            f"{counted(len(strangers), 'name')} not ({strangers[0]}); move such files away, or list all in a manifest"
        )
    if copies:
        notes.append(f"left out: {counted(copies, 'file')} that are there a second time")
    return _listing(known, root, list(kept.values()), notes)


def _opens(file: Path) -> bool:
    try:
        look(file)
    except Unreadable:
        return False
    return True


def _listing(known: Known, root: Path, kept: Sequence[tuple[Path, Names]], notes: Sequence[str]) -> Listing:
    files = [file for file, _ in kept]
    found = [names for _, names in kept]
    labels = [known.classes.get(names["label"], names["label"]) for names in found]
    classes = tuple(sorted(set(labels)))
    columns = {name: [names[name] for names in found] for name in found[0] if name != "label"}
    listing = Listing(
        root,
        known.what,
        files,
        [file.relative_to(root).as_posix() for file in files],
        [classes.index(label) for label in labels],
        classes,
        [known.part(names) for names in found] if known.part else None,
        [int(fold) for fold in columns["fold"]] if "fold" in columns else None,
        columns[known.group] if known.group else None,
        columns=columns,
        notes=tuple(notes),
    )
    return listing if known.test_fold is None else _tested_on(listing, known.test_fold)
