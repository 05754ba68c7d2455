"""A short job that leaves a run."""

from pathlib import Path

from ptapp_core.cli.main import main

TINY = "--frames 256 --rollout 16 --batch-size 64 --passes 1 --eval-episodes 4 --test-episodes 8 --log-to none"


def trained(folder: Path) -> Path:
    """The run that a job on the identity leaves in a folder."""
    assert main(f"rl train --env rl.games:IdentityDiscrete {TINY} --run-dir {folder}".split()) == 0
    (run,) = folder.glob("*/*")
    return run
