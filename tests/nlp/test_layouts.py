"""How texts lie on a disk: names of splits, folders of classes, parallel files, and tables without a usual suffix."""

from functools import partial
from pathlib import Path

import pytest

import ptapp_nlp.data.recognise
from divisions import EXACT
from ptapp_core.errors import UserError
from ptapp_nlp.data.recognise import Reading

load = partial(ptapp_nlp.data.recognise.load, division=EXACT)
CLASSIFY = Reading("classify")


def write(file: Path, text: str | bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def table(separator: str, count: int = 40) -> str:
    return "".join(f"some words about {i}{separator}{'yes' if i % 2 else 'no'}\n" for i in range(count))


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("training.csv", "Dev.csv", "eval.csv"),
        ("TRAIN.tsv", "development.tsv", "Testing.tsv"),
        ("my_train-set.csv", "my_valid.csv", "holdout data.csv"),
        ("Trainset.TSV", "validate.tsv", "evaluation.tsv"),
    ],
)
def test_a_split_is_called_as_in_all_domains(tmp_path: Path, train: str, val: str, test: str) -> None:
    separator = "\t" if train.lower().endswith("tsv") else ","
    for name, count in ((train, 40), (val, 8), (test, 12)):
        write(tmp_path / name, table(separator, count))
    data = load(str(tmp_path), CLASSIFY)
    assert (len(data.train), len(data.val), len(data.test)) == (40, 8, 12)


def test_splits_of_other_tasks_are_called_so_too(tmp_path: Path) -> None:
    for name in ("Training.txt", "devel.txt", "testing.txt"):
        write(tmp_path / "plain" / name, f"a line of {name}\n")
        write(tmp_path / "tagged" / name, "Ada B-PER\nsleeps O\n\n")
    for folder, task in (("plain", "generate"), ("tagged", "tag")):
        data = load(str(tmp_path / folder), Reading(task))
        names = [part.names[0].split(":")[0] for part in (data.train, data.val, data.test)]
        assert names == ["Training.txt", "devel.txt", "testing.txt"]
    write(tmp_path / "plain" / "eval.txt", "more\n")
    with pytest.raises(UserError, match=r"eval.txt and testing.txt are both test; remove one"):
        load(str(tmp_path / "plain"), Reading("generate"))
