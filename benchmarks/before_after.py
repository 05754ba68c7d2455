"""Processor time of whole commands, with this version of ptapp and with another: is anything slower than before?

    git worktree add ../before COMMIT
    make -C ../before .venv/ready
    python benchmarks/before_after.py ../before/.venv/bin/ptapp --data ../shared/data [--rounds 3] [--only NAME]

Each job is a command in a process of its own, with one thread; the two versions take turns. A figure is the time that
the process spent on a processor, user and system, which a busy machine distorts less than the clock on the wall; the
ratio is the median over the rounds. DATA holds `ag_news/` and `fsdd/`; the images are
made here.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def jobs(images: Path, data: Path) -> dict[str, str]:
    """Name -> the command's words, the same for both versions."""
    train = "--threads 1 --device cpu --log-to none"
    quiet = f"{train} --no-test"
    return {
        "help": "vision train --help",
        "6,000 images, one step": f"vision train --data {images} --steps 1 {quiet}",
        "fercnn, 60 steps": f"vision train --steps 60 --batch-size 16 {quiet}",
        "fercnn, 60 steps and saves": f"vision train --steps 60 --batch-size 4 --save-every 0.0005 {quiet}",
        "lstm, AG News, 100 steps": f"nlp train --data {data / 'ag_news'} --steps 100 {quiet}",
        "cnn, FSDD, 60 steps": f"audio train --data {data / 'fsdd'} --steps 60 {quiet}",
        "PPO, CartPole, 20,480 frames": f"rl train --env CartPole --algo ppo --frames 20480 {train}",
        "PPO, Pendulum, 10,240 frames": f"rl train --env Pendulum --algo ppo --frames 10240 {train}",
        "DQN, CartPole, 10,240 frames": f"rl train --env CartPole --algo dqn --frames 10240 {train}",
    }


def write_images(folder: Path) -> None:
    """Writes 6,000 noisy grey PNG files of 48x48 in three classes."""
    random = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(random.integers(0, 255, (2000, 48, 48), dtype=np.uint8)):
            Image.fromarray(image).save(folder / name / f"{number}.png")


def seconds(program: str, words: str) -> float:
    """Processor time, user and system, of a command and of the processes that it waited for."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = [] if words.endswith("--help") else ["--run-dir", folder]
        error = Path(folder, "error")
        with error.open("wb") as err:
            process = subprocess.Popen(
                [program, *words.split(), *run_dir], env=_ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=err
            )
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{program} {words}\n{error.read_text()[-500:]}")
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Prints a line a job: seconds before, seconds now, and the median ratio of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="the other version's program, its ptapp")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="jobs whose names hold this")
    options = parser.parse_args()
    now = str(Path(sys.executable).with_name("ptapp"))
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder, "images"))
        for name, words in jobs(Path(folder, "images"), options.data).items():
            if options.only in name:
                pairs = [(seconds(options.before, words), seconds(now, words)) for _ in range(options.rounds)]
                before, after = (statistics.median(side) for side in zip(*pairs, strict=True))
                ratio = statistics.median(after / before for before, after in pairs)
                print(f"| {name} | {before:.1f} | {after:.1f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
