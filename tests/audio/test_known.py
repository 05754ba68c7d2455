"""Published data sets are recognised by their official names, with their own classes, groups and tests."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from divisions import EXACT
from ptapp_audio.data.manifest import read_manifest
from ptapp_audio.data.recognise import load, recognise
from ptapp_core.data.listing import Listing
from ptapp_core.data.targets import Wanted
from ptapp_core.errors import UserError


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, np.full(50, 0.1), 4000)
    return root


def found(data: Path, **options: str | None) -> Listing:
    return recognise(str(data), **options)[0]  # type: ignore[arg-type]


def by_name(listing: Listing, values: Sequence[object] | None) -> dict[str, object]:
    assert values is not None
    return {file.name: value for file, value in zip(listing.files, values, strict=True)}


def classes(listing: Listing) -> dict[str, object]:
    return by_name(listing, [listing.classes[label] for label in listing.labels])


RAVDESS = [
    f"Actor_{actor:02d}/03-{channel}-{emotion:02d}-01-01-01-{actor:02d}.wav"
    for actor in (1, 2, 12)
    for channel, emotion in (("01", 6), ("01", 1), ("02", 8))
]


@pytest.mark.parametrize("zips", [("",), ("Audio_Speech_Actors_01-24/",), ("a/", "audio_speech_actors_01-24/")])
def test_ravdess_tells_emotions_and_keeps_actors_together(zips: tuple[str, ...], tmp_path: Path) -> None:
    listing = found(write(tmp_path, *(prefix + name for prefix in zips for name in RAVDESS)))
    assert len(listing.files) == len(RAVDESS)
    assert classes(listing)["03-01-06-01-01-01-12.wav"] == "fearful"
    assert classes(listing)["03-02-08-01-01-01-01.wav"] == "surprised"
    assert listing.classes == ("fearful", "neutral", "surprised")
    assert by_name(listing, listing.groups)["03-01-06-01-01-01-12.wav"] == "12"
    assert listing.parts is None
    copies = (len(zips) - 1) * len(RAVDESS)
    assert listing.notes == ((f"left out: {copies} files that are there a second time",) if copies else ())


def test_emodb_tells_emotions_and_keeps_speakers_together(tmp_path: Path) -> None:
    names = [f"wav/{speaker:02d}a0{text}{letter}a.wav" for speaker in (3, 8) for text in (1, 2) for letter in "WLEAFTN"]
    write(tmp_path, *names)
    for data in (tmp_path, tmp_path / "wav"):
        listing = found(data)
        assert listing.classes == ("anger", "boredom", "disgust", "fear", "happiness", "neutral", "sadness")
        assert classes(listing)["03a01Fa.wav"] == "happiness"
        assert by_name(listing, listing.groups)["03a01Fa.wav"] == "03"
    # few speakers: each may be a fold
    listing = found(tmp_path, split_by="speaker")
    assert listing.fold_names == ("03", "08")
    assert by_name(listing, listing.parts)["03a01Fa.wav"] == "test"


@pytest.mark.parametrize("folder", ["AudioWAV", "."])
def test_crema_d_tells_emotions_and_keeps_actors_together(folder: str, tmp_path: Path) -> None:
    names = [
        f"{folder}/{actor}_{sentence}_{emotion}_{level}.wav"
        for actor in (1001, 1091)
        for sentence, level in (("DFA", "XX"), ("IEO", "HI"))
        for emotion in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
    ]
    listing = found(write(tmp_path, *names, f"{folder}/1040_ITH_SAD_X.wav"))
    assert listing.classes == ("anger", "disgust", "fear", "happiness", "neutral", "sadness")
    assert classes(listing)["1091_IEO_HAP_HI.wav"] == "happiness"
    assert set(listing.groups or ()) == {"1001", "1040", "1091"}
    assert by_name(listing, listing.groups)["1040_ITH_SAD_X.wav"] == "1040"


def test_tess_tells_emotions_and_keeps_words_together(tmp_path: Path) -> None:
    names = [
        f"{speaker}_{emotion}/{speaker}_{word}_{emotion}.wav"
        for speaker in ("OAF", "YAF")
        for word in ("back", "bar")
        for emotion in ("angry", "neutral", "ps")
    ]
    write(tmp_path, *names, *(f"TESS/{name}" for name in names), "OAF_neutral/OA_bite_neutral.wav")
    listing = found(tmp_path)
    assert len(listing.files) == len(names) + 1
    assert listing.classes == ("angry", "neutral", "pleasant surprise")
    assert set(listing.groups or ()) == {"back", "bar", "bite"}
    parts = by_name(found(tmp_path, split_by="speaker"), found(tmp_path, split_by="speaker").parts)
    assert {name for name, part in parts.items() if part == "test"} == {n for n in parts if n.startswith("OA")}


URBAN = [f"audio/fold{fold}/{100 * fold + number}-{label}-0-{number}.wav" for fold in range(1, 11)
         for number, label in enumerate((3, 9))]  # fmt: skip


def test_urbansound8k_keeps_its_folds_and_recordings_and_cuts_nothing(tmp_path: Path) -> None:
    write(tmp_path, *URBAN)
    (tmp_path / "metadata").mkdir()
    rows = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for name in URBAN:
        file = Path(name).name
        source, label, *_ = file.split("-")
        named = {"3": "dog_bark", "9": "street_music"}[label]
        rows.append(f"{file},{source},60.5,64.5,1,{name.split('/')[1][4:]},{label},{named}")
    table = tmp_path / "metadata" / "UrbanSound8K.csv"
    table.write_text("\n".join(rows))
    for data in (tmp_path, tmp_path / "audio", table, table.parent):
        listing = found(data)
        assert listing.spans is None
        assert listing.classes == ("dog_bark", "street_music")
        assert by_name(listing, listing.folds)["300-3-0-0.wav"] == 3
        assert by_name(listing, listing.groups)["300-3-0-0.wav"] == "300"
        assert {
            fold for fold, part in zip(listing.folds or (), listing.parts or (), strict=True) if part == "test"
        } == {10}
    splits = load(str(tmp_path), division=replace(EXACT, fold=2))
    assert {Path(name).parent.name for name in splits.test.names} == {"fold2"}


ESC50 = [
    f"{fold}-{1000 * fold + number}-A-{target}.wav" for fold in range(1, 6) for number, target in enumerate((0, 49))
]


def test_the_official_tree_of_esc50_is_read_from_wherever_it_is_pointed_at(tmp_path: Path) -> None:
    write(tmp_path / "audio", *ESC50)
    (tmp_path / "meta").mkdir()
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for name in ESC50:
        fold, source, take, target = name.removesuffix(".wav").split("-")
        rows.append(f"{name},{fold},{target},{'dog' if target == '0' else 'hand_saw'},{target == '0'},{source},{take}")
    table = tmp_path / "meta" / "esc50.csv"
    table.write_text("\n".join(rows) + "\n")
    for data in (tmp_path, tmp_path / "audio", table, table.parent):
        listing = found(data)
        assert listing.classes == ("dog", "hand_saw")
        assert by_name(listing, listing.folds)["2-2001-A-49.wav"] == 2
        assert by_name(listing, listing.groups)["2-2001-A-49.wav"] == "2001"
        assert {name[0] for name, part in by_name(listing, listing.parts).items() if part == "test"} == {"5"}


@pytest.mark.parametrize("fold", [None, 2])
def test_the_line_on_the_data_names_the_fold_that_is_the_test(fold: int | None, tmp_path: Path) -> None:
    root = write(tmp_path, *(name for name in URBAN if "fold10/" not in name))
    splits = load(str(root), division=replace(EXACT, fold=fold))
    assert "fold 10 is the test" not in splits.about
    assert any("fold 10, the official test, is not among these folds" in line for line in splits.lines())
    splits = load(str(write(tmp_path, *URBAN)), division=replace(EXACT, fold=fold))
    assert ("fold 10 is the test" in splits.about) == (fold is None)


def test_esc50s_table_with_ones_own_classes_keeps_its_folds_and_says_what_it_took(tmp_path: Path) -> None:
    write(tmp_path / "audio", *ESC50)
    rows = [f"{name},{name[0]},{name.split('-')[-1][:-4]},{'indoor' if '49' in name else 'outdoor'}" for name in ESC50]
    (tmp_path / "mine.csv").write_text("\n".join(["filename,fold,target,category", *rows]) + "\n")
    listing = found(tmp_path / "mine.csv")
    assert listing.classes == ("indoor", "outdoor")
    assert by_name(listing, listing.folds)["2-2001-A-49.wav"] == 2
    assert listing.notes == ("column category is taken as the class, not target: --label-column chooses",)
    (tmp_path / "mine.csv").write_text("\n".join(["filename,fold,label", *(row.rpartition(",")[0] for row in rows)]))
    assert found(tmp_path / "mine.csv").classes == ("0", "49")


def test_gtzan_is_told_by_its_names_and_its_broken_file_is_left_out(tmp_path: Path) -> None:
    for folder, suffix in (("genres_original", "wav"), ("genres", "au")):
        root = tmp_path / folder
        names = [
            f"{folder}/{genre}/{genre}.{number:05d}.{suffix}" for genre in ("blues", "jazz") for number in (53, 54)
        ]
        write(root, *names)
        if suffix == "wav":
            (root / folder / "jazz" / "jazz.00054.wav").write_bytes(b"\0" * 100)
        (root / "images_original" / "blues").mkdir(parents=True)
        (root / "images_original" / "blues" / "blues00053.png").write_bytes(b"x")
        (root / "features_30_sec.csv").write_text(f"filename,length,label\nblues.00053.{suffix},661794,blues\n")
        (root / "features_3_sec.csv").write_text("filename,length,label\nblues.00053.0.wav,66149,blues\n")
        for data in (root, root / folder):
            listing = found(data)
            assert listing.classes == ("blues", "jazz")
            assert len(listing.files) == (3 if suffix == "wav" else 4)
            assert any("jazz.00054.wav" in note for note in listing.notes) == (suffix == "wav")


def which_set(filename: str) -> str:
    """The rule of Speech Commands' README, with 10 % each."""
    hashed = hashlib.sha1(re.sub(r"_nohash_.*$", "", filename).encode()).hexdigest()
    percentage = (int(hashed, 16) % 2**27) * (100.0 / (2**27 - 1))
    return "val" if percentage < 10 else "test" if percentage < 20 else "train"


def test_speech_commands_without_its_lists_are_divided_by_its_authors_rule(tmp_path: Path) -> None:
    speakers = [f"{number * 2654435761 % 2**32:08x}" for number in range(40)]
    write(tmp_path, *(f"{word}/{speaker}_nohash_{take}.wav" for word in ("yes", "no") for speaker in speakers
                      for take in range(2)), "_background_noise_/white_noise.wav")  # fmt: skip
    listing = found(tmp_path)
    assert listing.classes == ("no", "yes")
    assert by_name(listing, listing.parts) == {file.name: which_set(file.name) for file in listing.files}
    assert set(listing.parts or ()) == {"train", "val", "test"}
    assert by_name(listing, listing.groups) == {file.name: file.name[:8] for file in listing.files}
    (tmp_path / "validation_list.txt").write_text(f"yes/{speakers[0]}_nohash_0.wav\n")
    (tmp_path / "testing_list.txt").write_text(f"yes/{speakers[1]}_nohash_0.wav\n")
    listing = found(tmp_path)
    assert (listing.parts or []).count("test") == 1
    assert by_name(listing, listing.groups) == {file.name: file.name[:8] for file in listing.files}


def test_background_noise_is_no_class_of_any_set_of_words(tmp_path: Path) -> None:
    write(tmp_path, "yes/a.wav", "no/b.wav", "_background_noise_/white_noise.wav")
    assert found(tmp_path).classes == ("no", "yes")
    assert "_background_noise_" in found(tmp_path).notes[0]


def test_the_spoken_digits_as_published_are_tested_on_the_first_takes(tmp_path: Path) -> None:
    write(tmp_path, *(f"recordings/{digit}_{who}_{take}.wav" for digit in (0, 7) for who in ("george", "theo")
                      for take in (0, 4, 5, 12)))  # fmt: skip
    for data in (tmp_path, tmp_path / "recordings"):
        listing = found(data)
        assert listing.classes == ("0", "7")
        assert listing.groups is None
        parts = by_name(listing, listing.parts)
        assert {name for name, part in parts.items() if part == "test"} == {
            n for n in parts if re.search("_[04]\\.", n)
        }
    listing = found(tmp_path, split_by="speaker")
    assert listing.fold_names == ("george", "theo")
    with pytest.raises(UserError, match=r"--split-by actor: .* has no such column.*speaker"):
        found(tmp_path, split_by="actor")


def test_sounds_in_no_known_form_get_a_line_on_manifests(tmp_path: Path) -> None:
    write(tmp_path, "a_1001_DFA_ANG.wav", "b_1002_DFA_SAD.wav")
    with pytest.raises(UserError, match=r"no recordings of any class.*a CSV manifest \(columns filename, label"):
        found(tmp_path)


SPOKEN = [
    f"{word}/{speaker:08x}_nohash_{take}.wav" for word in ("yes", "no") for speaker in range(4) for take in (0, 1)
]


@pytest.mark.parametrize(
    ("names", "stranger", "what"),
    [(RAVDESS, "extra/intro.wav", "RAVDESS"), (RAVDESS, "intro.wav", "RAVDESS"), (SPOKEN, "yes/mine.wav", "Speech")],
)
def test_a_file_of_another_name_does_not_turn_a_known_set_off(
    names: list[str], stranger: str, what: str, tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match=rf"names of {len(names)} files are those of {what}.* 1 name not \(.*{stranger}"
    ):
        found(write(tmp_path, *names, stranger))


def test_a_folder_in_which_few_names_are_those_of_a_known_set_is_the_users_own(tmp_path: Path) -> None:
    own = [f"{kind}/recording {number}.wav" for kind in ("dog", "cat") for number in range(9)]
    listing = found(write(tmp_path, *own, "dog/03-01-06-01-01-01-12.wav"))
    assert listing.classes == ("cat", "dog")
    assert len(listing.files) == 19


def test_fsd50k_is_read_as_published(tmp_path: Path) -> None:
    for number, folder in enumerate(("FSD50K.dev_audio", "FSD50K.dev_audio", "FSD50K.eval_audio")):
        (tmp_path / folder).mkdir(exist_ok=True)
        soundfile.write(tmp_path / folder / f"{1000 + number}.wav", np.full(400, 0.1 * (number + 1)), 4000)
    (tmp_path / "FSD50K.ground_truth").mkdir()
    table = tmp_path / "FSD50K.ground_truth" / "dev.csv"
    table.write_text('fname,labels,mids,split\n1000,"Music,Guitar","/m/1,/m/2",train\n1001,Music,/m/1,val\n')
    listing, _ = read_manifest(table, wanted=Wanted("multilabel"))
    assert listing.classes == ("Guitar", "Music")
    assert list(listing.labels) == [(1.0, 1.0), (0.0, 1.0)]
    assert listing.parts == ["train", "val"]
    assert [file.parent.name for file in listing.files] == ["FSD50K.dev_audio"] * 2
