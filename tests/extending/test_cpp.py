"""examples/cpp is built against the libtorch of the wheel, and answers images as the run does."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ptapp
from contract.rows import command

HOME = Path(__file__).parents[2]
TORCH = Path(torch.__file__).parent
MISSING = [
    *(name for name in ("c++", "cmake") if shutil.which(name) is None),
    *(["the headers of torch"] if not (TORCH / "include" / "torch" / "script.h").exists() else []),
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {' and '.join(MISSING)} to build a program of C++"),
]


@pytest.fixture(scope="module")
def classify(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    build = tmp_path_factory.mktemp("build")
    for words in (
        ["-S", str(HOME / "examples" / "cpp"), "-B", str(build), f"-DTORCH={TORCH}"],
        ["--build", str(build)],
    ):
        done = subprocess.run(["cmake", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in done.stderr
    yield build / "classify"
    shutil.rmtree(build)


def test_the_answers_are_those_of_the_run(classify: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(HOME / "tests" / "saved" / "vision" / "run", run, symlinks=True)
    assert command(["vision", "export", str(run), "--format", "torchscript"]) == 0
    model = run / "export" / "model.torchscript.pt"
    random, images = np.random.default_rng(0), []
    for number in range(3):
        images.append(tmp_path / f"{number}.pgm")
        Image.fromarray(random.integers(0, 256, (16, 16), np.uint8)).save(images[-1])
    done = subprocess.run([classify, model, *images], capture_output=True, text=True, check=True)
    predictor = ptapp.load(run, device="cpu")
    for line, image, answer in zip(done.stdout.splitlines(), images, predictor.predict(images), strict=True):
        name, best, *shares = line.split()
        expected = [*answer["probabilities"].values()]
        assert name == str(image)
        assert [*answer["probabilities"]][int(best)] == answer["class"]
        assert [*map(float, shares)] == pytest.approx(expected, abs=1e-5)
    images[0].write_bytes(images[0].read_bytes()[:-1])
    for words, said in (
        ([model, images[0]], f"classify: {images[0]}: ends before its last pixel\n"),
        ([model, model], f"classify: {model}: is no binary PGM or PPM; convert it to one\n"),
        ([model], "usage: classify MODEL.torchscript.pt IMAGE.pgm|IMAGE.ppm...\n"),
    ):
        done = subprocess.run([classify, *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (2, said)
