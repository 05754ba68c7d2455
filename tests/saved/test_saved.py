"""A run that an earlier version made is resumed, evaluated and used as that version did."""

import json
import math
import shutil
from importlib import import_module
from pathlib import Path

import pytest
from safetensors.torch import load_file

import ptapp
from contract import of_audio, of_nlp, of_vision
from contract.rows import command, last_checkpoint, record

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
DOMAINS = ("vision", "nlp", "audio", "rl")


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """The folder that the runs' data lay in."""
    of_vision.write_images(tmp_path / "bars", 5)
    of_audio.write_sounds(tmp_path / "tones", 5)
    of_nlp.write_texts(tmp_path / "texts", 20)
    return tmp_path


def copied(domain: str, before: Path) -> Path:
    run = before / "run"
    shutil.copytree(HERE / domain / "run", run, symlinks=True)
    config = run / "config.toml"
    config.write_text(config.read_text().replace("/before", str(before)))
    return run


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_run_of_an_earlier_version_goes_on_as_it_did_there(domain: str, before: Path) -> None:
    expected = json.loads((HERE / domain / "expected.json").read_text())
    run = copied(domain, before)
    assert command([domain, "train", "--resume", str(run), *expected["options"]]) == 0
    checkpoint = last_checkpoint(run)
    assert checkpoint.name == expected["checkpoint"]
    weights = load_file(checkpoint / "model.safetensors")
    assert weights.keys() == expected["weights"].keys()
    for name, (mean, norm) in expected["weights"].items():
        tensor = weights[name].double()
        assert math.isclose(float(tensor.norm()), norm, rel_tol=1e-5, abs_tol=1e-7), name
        assert math.isclose(float(tensor.mean()), mean, rel_tol=1e-4, abs_tol=1e-6), name
    lines = record(run)
    assert [line.keys() for line in lines] == [line.keys() for line in expected["record"]]
    for line, other in zip(lines, expected["record"], strict=True):
        assert line == pytest.approx(other, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_card_of_a_run_is_stored_as_it_was_read(domain: str) -> None:
    meta = json.loads((HERE / domain / "run" / "meta.json").read_text())
    about = import_module(f"ptapp_{domain}.card").About.model_validate(meta)
    assert json.dumps(about.model.stored()) == json.dumps(meta["model"])  # its keys in the same order, too


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_run_of_an_earlier_version_is_evaluated_exported_and_loaded(domain: str, before: Path) -> None:
    run = copied(domain, before)
    assert command([domain, "evaluate", str(run), *(["--episodes", "1"] if domain == "rl" else [])]) == 0
    assert command([domain, "export", str(run), "--format", "pt2"]) == 0
    assert ptapp.load(run, device="cpu").model
