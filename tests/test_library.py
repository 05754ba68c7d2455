"""A run answers in three lines of Python, with the answers of `predict`; and loading it leaves the program alone."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import soundfile
from gymnasium import spaces
from PIL import Image

import ptapp
from contract import of_audio, of_vision
from contract.rows import command, only_run
from ptapp_core.errors import UserError

pytestmark = pytest.mark.slow

SMALL = ["--steps", "4", "--batch-size", "8", "--device", "cpu", "--threads", "1", "--log-to", "none"]


def trained(folder: Path, *words: str) -> Path:
    assert command([*words, *SMALL, "--run-dir", str(folder / "runs")]) == 0
    return only_run(folder)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert command(list(words)) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_images_get_the_answers_of_predict_from_files_pixels_and_pillow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = of_vision.write_images(tmp_path / "bars")
    run = trained(tmp_path, "vision", "train", "--data", str(data))
    files = sorted(data.glob("*/*.png"))[:3]
    model = ptapp.load(run, device="cpu")
    expected = [
        {key: value for key, value in line.items() if key != "file"}
        for line in printed(capsys, "vision", "predict", str(run), *map(str, files), "--json", "--device", "cpu")
    ]
    assert model.predict(files) == model.predict([str(file) for file in files]) == expected
    assert model.predict([Image.open(file) for file in files]) == expected
    assert model.predict([np.asarray(Image.open(file)) for file in files]) == expected
    with pytest.raises(UserError, match=r"^image 1: is float64 \(8, 8\); give uint8"):
        model.predict([np.zeros((8, 8), np.uint8), np.zeros((8, 8))])
    with pytest.raises(UserError, match=r"takes a list: give \[file\] for a single one$"):
        model.predict(str(files[0]))
    with pytest.raises(UserError, match=r"^image 0: is uint8 \(0, 5\); give uint8"):
        model.predict([np.zeros((0, 5), np.uint8)])
    with pytest.raises(UserError, match=r"gone\.png: "):
        model.predict([tmp_path / "gone.png"])


def test_recordings_get_the_answers_of_predict_from_files_and_waveforms_at_any_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = of_audio.write_sounds(tmp_path / "tones")
    run = trained(tmp_path, "audio", "train", "--data", str(data), "--seconds", "0.25", "--mels", "16", "--width", "4")
    stereo = tmp_path / "stereo.wav"
    soundfile.write(stereo, np.random.default_rng(0).uniform(-1.4, 1.4, (9000, 2)), 22_050, subtype="FLOAT")
    loud = tmp_path / "loud.wav"
    soundfile.write(loud, np.random.default_rng(1).uniform(-30_000, 30_000, 9000), 8_000, subtype="FLOAT")
    model = ptapp.load(run, device="cpu")
    for file in (stereo, loud, sorted(data.glob("*/*.wav"))[0]):
        (line,) = printed(capsys, "audio", "predict", str(run), str(file), "--json", "--device", "cpu")
        expected = [{key: value for key, value in line.items() if key != "file"}]
        assert model.predict([file]) == expected
        wave, rate = soundfile.read(file, dtype="float32")
        assert model.predict([wave], rate=rate) == expected
    with pytest.raises(UserError, match=r"^recording 0: is a waveform; give its samples a second as rate=$"):
        model.predict([wave])
    with pytest.raises(UserError, match=r"^recording 0: has samples that are not finite"):
        model.predict([wave * np.nan], rate=8_000)
    with pytest.raises(UserError, match=r"^recording 0: holds no samples"):
        model.predict([wave[:0]], rate=8_000)


@pytest.mark.parametrize("task", ["classify", "tag", "translate"])
def test_texts_get_the_answers_of_predict(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(tmp_path, "nlp", "train", "--task", task, "--dim", "16", "--layers", "1")
    texts = ["the old cat", "", "a dog " * 200]
    expected = printed(capsys, "nlp", "predict", str(run), *texts, "--device", "cpu")
    answers = ptapp.load(run, device="cpu").predict(texts)
    assert [{"text": text, **answer} for text, answer in zip(texts, answers, strict=True)] == expected
    with pytest.raises(UserError, match=r"takes a list: give \[text\] for a single one$"):
        ptapp.load(run).predict("the old cat")
    with pytest.raises(UserError, match=f"learned to {task}, not to generate"):
        ptapp.load(run).generate("the")


def test_a_run_that_generates_goes_on_with_a_prompt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(tmp_path, "nlp", "train", "--task", "generate", "--dim", "16", "--layers", "1")
    (line,) = printed(capsys, "nlp", "generate", str(run), "--prompt", "the", "--length", "9", "--device", "cpu")
    model = ptapp.load(run, device="cpu")
    assert model.generate("the", length=9) == [line["text"]]
    with pytest.raises(UserError, match=r"learned to generate texts; call `generate`$"):
        model.predict(["the"])


@pytest.mark.parametrize("env", ["CartPole", "Pendulum", "FrozenLake", "Blackjack"])
def test_a_policy_acts_without_its_environment(env: str, tmp_path: Path) -> None:
    words = ["rl", "train", "--env", env, "--algo", "ppo", "--frames", "64", "--envs", "2", "--rollout", "16"]
    words += ["--batch-size", "16", "--passes", "1", "--eval-episodes", "1", "--test-episodes", "1", "--no-trial"]
    words += ["--vector", "sync", "--device", "cpu", "--threads", "1", "--log-to", "none"]
    assert command([*words, "--run-dir", str(tmp_path / "runs")]) == 0
    model = ptapp.load(only_run(tmp_path), device="cpu")
    environment = gymnasium.make(json.loads((only_run(tmp_path) / "meta.json").read_text())["env"])
    observations = [environment.reset(seed=seed)[0] for seed in range(3)]
    if isinstance(space := environment.observation_space, spaces.Tuple):
        observations = [spaces.flatten(space, observation) for observation in observations]
    actions = model.predict(observations)
    assert all(environment.action_space.contains(action) for action in actions)
    for one, action in zip(observations, actions, strict=True):
        np.testing.assert_allclose(model.predict([one])[0], action, rtol=1e-5)
    with pytest.raises(UserError, match="an observation"):
        model.predict([np.full((7, 7), 1e9)])


def test_what_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not a run directory \(it has no meta\.json\)$"):
        ptapp.load(tmp_path)
    (tmp_path / "meta.json").write_text('{"domain": "weather"}')
    with pytest.raises(UserError, match=r"a run of `ptapp weather`, which is not installed$"):
        ptapp.load(tmp_path)


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, ptapp; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'ptapp_core')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
