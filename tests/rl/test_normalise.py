"""Statistics of observations: exact at any size, and still while a rollout is learned from."""

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ptapp_core.errors import UserError
from ptapp_core.loop.averaging import Averaging
from ptapp_core.plan import Plan
from ptapp_rl.envs.normalise import RunningNorm, too_fine
from ptapp_rl.envs.vector import Environments
from rl.lessons import learn, learner


@given(
    st.sampled_from(["float32", "float64", "int16", "int32", "int64"]),
    st.integers(0, 18),
    st.sampled_from([-1, 1]),
    st.integers(0, 2**32 - 1),
)
@example("int64", 18, 1, 0)
@example("float64", 15, -1, 0)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_observations_of_any_size_are_centred_and_scaled_exactly(dtype: str, power: int, sign: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    kind: Any = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
    place = sign * min(10**power, int(kind.max) // 2)
    spread = random.integers(-20, 21, (64, 2))
    seen = np.array(place, dtype) + spread.astype(dtype)  # which rounds where the type has not the digits itself
    exact = np.array([[int(value) - place for value in row] for row in seen.tolist()], np.float64)
    norm = RunningNorm(2)
    for part in torch.from_numpy(seen).split([1, 20, 43]):
        norm.take(norm.moments(part))
    deviation = (exact.var(0) + 1e-8) ** 0.5
    expected = np.clip((exact - exact.mean(0)) / deviation, -10, 10)
    # float64 holds the mean itself, whose rounding counts as much as a step of the numbers does
    rounding = 4 * np.spacing(abs(float(place))) / deviation.min() if dtype.startswith("float") else 0.0
    np.testing.assert_allclose(norm(torch.from_numpy(seen)).numpy(), expected, rtol=1e-5, atol=1e-5 + rounding)


def test_whole_numbers_at_both_ends_of_their_type_do_not_overflow() -> None:
    seen = torch.tensor([[-(2**63)], [2**63 - 1]])
    norm = RunningNorm(1)
    norm.take(norm.moments(seen))
    torch.testing.assert_close(norm(seen), torch.tensor([[-1.0], [1.0]]))


@pytest.mark.parametrize("env", ["Stamp-v0", "StampInt-v0"])
@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_a_clock_of_many_digits_is_learned_from_when_normalised(env: str, algo: str) -> None:
    options: dict[str, Any] = {"frames": 1600, "algo": algo, "normalise": True, "gamma": 0.5}
    model, task, source, said = learner(env, **options)
    learn(task, islice(source, 200))
    assert not any("digits" in line for line in said)
    environments = Environments(env, 8, seed=9, trial=False)
    right = 0.0
    for _ in range(40):
        with torch.inference_mode():
            environments.step(model(torch.from_numpy(environments.observations)).numpy())
        right += environments.raw_rewards.mean()
    assert right > 30  # of 35 frames that are no reset; chance is 17


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_observations_that_float32_does_not_tell_apart_are_one_line(algo: str) -> None:
    for env, lines in (("Stamp-v0", 1), ("CartPole-v1", 0)):
        _, _, source, said = learner(env, algo=algo, frames=256)
        for _ in zip(range(3), source, strict=False):
            pass
        assert len([line for line in said if "lose digits" in line and "--normalise" in line]) == lines


def test_rounded_constants_and_ordinary_numbers_are_not_too_fine() -> None:
    noise = torch.randn(32, 1, dtype=torch.float64)
    assert not too_fine(1.0 + 1e-15 * noise)
    assert not too_fine(1e6 + 20 * noise)
    assert not too_fine(torch.full((32, 1), 1.7e9, dtype=torch.float64))
    assert too_fine(1e9 + noise)
    assert too_fine(1e40 * noise)


GAMES = ["IdentityDiscrete-v0", "IdentityMultidiscrete-v0", "IdentityContinuous-v0", "IdentityDict-v0", "Stamp-v0"]


@pytest.mark.parametrize("env", [*GAMES, "AimFar-v0", "CartPole-v1"])
@pytest.mark.parametrize("algo", ["ppo", "a2c"])
def test_before_the_first_step_of_a_rollout_the_policy_is_that_which_played_it(env: str, algo: str) -> None:
    more = {"clip_value": 0.2, "passes": 3} if algo == "ppo" else {}
    model, task, source, _ = learner(env, algo=algo, normalise=True, frames=512, **more)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    given = 0
    for number, batch in enumerate(source):
        if number % (6 if algo == "ppo" else 1) == 0:
            parameters, values = model.both(batch)
            log_prob = model.head.score(parameters, batch["action"])[0]
            torch.testing.assert_close(log_prob, batch["log_prob"], rtol=0, atol=1e-5)
            torch.testing.assert_close(values, batch["value"], rtol=0, atol=1e-4)
            given += 1
        optimizer.zero_grad()
        task(batch)[0].backward()
        optimizer.step()
    assert given == 8
    assert next(module for module in model.modules() if isinstance(module, RunningNorm)).count == (1 + 7) * 64


@pytest.mark.parametrize("algo", ["ppo", "a2c", "reinforce"])
@pytest.mark.parametrize("normalise", [True, False])
def test_the_first_rollout_that_is_learned_from_is_seen_by_the_statistics_of_one_before(
    algo: str, normalise: bool
) -> None:
    model, _, source, _ = learner("CartPole-v1", algo=algo, normalise=normalise, normalise_rewards=True, frames=256)
    batches = iter(source)
    next(batches)
    assert source.clock() == {"frames": (1 + normalise) * 64}
    assert source.state_dict()["scale"]["seen"] == (1 + normalise) * 64
    if normalise:
        norm = model.encoder.norm
        assert norm.count == 64
        assert norm.variance.max() < 1  # as CartPole's are, and those of nothing are not
    assert sum(1 for _ in batches) == sum(1 for _ in learner("CartPole-v1", algo=algo, frames=256)[2]) - 1


def test_a_job_that_goes_on_takes_in_the_rollout_from_before_it_stopped() -> None:
    model, task, source, _ = learner("CartPole-v1", normalise=True, frames=256)
    batches = iter(source)
    learn(task, [next(batches) for _ in range(4)])  # all of the first rollout
    again, _, rest, _ = learner("CartPole-v1", normalise=True, frames=256)
    rest.load_state_dict(source.state_dict())
    again.load_state_dict(model.state_dict())
    next(batches)
    next(iter(rest))
    assert again.encoder.norm.count == 2 * 64
    for name, value in model.encoder.norm.state_dict().items():
        assert torch.equal(value, again.encoder.norm.state_dict()[name])


@pytest.mark.parametrize(("env", "normalise"), [("CartPole-v1", True), ("Stamp-v0", False)])
def test_a_device_without_float64_is_refused_in_one_line(
    env: str, normalise: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptapp_rl.card.choose_device", lambda name: torch.device("mps"))
    learner("CartPole-v1")
    with pytest.raises(UserError, match=r"mps has no float64.*--device cpu"):
        learner(env, normalise=normalise)


def test_an_average_of_weights_keeps_the_count_of_observations_that_were_seen() -> None:
    model, task, _, _ = learner("CartPole-v1", normalise=True)
    averaging = Averaging(task, Plan(steps=10, average="ema", average_decay=0.9))
    for step in range(1, 4):
        model.encoder.norm.take(model.encoder.norm.moments(torch.randn(8, 4)))
        averaging.update(step)
    shipped: Any = averaging.shipped
    assert shipped.encoder.norm.count == 24
