"""Optimizers, parameter groups and learning-rate schedules by name; every one of them is torch's own."""

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CyclicLR,
    ExponentialLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    StepLR,
)

from ptapp_core.errors import UserError, nearest
from ptapp_core.machine.inplace import stay_in_eval
from ptapp_core.machine.memory import refuse_beyond_memory
from ptapp_core.machine.torch_private import without_compiler
from ptapp_core.runs.states import refuse_unlike

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": without_compiler(torch.optim.SGD),
    "adam": without_compiler(torch.optim.Adam),
    "adamw": without_compiler(torch.optim.AdamW),
    "rmsprop": without_compiler(torch.optim.RMSprop),
    "adagrad": without_compiler(torch.optim.Adagrad),
    "adadelta": without_compiler(torch.optim.Adadelta),
}

_STATE = {"sgd": 1, "adam": 2, "adamw": 2, "rmsprop": 2, "adagrad": 1, "adadelta": 2}
"""How many tensors of a parameter's size each optimizer keeps for it, one of them for the momentum if it has one."""

SCHEDULES = (
    "constant",
    "step",
    "multistep",
    "exponential",
    "cosine",
    "polynomial",
    "cyclic",
    "onecycle",
    "plateau",
)


def build_optimizer(
    model: nn.Module,
    name: str,
    *,
    lr: float,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    backbone_lr: float | None = None,
    head_prefix: str | tuple[str, ...] = "",
    freeze: Sequence[str] = (),
    averaged: bool = False,
    ranks: int = 1,
) -> Optimizer:
    """A torch optimizer over the parameters that learn, fused where torch has that for their device, else foreach.

    Args:
        model: its frozen parameters get `requires_grad = False`, and a module that is frozen as a whole stays in eval
            mode (see `stay_in_eval`).
        name: a key of `OPTIMIZERS`.
        lr: learning rate; that of the head alone if `backbone_lr` is given.
        weight_decay: the optimizer's own form of it (decoupled in `adamw`, an L2 term elsewhere).
        momentum: that of `sgd` and `rmsprop`; the others have none.
        backbone_lr: learning rate of every parameter that is not under `head_prefix`.
        head_prefix: dotted name of the head, `"fc"`, or of each of its parts; whole components match, so not `"fc2"`.
        freeze: dotted names whose parameters do not learn; what all names begin with may be left out.
        averaged: whether training keeps an average of the model as well, which counts as memory that it needs.
        ranks: those that will share all this, each of which needs memory for its part.

    Returns:
        The optimizer. Its groups have a `"name"` for logs, and the head's come last.

    Raises:
        UserError: unknown name, a prefix without parameters, nothing left to learn, or too little memory free
            for the gradients, the optimizer's state and the average.
    """
    if name not in OPTIMIZERS:
        raise UserError(f"no optimizer is called {name!r}{nearest(name, OPTIMIZERS)}")
    frozen = {name: p for prefix in freeze for name, p in _under(model, prefix, "--freeze").items()}
    for parameter in frozen.values():
        parameter.requires_grad_(False)
    stay_in_eval(model, frozen.values())
    groups = parameter_groups(model, lr, weight_decay, backbone_lr=backbone_lr, head_prefix=head_prefix)
    build = OPTIMIZERS[name]
    options: dict[str, Any] = {"lr": lr, "weight_decay": 0.0}
    if "momentum" in inspect.signature(build).parameters:
        options["momentum"] = momentum
    kept = [p for group in groups for p in group["params"]] * (1 + _STATE[name] - (options.get("momentum") == 0))
    kept += [*model.parameters(), *model.buffers()] if averaged else []
    needed = sum(tensor.nbytes for tensor in kept if tensor.device.type == "cpu") // ranks
    refuse_beyond_memory(needed, f"training the model with --optimizer {name}{' and --average' if averaged else ''}")
    if all(_has_fused(build, device) for device in {p.device for group in groups for p in group["params"]}):
        options["fused"] = True
    else:
        options["foreach"] = True  # the same bits; torch itself takes it on GPUs alone
    return build(groups, **options)


def parameter_groups(
    model: nn.Module,
    lr: float,
    weight_decay: float,
    *,
    backbone_lr: float | None = None,
    head_prefix: str | tuple[str, ...] = "",
) -> list[dict[str, Any]]:
    """The parameters that learn, by rate and weight decay, in the order backbone, head.

    Parameters of one dimension or none (biases, the scales and shifts of normalisation layers) are not decayed: they
    are few, do not overfit, and a scale pulled to zero only changes the effective rate of the layer before it
    (He et al. 2019, "Bag of Tricks for Image Classification", section 3.1).

    Raises:
        UserError: `head_prefix` holds no parameter or is missing for a `backbone_lr`, or nothing is left to learn.
    """
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not learning:
        raise UserError("nothing is left to learn: --freeze leaves out every parameter of the model")
    if backbone_lr is None:
        parts = [("model", lr, list(learning.values()))]
    elif not head_prefix:
        raise UserError("backbone_lr needs head_prefix: this model does not say which of its parameters are the head")
    else:
        prefixes = (head_prefix,) if isinstance(head_prefix, str) else head_prefix
        head = {id(p) for prefix in prefixes for p in _under(model, prefix, "head_prefix").values()}
        parts = [
            ("backbone", backbone_lr, [p for p in learning.values() if id(p) not in head]),
            ("head", lr, [p for p in learning.values() if id(p) in head]),
        ]
    groups = []
    for name, rate, parameters in parts:
        # Without weight decay there is nothing to separate, and each group costs a call of the fused kernel.
        bare = [p for p in parameters if weight_decay and p.ndim <= 1]
        decayed = [p for p in parameters if not weight_decay or p.ndim > 1]
        groups += [
            {"name": name, "params": decayed, "lr": rate, "weight_decay": weight_decay},
            {"name": f"{name} no decay", "params": bare, "lr": rate, "weight_decay": 0.0},
        ]
    return [group for group in groups if group["params"]]


def _under(model: nn.Module, prefix: str, option: str) -> dict[str, nn.Parameter]:
    """Parameters whose dotted name is `prefix` or continues it after a dot.

    What all names of the model begin with (`network.net.`) may be left out of the prefix.
    """
    names = dict(model.named_parameters(remove_duplicate=False))  # a part has those that it shares, too
    prefix = prefix.rstrip(".")
    shared = _shared_start(names)
    starts = ["".join(f"{part}." for part in shared[:count]) for count in range(len(shared) + 1)]
    for start in starts:
        found = {name: p for name, p in names.items() if f"{name}.".startswith(f"{start}{prefix}.")}
        if found:
            return found
    depth = len(shared) + prefix.count(".") + 1
    known = {".".join(name.split(".")[len(shared) : depth]) for name in names}
    raise UserError(f"{option} {prefix}: no parameter of the model has this prefix{nearest(prefix, known)}")


def _shared_start(names: Iterable[str]) -> list[str]:
    """The first parts that all of the dotted names have in common, short of the last part."""
    parts = zip(*(name.split(".")[:-1] for name in names), strict=False)
    return [part[0] for part in takewhile(lambda part: len(set(part)) == 1, parts)]


def _has_fused(build: Callable[..., Optimizer], device: torch.device) -> bool:
    """Whether the optimizer has a fused kernel there: tried on one number, as torch has no public list of them."""
    probe = torch.zeros(1, device=device, requires_grad=True)
    probe.grad = torch.zeros_like(probe)
    try:
        build([probe], fused=True).step()
    except (TypeError, RuntimeError):
        return False
    return True


class OtherLength(UserError):
    """A schedule is to continue from the state of one that was laid out over other steps."""


class Schedule:
    """A learning rate over time, counted in optimizer steps: linear warm-up, then one of torch's schedulers.

    With start rate r (that at which the scheduler begins), warm-up of w steps takes step k = 1..w at r·k/w. Step
    w + 1 + i is taken at the scheduler's rate number i, for i = 0 ... steps - w - 1. Should training continue, the rate
    of the last of these steps stays: how long a job is made later changes no rate of its earlier steps.

    Args:
        optimizer: every group is scheduled from its own rate.
        scheduler: lasts `steps - warmup` steps; None keeps the rates.
        steps: optimizer steps that training was planned for when it began.
        warmup: the first of them, over which the rates rise.
    """

    def __init__(self, optimizer: Optimizer, scheduler: LRScheduler | None, steps: int, *, warmup: int = 0) -> None:
        self._optimizer, self._scheduler = optimizer, scheduler
        self._steps, self._warmup, self._done = steps, warmup, 0
        self._start = [float(group["lr"]) for group in optimizer.param_groups]
        self._by_score = isinstance(scheduler, ReduceLROnPlateau)
        if warmup:
            self._warm_up()

    @property
    def ends(self) -> bool:
        """Whether the rates change by a plan, which has an end."""
        return self._scheduler is not None and not self._by_score

    @property
    def lr(self) -> float:
        """Rate of the next step, of the last parameter group (the head)."""
        return float(self._optimizer.param_groups[-1]["lr"])

    def step(self) -> None:
        """Sets the rates of the next step; called after each optimizer step, also one that was skipped."""
        self._done += 1
        if self._done < self._warmup:
            self._warm_up()
        elif self._scheduler is not None and not self._by_score and self._warmup < self._done < self._steps:
            if self._done > self._warmup + 1:
                self._scheduler.step()
            else:
                # At its first step torch warns if the optimizer has not moved yet. fp16 may rightly have skipped it.
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message=r".*optimizer\.step\(\)")
                    self._scheduler.step()

    def observe(self, score: float) -> None:
        """Takes the evaluation's score: `plateau` lowers the rates once it no longer improves, the others ignore it.

        Scores during warm-up do not count.
        """
        if isinstance(self._scheduler, ReduceLROnPlateau) and self._done >= self._warmup:
            self._scheduler.step(score)

    def state_dict(self) -> dict[str, Any]:
        """Numbers only: what moves, and the plan that it moved along."""
        moving = {key: value for key, value in vars(self._scheduler or object).items() if key in _MOVING}
        rates = [float(group["lr"]) for group in self._optimizer.param_groups]
        return {"plan": [self._steps, self._warmup], "done": self._done, "rates": rates, "scheduler": moving}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where the state was taken, to the bit.

        Raises:
            OtherLength: that schedule was laid out over other steps.
        """
        steps, warmup = state["plan"]
        if (steps, warmup) != (self._steps, self._warmup):
            raise OtherLength(
                f"the schedule was saved over {steps:,} steps and a warm-up of {warmup:,}, and is now over "
                f"{self._steps:,} and {self._warmup:,}: build it over the same, even if training is longer now"
            )
        refuse_unlike(state, {**self.state_dict(), "plan": state["plan"]})
        self._done = state["done"]
        self._set(state["rates"])
        if self._scheduler is not None:
            vars(self._scheduler).update(state["scheduler"])

    def _set(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self._optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def _warm_up(self) -> None:
        self._set([start * ((self._done + 1) / self._warmup) for start in self._start])


# The attributes of torch's schedulers that change as they step (the last three are those of ReduceLROnPlateau).
_MOVING = ("last_epoch", "_step_count", "best", "num_bad_epochs", "cooldown_counter")


def build_schedule(
    optimizer: Optimizer,
    name: str,
    *,
    steps: int,
    warmup: int = 0,
    milestones: Sequence[int] = (),
    gamma: float = 0.1,
    power: float = 1.0,
    mode: Literal["max", "min"] = "max",
    patience: int = 2,
) -> Schedule:
    """One of `SCHEDULES`. With T = steps - warmup, i counted from the end of warm-up, and each group's own rate lr:

    ===========  =======================================================================================
    constant     lr
    step         lr·gamma^(i // milestones[0])
    multistep    lr·gamma at each of the milestones, which count from the start of training
    exponential  lr·gamma^(i / T): `gamma` is the factor at the end
    cosine       lr·(1 + cos(π·i / T)) / 2 (Loshchilov and Hutter 2017, without restarts)
    polynomial   lr·(1 - i / T)^power
    cyclic       four triangles between lr·gamma and lr (Smith 2017)
    onecycle     lr/25 up to lr at 30 % of T, then down to lr/250,000 (Smith and Topin 2018); momentum stays
    plateau      lr·gamma each time more than `patience` evaluations in a row brought no better score
    ===========  =======================================================================================

    Args:
        optimizer: its rates are set to those of the first step.
        name: see above.
        steps: optimizer steps of the whole training.
        warmup: the first of them, over which the rates rise linearly; less than `steps`.
        milestones: optimizer steps, for `step` and `multistep`.
        gamma: factor, above 0 and below 1.
        power: the exponent of `polynomial`.
        mode: whether `plateau` wants a high or a low score.
        patience: evaluations without a better score that `plateau` lets pass before it lowers the rates.

    Raises:
        UserError: unknown name, or numbers that do not fit together.
    """
    if name not in SCHEDULES:
        raise UserError(f"no schedule is called {name!r}{nearest(name, SCHEDULES)}")
    if not 0 <= warmup < steps:
        raise UserError(f"warm-up of {warmup} steps does not fit into a training of {steps}; give a shorter warm-up")
    if not 0 < gamma < 1:
        raise UserError(f"--lr-gamma {gamma:g}: a learning rate falls by a factor above 0 and below 1")
    if name in ("step", "multistep"):
        first = 1 if name == "step" else warmup + 1
        if not milestones or min(milestones) < first:
            raise UserError(f"schedule {name} needs milestones in steps, each at least {first} (not {[*milestones]})")
    left = steps - warmup
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    scheduler: LRScheduler | None = None
    match name:
        case "step":
            scheduler = StepLR(optimizer, milestones[0], gamma)
        case "multistep":
            scheduler = MultiStepLR(optimizer, [milestone - warmup for milestone in milestones], gamma)
        case "exponential":
            scheduler = ExponentialLR(optimizer, gamma ** (1 / left))
        case "cosine":
            scheduler = CosineAnnealingLR(optimizer, left)
        case "polynomial":
            scheduler = PolynomialLR(optimizer, left, power)
        case "cyclic":
            low = [rate * gamma for rate in rates]
            scheduler = CyclicLR(optimizer, low, rates, max(1, left // 8), cycle_momentum=False)
        case "onecycle":
            scheduler = OneCycleLR(optimizer, rates, total_steps=left, cycle_momentum=False)
        case "plateau":
            # Any better score counts: a relative threshold would turn around where scores are negative.
            scheduler = ReduceLROnPlateau(optimizer, mode, gamma, patience, threshold=0.0, threshold_mode="abs")
    return Schedule(optimizer, scheduler, steps, warmup=warmup)
