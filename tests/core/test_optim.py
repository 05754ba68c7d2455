"""Optimizers, parameter groups and schedules: torch's own, at the rates that the formulas say."""

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import Optimizer

from ptapp_core.errors import UserError
from ptapp_core.jobs import schedule_of
from ptapp_core.loop.optim import OPTIMIZERS, SCHEDULES, Schedule, build_optimizer, build_schedule
from ptapp_core.plan import Plan
from ptapp_core.settings.train import TrainSettings


class Net(nn.Module):
    """A body, a normalisation and a head whose name continues another's."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 3)
        self.norm = nn.BatchNorm1d(3)
        self.fc = nn.Linear(3, 2)
        self.fc2 = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.fc(self.norm(self.body(x)))) * self.scale


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def named_groups(model: nn.Module, optimizer: Optimizer) -> dict[str, tuple[float, float, set[str]]]:
    """Of each group: rate, decay, and the names of its parameters."""
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        group["name"]: (group["lr"], group["weight_decay"], {names[id(p)] for p in group["params"]})
        for group in optimizer.param_groups
    }


WEIGHTS = {"body.weight", "fc.weight", "fc2.weight"}
BARE = {"body.bias", "norm.weight", "norm.bias", "fc.bias", "fc2.bias", "scale"}


def test_biases_normalisation_and_scalars_are_not_decayed() -> None:
    model = net()
    groups = named_groups(model, build_optimizer(model, "adamw", lr=0.1, weight_decay=0.05))
    assert groups == {"model": (0.1, 0.05, WEIGHTS), "model no decay": (0.1, 0.0, BARE)}


def test_without_weight_decay_one_group_holds_everything() -> None:
    model = net()
    assert named_groups(model, build_optimizer(model, "sgd", lr=0.1)) == {"model": (0.1, 0.0, WEIGHTS | BARE)}


def test_the_backbone_has_its_own_rate_and_the_head_comes_last() -> None:
    model = net()
    optimizer = build_optimizer(model, "sgd", lr=0.1, weight_decay=0.5, backbone_lr=0.01, head_prefix="fc")
    assert list(named_groups(model, optimizer).items()) == [
        ("backbone", (0.01, 0.5, {"body.weight", "fc2.weight"})),
        ("backbone no decay", (0.01, 0.0, BARE - {"fc.bias"})),
        ("head", (0.1, 0.5, {"fc.weight"})),
        ("head no decay", (0.1, 0.0, {"fc.bias"})),
    ]


def test_frozen_prefixes_do_not_learn_and_match_whole_components() -> None:
    model = net()
    optimizer = build_optimizer(model, "sgd", lr=0.1, freeze=["fc", "norm.weight"])
    frozen = {"fc.weight", "fc.bias", "norm.weight"}
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == frozen
    assert named_groups(model, optimizer)["model"][2] == (WEIGHTS | BARE) - frozen


@pytest.mark.parametrize("wrapped", [0, 1, 3])
def test_what_all_names_begin_with_may_be_left_out_of_a_prefix(wrapped: int) -> None:
    for left_out in range(wrapped + 1):
        model: nn.Module = net()
        for _ in range(wrapped):
            model = nn.ModuleDict({"outer": model})
        build_optimizer(model, "sgd", lr=0.1, freeze=["outer." * left_out + "body"])
        assert [name for name, p in model.named_parameters() if not p.requires_grad] == [
            "outer." * wrapped + name for name in ("body.weight", "body.bias")
        ]
        with pytest.raises(UserError, match="did you mean 'body'"):
            build_optimizer(model, "sgd", lr=0.1, freeze=["bodi"])


def test_a_part_is_frozen_or_a_head_with_the_weights_that_it_shares() -> None:
    def tied() -> nn.ModuleDict:
        model = nn.ModuleDict({"shared": nn.Linear(3, 3), "body": nn.Linear(3, 3), "head": nn.Linear(3, 3)})
        model["head"].weight = model["shared"].weight
        return model

    model = tied()
    build_optimizer(model, "sgd", lr=0.1, freeze=["head"])
    learns = {name: p.requires_grad for name, p in model.named_parameters()}
    assert [name for name, own in learns.items() if not own] == ["shared.weight", "head.bias"]
    model = tied()
    optimizer = build_optimizer(model, "sgd", lr=0.1, backbone_lr=0.01, head_prefix="head")
    (head,) = (group["params"] for group in optimizer.param_groups if group["name"] == "head")
    assert {id(p) for p in head} == {id(model["shared"].weight), id(model["head"].bias)}


def test_a_module_that_is_frozen_as_a_whole_stays_in_eval_mode() -> None:
    model = nn.Sequential(
        nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout()), nn.BatchNorm1d(3), nn.Dropout()
    )
    build_optimizer(model, "sgd", lr=0.1, freeze=["0", "1.weight"])
    for module in (model, copy.deepcopy(model)):
        assert [m.training for m in module.train().modules()] == [True, False, False, False, False, True, True]
        assert not any(m.training for m in module.eval().modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": ["bodi"]}, r"--freeze bodi: .*did you mean 'body'"),
        ({"freeze": ["body.wieght"]}, r"did you mean 'body.weight'"),
        ({"freeze": ["body", "norm", "fc", "fc2", "scale"]}, "nothing is left to learn"),
        ({"backbone_lr": 0.1, "head_prefix": "fc3"}, r"head_prefix fc3: .*did you mean 'fc"),
        ({"backbone_lr": 0.1}, "backbone_lr needs head_prefix"),
        ({"name": "admw"}, r"'admw'; did you mean 'adamw'"),
    ],
)
def test_a_mistake_in_the_groups_is_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as wrong:
        build_optimizer(net(), **{"name": "sgd", "lr": 0.1, **options})
    assert "\n" not in str(wrong.value)


BY_HAND: dict[str, Callable[[Any], Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.1, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.1, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.05, momentum=0.9, weight_decay=0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05, weight_decay=0.1, fused=True),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=0.05, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_five_steps_are_those_of_torch_called_by_hand(name: str) -> None:
    inputs, targets = torch.randn(5, 16, 4), torch.randn(5, 16, 1)

    def learn(build: Callable[[nn.Module], Optimizer]) -> tuple[Optimizer, torch.Tensor]:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 8, bias=False), nn.Tanh(), nn.Linear(8, 1, bias=False))
        optimizer = build(model)
        for x, y in zip(inputs, targets, strict=True):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
        return optimizer, torch.cat([p.detach().flatten() for p in model.parameters()])

    ours, weights = learn(lambda model: build_optimizer(model, name, lr=0.05, weight_decay=0.1))
    theirs, expected = learn(lambda model: BY_HAND[name](model.parameters()))
    assert torch.equal(weights, expected)
    assert isinstance(ours, type(theirs))
    assert bool(ours.defaults.get("fused")) == bool(theirs.defaults.get("fused"))


# --- schedules ---------------------------------------------------------------------------------------------------

STEPS, LR = 40, 0.8
OPTIONS: dict[str, dict[str, Any]] = {
    "step": {"milestones": [7], "gamma": 0.5},
    "multistep": {"milestones": [12, 30], "gamma": 0.3},
    "exponential": {"gamma": 0.01},
    "polynomial": {"power": 2.0},
    "cyclic": {"gamma": 0.1},
    "plateau": {"gamma": 0.5, "patience": 1},
}


def schedule(name: str, steps: int = STEPS, warmup: int = 0, lr: float = LR) -> tuple[Optimizer, Schedule]:
    """A schedule over two groups, the head's rate ten times that of the backbone."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    optimizer = build_optimizer(model, "sgd", lr=lr, backbone_lr=lr / 10, head_prefix="1")
    return optimizer, build_schedule(optimizer, name, steps=steps, warmup=warmup, **OPTIONS.get(name, {}))


def score(step: int) -> float:
    """Rises and then stays, which makes a plateau fall again and again."""
    return min(step, 9) / 10


def advance(optimizer: Optimizer, planned: Schedule, first: int, last: int) -> list[tuple[float, ...]]:
    """Steps `first` to `last` in the loop's order, with an evaluation every third; the rates of each group."""
    rates = []
    for step in range(first, last + 1):
        rates.append(tuple(float(group["lr"]) for group in optimizer.param_groups))
        assert planned.lr == rates[-1][-1]
        optimizer.step()
        planned.step()
        if step % 3 == 0:
            planned.observe(score(step))
    return rates


def anneal(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def closed_form(name: str, i: int, left: int, warmup: int) -> float:
    """The factor of rate number i after the warm-up; the formulas of `build_schedule`, written a second time."""
    if name == "step":
        return 0.5 ** (i // 7)
    if name == "multistep":
        return 0.3 ** sum(i + warmup >= milestone for milestone in (12, 30))
    if name == "exponential":
        return 0.01 ** (i / left)
    if name == "cosine":
        return (1 + math.cos(math.pi * i / left)) / 2
    if name == "polynomial":
        return (1 - i / left) ** 2
    if name == "cyclic":
        half = left // 8
        place = i % (2 * half)
        return 0.1 + 0.9 * (place if place <= half else 2 * half - place) / half
    if name == "onecycle":
        top = 0.3 * left - 1
        return anneal(1 / 25, 1, i / top) if i <= top else anneal(1, 1 / 250_000, (i - top) / (left - 1 - top))
    return 1.0


@pytest.mark.parametrize("warmup", [0, 1, 8])
@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "plateau"])
def test_every_rate_is_that_of_the_closed_form(name: str, warmup: int) -> None:
    left = STEPS - warmup
    factors = [closed_form(name, 0, left, warmup) * k / warmup for k in range(1, warmup + 1)]
    factors += [closed_form(name, i, left, warmup) for i in range(left)]
    for got, factor in zip(advance(*schedule(name, warmup=warmup), 1, STEPS), factors, strict=True):
        assert got == pytest.approx((LR / 10 * factor, LR * factor), rel=1e-9)


@pytest.mark.parametrize("warmup", [0, 5])
def test_plateau_lowers_the_rates_after_more_than_patience_evaluations_without_a_better_score(warmup: int) -> None:
    rates = [head for _, head in advance(*schedule("plateau", warmup=warmup), 1, STEPS)]
    assert rates[:warmup] == pytest.approx([LR * k / warmup for k in range(1, warmup + 1)])
    # the score is best at step 9; evaluations 12 and 15 bring nothing better, and 15 is one more than patience
    falls = [step for step in range(warmup + 1, STEPS) if rates[step] != rates[step - 1]]
    assert falls == [15, 21, 27, 33, 39]
    assert rates[warmup:15] == pytest.approx([LR] * (15 - warmup))
    assert rates[15] == pytest.approx(LR / 2)
    assert rates[-1] == pytest.approx(LR / 2**5)


def test_plateau_can_watch_a_figure_that_should_fall() -> None:
    optimizer = build_optimizer(nn.Linear(1, 1), "sgd", lr=1.0)
    planned = build_schedule(optimizer, "plateau", steps=9, mode="min", patience=0, gamma=0.5)
    observed = []
    for value in (-1.0, -1.001, -0.5, -2.0):
        planned.observe(value)
        observed.append(planned.lr)
    assert observed == [1.0, 1.0, 0.5, 0.5]


@pytest.mark.parametrize("warmup", [0, 6])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_state_saved_at_any_step_goes_on_with_exactly_the_same_rates(name: str, warmup: int) -> None:
    whole = advance(*schedule(name, warmup=warmup), 1, STEPS)
    for saved_at in range(STEPS):
        optimizer, planned = schedule(name, warmup=warmup)
        advance(optimizer, planned, 1, saved_at)
        file = io.BytesIO()
        torch.save({"optimizer": optimizer.state_dict(), "schedule": planned.state_dict()}, file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
        resumed, continued = schedule(name, warmup=warmup)
        resumed.load_state_dict(state["optimizer"])
        continued.load_state_dict(state["schedule"])
        assert advance(resumed, continued, saved_at + 1, STEPS) == whole[saved_at:], f"saved at step {saved_at}"


def planned_by(settings: TrainSettings) -> tuple[int, Optimizer, Schedule]:
    """Steps, optimizer and schedule of a job of 7 steps an epoch."""
    plan = Plan.of(settings, 7)
    optimizer = build_optimizer(nn.Linear(2, 2, bias=False), "sgd", lr=settings.lr)
    return plan.steps, optimizer, schedule_of(settings, optimizer, plan)


LENGTHS = st.builds(lambda epochs: {"epochs": epochs, "steps": None}, st.floats(0.7, 9))
HEEDED = {
    "milestones": ("step", "multistep"),
    "lr_gamma": ("step", "multistep", "exponential", "cyclic", "plateau"),
    "power": ("polynomial",),
}
LENGTHS |= st.builds(lambda steps: {"steps": steps}, st.integers(5, 60))


@settings(deadline=None)
@given(
    schedule=st.fixed_dictionaries(
        {
            "schedule": st.sampled_from(SCHEDULES),
            "warmup": st.sampled_from([0.0, 0.1, 0.5]),
            "milestones": st.sampled_from([[0.6], [0.6, 0.9]]),
            "lr_gamma": st.floats(0.05, 0.9),
            "power": st.floats(0.5, 3),
        }
    ),
    first=LENGTHS,
    resumed=st.lists(st.tuples(st.floats(0, 1), LENGTHS), min_size=1, max_size=3),
)
def test_a_job_made_longer_or_shorter_keeps_every_rate_that_it_began_with(
    tmp_path_factory: pytest.TempPathFactory, schedule: Any, first: Any, resumed: Any
) -> None:
    run = tmp_path_factory.getbasetemp()
    schedule = {name: value for name, value in schedule.items() if schedule["schedule"] in HEEDED.get(name, SCHEDULES)}
    job = TrainSettings.resolve(None, {**schedule, **first})
    try:
        whole, optimizer, planned = planned_by(job)
    except UserError:  # a job so short that a milestone lies within its warm-up
        reject()
    expected = advance(optimizer, planned, 1, whole)

    steps, optimizer, planned = planned_by(job)
    rates: list[tuple[float, ...]] = []
    for share, length in resumed:
        stopped_at = max(len(rates), round(share * steps))
        rates += advance(optimizer, planned, len(rates) + 1, stopped_at)
        state = planned.state_dict()
        (run / "config.toml").write_text(job.to_toml())
        job = TrainSettings.resumed(run, length)
        steps, optimizer, planned = planned_by(job)
        planned.load_state_dict(state)
    rates += advance(optimizer, planned, len(rates) + 1, steps)
    assert rates[:whole] == expected[: len(rates)]
    if schedule["schedule"] != "plateau":  # which goes by the scores for as long as there are any
        assert set(rates[whole:]) <= {expected[-1]}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_saved_over_other_steps_is_refused(name: str) -> None:
    _, planned = schedule(name, warmup=4)
    for steps, warmup in ((2 * STEPS, 4), (STEPS, 8)):
        _, other = schedule(name, steps=steps, warmup=warmup)
        with pytest.raises(UserError, match="build it over the same"):
            other.load_state_dict(planned.state_dict())


@pytest.mark.parametrize("name", SCHEDULES)
def test_no_warning_comes_when_the_optimizers_first_steps_are_skipped(
    name: str, recwarn: pytest.WarningsRecorder
) -> None:
    _, planned = schedule(name, warmup=2)
    for _ in range(STEPS):  # as fp16 may: the schedule continues, the optimizer never moves
        planned.step()
        planned.observe(0.0)
    assert not recwarn.list


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rate_of_the_last_step_stays_should_training_go_on(name: str) -> None:
    optimizer, planned = schedule(name, warmup=3)
    rates = [head for _, head in advance(optimizer, planned, 1, STEPS)]
    optimizer.step()
    planned.step()
    assert planned.lr == rates[-1] > 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cosin", {}, "did you mean 'cosine'"),
        ("cosine", {"warmup": 10}, "warm-up of 10 steps"),
        ("exponential", {"gamma": 1.5}, "gamma 1.5"),
        ("exponential", {"gamma": 0.0}, "gamma 0"),
        ("step", {}, "needs milestones"),
        ("multistep", {"milestones": [3], "warmup": 4}, "at least 5"),
    ],
)
def test_numbers_that_do_not_fit_together_are_one_line(name: str, options: dict[str, Any], message: str) -> None:
    optimizer = build_optimizer(nn.Linear(1, 1), "sgd", lr=1.0)
    with pytest.raises(UserError, match=message):
        build_schedule(optimizer, name, steps=10, **options)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_training_of_a_few_steps_has_rates_too(name: str, steps: int) -> None:
    for rates in advance(*schedule(name, steps=steps), 1, steps):
        assert all(0 < rate <= LR for rate in rates)
