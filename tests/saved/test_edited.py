"""What was edited by hand in a run is refused in a line that names the file and the place, never used in silence."""

import json
import re
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from contract.rows import command, last_checkpoint
from saved.test_saved import DOMAINS, HERE, before, copied

__all__ = ["before"]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_length_that_was_edited_names_the_file_and_the_key(
    domain: str, before: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(domain, before)
    config = run / "config.toml"
    key = "frames" if domain == "rl" else "steps"
    text, count = re.subn(
        rf"^{key} = (\d+)", lambda found: f"{key} = {int(found[1]) * 3}", config.read_text(), flags=re.M
    )
    assert count == 1
    config.write_text(text)
    assert command([domain, "train", "--resume", str(run)]) == 2
    error = capsys.readouterr().err
    assert f"{config}: {key} was edited (" in error
    assert len(error.splitlines()) == 1


def _renamed(model: dict[str, Any]) -> None:
    model["classes"][0] += "x"


def _swapped(model: dict[str, Any]) -> None:
    model["classes"].reverse()


@pytest.mark.parametrize("change", [_renamed, _swapped])
@pytest.mark.parametrize("domain", ["vision", "nlp", "audio"])
def test_a_class_that_was_renamed_or_moved_is_refused(
    domain: str, change: Any, before: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(domain, before)
    meta = run / "meta.json"
    options = json.loads((HERE / domain / "expected.json").read_text())["options"]
    assert command([domain, "train", "--resume", str(run), *options]) == 0
    assert command([domain, "export", str(run), "--format", "pt2"]) == 0
    about = json.loads(meta.read_text())
    change(about["model"])
    meta.write_text(json.dumps(about))
    capsys.readouterr()
    assert command([domain, "export", str(run), "--format", "pt2"]) == 2
    assert f"{meta}: model: is not what {last_checkpoint(run).name} was saved with" in capsys.readouterr().err


@pytest.mark.parametrize("odd", [{}, None, 5])
@pytest.mark.parametrize("domain", ["vision", "nlp", "audio"])
def test_a_part_of_the_model_of_another_type_is_refused_by_a_job_that_goes_on(
    domain: str, odd: Any, before: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(domain, before)
    meta = run / "meta.json"
    about = json.loads(meta.read_text())
    for changed in (odd, *({**about["model"], key: odd} for key in ("name", "kind", "classes"))):
        meta.write_text(json.dumps({**about, "model": changed}))
        capsys.readouterr()
        assert command([domain, "train", "--resume", str(run)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert str(run) in line


def _made(about: dict[str, Any], run: Path) -> None:
    key = "drawn" if "drawn" in about else "made"
    about[key] = not about[key]


def _tokenizer(about: dict[str, Any], run: Path) -> None:
    file = run / "tokenizer.json"
    file.write_text(file.read_text().replace('"cat"', '"cow"'))
    about["tokenizer"] = sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("domain", "change", "key"),
    [("vision", _made, "drawn"), ("audio", _made, "made"), ("nlp", _made, "made"), ("nlp", _tokenizer, "tokenizer")],
)
def test_what_else_the_model_goes_by_is_refused_where_it_was_edited(
    domain: str, change: Any, key: str, before: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(domain, before)
    meta = run / "meta.json"
    options = json.loads((HERE / domain / "expected.json").read_text())["options"]
    assert command([domain, "train", "--resume", str(run), *options]) == 0
    about = json.loads(meta.read_text())
    change(about, run)
    meta.write_text(json.dumps(about))
    for words in (["export", str(run), "--format", "pt2"], ["train", "--resume", str(run)]):
        if key == "tokenizer" or words[0] == "export":  # a job that goes on sees for itself who made its data
            capsys.readouterr()
            assert command([domain, *words]) == 2
            said = f"{meta}: {key}: is not what {last_checkpoint(run).name} was saved with; put it back as it was"
            assert said in capsys.readouterr().err


@pytest.mark.parametrize("domain", ["vision", "nlp", "audio"])
def test_a_checkpoint_of_before_the_record_is_used_as_it_was(domain: str, before: Path) -> None:
    run = copied(domain, before)
    assert "model" not in json.loads((last_checkpoint(run) / "manifest.json").read_text())
    shutil.rmtree(run / "export", ignore_errors=True)
    assert command([domain, "export", str(run), "--format", "pt2"]) == 0
