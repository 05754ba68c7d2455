"""Code of the user's own by its name: where it is found, what of a run is not executed, and a job of it resumed."""

import shutil
import signal
from pathlib import Path

import pytest

import ptapp
from contract.rows import command, last_checkpoint, only_run, process, record
from extending.own import error_of, forget, texts, words
from ptapp_core.errors import UserError
from ptapp_core.settings.own import bring, full_name, refuse_code_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("domain", ["vision", "audio", "nlp"])
def test_help_names_the_form(domain: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command([domain, "train", "--help-all"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "module:Class" in said
    assert "module:function" in said
    assert "module:Kind" in said


@pytest.mark.parametrize("name", ["a\0.py:Net", "a\0b:Net", "..:Net", ":Net", "net:", "net.py:", "a b:Net", "é.py:é"])
def test_a_name_that_none_has_is_one_line(name: str, place: Path) -> None:
    refuse_code_of(place, name, "model", remedy="elsewhere")
    with pytest.raises(UserError, match=r"^--model "):
        bring(full_name(name), "--model", "the class")


@pytest.mark.parametrize(("domain", "file"), [("vision", "own_images.py"), ("audio", "own_sounds.py")])
def test_a_job_of_it_that_is_resumed_ends_with_the_same_bytes(domain: str, file: str, place: Path) -> None:
    own = ["--model", f"{place / file}:Net", "--loss", f"{place / file}:hinge"]
    assert process([*words(domain, place), *own]).returncode == 0
    whole = place / "whole"
    shutil.move(only_run(place), whole)
    assert process([*words(domain, place), *own], signal_at=(8, signal.SIGTERM)).returncode == 75
    run = only_run(place)
    assert process([domain, "train", "--resume", str(run)]).returncode == 0
    for name in ("model.safetensors", "state.pt"):
        assert (last_checkpoint(run) / name).read_bytes() == (last_checkpoint(whole) / name).read_bytes()
    assert record(run) == record(whole)


def test_a_job_of_texts_that_is_resumed_ends_with_the_same_bytes(place: Path) -> None:
    own = ["--model", f"{place / 'own_texts.py'}:Net", "--loss", f"{place / 'own_wrong.py'}:hard"]
    assert process([*texts(place), *own]).returncode == 0
    whole = place / "whole"
    shutil.move(only_run(place), whole)
    assert process([*texts(place), *own], signal_at=(8, signal.SIGTERM)).returncode == 75
    run = only_run(place)
    assert process(["nlp", "train", "--resume", str(run)]).returncode == 0
    for name in ("model.safetensors", "state.pt"):
        assert (last_checkpoint(run) / name).read_bytes() == (last_checkpoint(whole) / name).read_bytes()


@pytest.mark.parametrize("domain", ["vision", "audio"])
@pytest.mark.parametrize("option", ["model", "loss"])
def test_code_in_a_run_directory_is_not_run(
    domain: str, option: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(words(domain, place)) == 0
    run, witness = only_run(place), place / "code-ran"
    (run / "evil.py").write_text(f"open({str(witness)!r}, 'w')\n")
    dotted = ".".join(run.relative_to(place).parts)  # folders without an __init__.py are packages
    for evil in (f"{run}/evil.py", f"{dotted}.evil"):
        for file in ("config.toml", "meta.json"):
            text, name = (run / file).read_text(), "Net" if option == "model" else "hinge"
            start = "own_images" if domain == "vision" else "own_sounds"
            for old in (f"{place}/{start}.py:{name}", f"{start}:{name}"):
                text = text.replace(f'"{old}"', f'"{evil}:{name}"')
            (run / f"{file}.new").write_text(text)
        kept = {file: (run / file).read_text() for file in ("config.toml", "meta.json")}
        for file in kept:
            (run / file).write_text((run / f"{file}.new").read_text())
        verbs = ["train --resume"] if option == "loss" else ["train --resume", "evaluate", "export", "predict"]
        for verb in verbs:
            more = [str(place / "x.png")] if verb == "predict" else []
            says = error_of([domain, *verb.split(), str(run), *more], capsys)
            assert "is code in the run directory itself" in says
            assert not witness.exists()
        if option == "model":
            with pytest.raises(UserError, match="is code in the run directory itself"):
                ptapp.load(run, device="cpu")
        for file, text in kept.items():
            (run / file).write_text(text)


def test_code_in_the_run_directory_of_texts_is_not_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(texts(place)) == 0
    run, witness = only_run(place), place / "code-ran"
    (run / "evil.py").write_text(f"open({str(witness)!r}, 'w')\n")
    for file in ("config.toml", "meta.json"):
        text = (run / file).read_text()
        (run / file).write_text(text.replace(f'"{place}/own_texts.py:Net"', f'"{run}/evil.py:Net"'))
    for verb in ("train --resume", "evaluate", "export", "predict"):
        says = error_of(["nlp", *verb.split(), str(run), *(["a text"] if verb == "predict" else [])], capsys)
        assert "is code in the run directory itself" in says
    assert not witness.exists()


def test_a_file_that_was_moved_is_named_anew_and_the_job_resumed(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = f"{place}/own_images.py:"
    assert command(words("vision", place, "--loss", f"{own}hinge")) == 0
    run = only_run(place)
    shutil.move("own_images.py", "elsewhere.py")
    forget()
    assert f"there is no file {place}/own_images.py" in error_of(["vision", "evaluate", str(run)], capsys)
    for file in ("config.toml", "meta.json"):
        text = (run / file).read_text()
        (run / file).write_text(text.replace(own, f"{place}/elsewhere.py:"))
    shutil.rmtree(last_checkpoint(run))
    assert command(["vision", "train", "--resume", str(run)]) == 0
    assert command(["vision", "evaluate", str(run), "--device", "cpu"]) == 0
