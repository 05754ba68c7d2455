"""`ptapp dist check`: whether the ranks of a job find each other, and what each collective gives and takes."""

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import field_validator, model_validator

from ptapp_core.cli.app import command, domain
from ptapp_core.machine.terminal import tell
from ptapp_core.settings.base import Settings
from ptapp_core.settings.fields import option
from ptapp_core.settings.ranks import MACHINES, MEETING, Ranks

app = domain("Several ranks: whether they reach each other, and how fast.")


class CheckRanks(Settings):
    """What `ptapp dist check` can be asked for."""

    nproc: int | None = option(
        None, "ranks on this machine; none: one for each CUDA device, at least 2", group="Ranks", ge=1, le=1024
    )
    nnodes: str = option("1", MACHINES, group="Ranks")
    rdzv: str | None = option(None, MEETING, group="Ranks")
    backend: Literal["auto", "gloo", "nccl"] = option("auto", "auto: nccl where CUDA is, else gloo", group="Ranks")
    timeout: float = option(15.0, "seconds that a rank waits for another one", group="Ranks", gt=0, le=3600)
    size: int | None = option(
        None, "largest message in MiB; none: 4 for gloo, 128 for nccl", group="Output", ge=1, le=16384
    )
    out: Path | None = option(None, "picture of the times (.png)", group="Output")

    @field_validator("out")
    @classmethod
    def _out_is_a_png(cls, out: Path | None) -> Path | None:
        if out is not None and out.suffix != ".png":
            raise ValueError("must end in .png")
        return out

    @model_validator(mode="after")
    def _there_are_two(self) -> Self:
        ranks = Ranks(self.nproc or 2, self.nnodes, self.rdzv)
        if ranks.one and "WORLD_SIZE" not in os.environ:
            raise ValueError("--nproc 1: a single rank has no other to reach: give at least 2")
        return self


@command(app, CheckRanks)
def check(settings: CheckRanks) -> None:
    """Check every collective between ranks of this machine, or of several."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # torch would report each failed attempt with its C++ frames
    import torch

    from ptapp_core.cli.dist_check import check_ranks
    from ptapp_core.cli.ranks import relaunch

    ranks = Ranks(settings.nproc or max(torch.cuda.device_count(), 2), settings.nnodes, settings.rdzv)
    if relaunch(ranks, remedy="give a smaller --nproc if memory is short"):
        return
    times = check_ranks(settings)
    if settings.out is not None and os.environ["RANK"] == "0":
        from ptapp_core.measure.link_pictures import draw_times

        tell(f"picture: {draw_times(times, settings.out)}")
