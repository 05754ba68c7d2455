"""Noisy networks: the layer by hand, whose noise it is, and that evaluation and exports have none. And Rainbow."""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ptapp_core.export import export
from ptapp_rl.algos.build import build, exploration_note, plan_of
from ptapp_rl.algos.dqn import DQN
from ptapp_rl.config import TrainRL
from ptapp_rl.models.noisy import NoisyLinear
from rl.cards import card_for
from rl.lessons import learner


def network(**changes: Any) -> Any:
    torch.manual_seed(0)
    return build(card_for("dqn", **{"noisy": True, **changes}))


def test_a_layer_begins_with_the_deviations_of_the_paper() -> None:
    torch.manual_seed(0)
    layer = NoisyLinear(16, 300)
    for deviation in (layer.weight_deviation, layer.bias_deviation):
        assert (deviation == 0.5 / 4).all()
    for mean in (layer.weight, layer.bias):
        assert mean.abs().max() <= 1 / 4
        assert mean.std().item() == pytest.approx(2 / 4 / 12**0.5, rel=0.1)


def test_the_noise_of_a_row_is_the_product_of_the_paper() -> None:
    torch.manual_seed(0)
    layer, x, noise = NoisyLinear(3, 2), torch.randn(4, 3), torch.randn(4, 5)
    with torch.no_grad():
        layer.weight_deviation.uniform_(0.1, 1.0)
        layer.bias_deviation.uniform_(0.1, 1.0)
    weights = [parameter.detach().numpy() for parameter in (layer.weight, layer.weight_deviation)]
    biases = [parameter.detach().numpy() for parameter in (layer.bias, layer.bias_deviation)]
    expected = np.zeros((4, 2))
    for row in range(4):
        d, e = np.split(np.sign(noise[row].numpy()) * np.sqrt(np.abs(noise[row].numpy())), [3])
        expected[row] = (weights[0] + weights[1] * np.outer(e, d)) @ x[row].numpy() + biases[0] + biases[1] * e
    np.testing.assert_allclose(layer(x, noise).detach().numpy(), expected, rtol=1e-4, atol=1e-6)
    same = torch.stack([layer(row, noise[0]) for row in x])
    torch.testing.assert_close(layer(x, noise[:1]), same)
    torch.testing.assert_close(layer(x), x @ layer.weight.T + layer.bias)


@pytest.mark.parametrize("double", [True, False])
def test_each_draw_of_a_batch_is_heeded_and_the_deviations_learn(double: bool) -> None:
    task = DQN(network(dueling=True), double=double)
    torch.manual_seed(1)
    batch = {name: torch.randn(64, 4) for name in ("observation", "following")}
    batch |= {"action": torch.randint(0, 2, (64,)), "reward": torch.randn(64), "factor": torch.full((64,), 0.9)}
    assert task.noises == ("noise", "noise_following", *(["noise_choice"] if double else []))
    batch |= {name: 10 * torch.randn(1, task.model.noise_size) for name in task.noises}
    loss, _, _ = task(batch)
    loss.backward()
    for name, parameter in task.model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    with torch.no_grad():
        for head in (task.model.advantage, task.model.value):
            head.bias_deviation.zero_()  # so that what is heeded is the noise of the weights
        loss = task(batch)[0]
        for name in task.noises:
            assert task({**batch, name: 10 * torch.randn_like(batch[name])})[0] != loss, name


def chosen(source: Any) -> list[list[int]]:
    """The actions that a source chooses in one state, again and again, after its first batch."""
    next(iter(source))
    return [source._choose()[0].tolist() for _ in range(40)]


def test_a_noisy_network_explores_by_its_noise_alone() -> None:
    _, task, source, _ = learner("CartPole-v1", algo="dqn", noisy=True, hidden=[8])
    with torch.no_grad():
        task.model.advantage.weight.zero_()
        task.model.advantage.bias.copy_(torch.tensor([0.0, 0.1]))
    played = np.array(chosen(source))
    assert 0.5 < played.mean() < 1.0
    assert (played.std(axis=1) > 0).any()  # each environment has a draw of its own
    with torch.no_grad():
        for deviation in (task.model.advantage.weight_deviation, task.model.advantage.bias_deviation):
            deviation.zero_()
    assert np.all([source._choose()[0] for _ in range(40)])


def test_actions_before_the_first_batch_are_drawn_evenly() -> None:
    _, task, source, _ = learner("CartPole-v1", algo="dqn", noisy=True)
    with torch.no_grad():
        task.model.advantage.bias.copy_(torch.tensor([0.0, 1e6]))
    assert 0.3 < np.mean([source._choose()[0] for _ in range(100)]) < 0.7


def test_a_batch_brings_its_noise_and_a_source_that_is_put_back_draws_the_same() -> None:
    options = {"algo": "dqn", "noisy": True, "prioritised": True, "vector": "sync"}
    _, task, source, _ = learner("CartPole-v1", **options)
    batches = iter(source)
    first = next(batches)
    task(first)  # whose errors become the priorities
    second = next(batches)
    size = task.model.noise_size
    assert size == 32 + 2
    for name in task.noises:
        assert first[name].shape == (1, size)
        assert not torch.equal(first[name], second[name])
    assert not torch.equal(first["noise"], first["noise_following"])
    task(second)
    _, again, other, _ = learner("CartPole-v1", **options)
    other.load_state_dict(source.state_dict())
    for ours, theirs in islice(zip(batches, other, strict=False), 5):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
        assert torch.equal(task(ours)[0], again(theirs)[0])
    assert source.figures()["noise"] == pytest.approx(0.5 / 32**0.5)
    assert "epsilon" not in source.figures()


def test_the_size_of_the_noise_is_that_of_both_outputs() -> None:
    _, task, source, _ = learner("CartPole-v1", algo="dqn", noisy=True, dueling=True)
    with torch.no_grad():
        task.model.advantage.weight_deviation.fill_(-1.0)
        task.model.value.weight_deviation.fill_(4.0)
    assert source.figures()["noise"] == pytest.approx((2 * 1 + 1 * 4) / 3)  # two actions, and one value


@pytest.mark.parametrize("form", [{"atoms": 5, "dueling": True, "value_max": 2.0}, {"quantiles": 3}], ids=str)
def test_evaluation_and_exports_take_the_means(form: dict[str, Any], tmp_path: Path) -> None:
    model, samples = network(**form), torch.randn(64, 4)
    with torch.no_grad():
        answers = model(samples)
        model.advantage.weight_deviation.fill_(1e3)
        assert torch.equal(model.train()(samples), answers)
        assert not torch.equal(model.values(samples, model.noise(np.random.default_rng(0), 1)).argmax(-1), answers)
    _, difference = export(model.eval(), samples, tmp_path, format="torchscript", about={})
    assert difference == 0  # contract 8 has the other forms


def test_rainbow_is_dqn_with_all_of_its_parts_in_plain_sight() -> None:
    job = TrainRL.resolve(None, {"algo": "rainbow"})
    assert (job.double, job.dueling, job.prioritised, job.noisy) == (True, True, True, True)
    assert (job.n_step, job.atoms, job.priority_exponent) == (3, 51, 0.5)
    for line in ("dueling = true", "prioritised = true", "noisy = true", "atoms = 51", "n_step = 3"):
        assert f"\n{line} " in job.to_toml()
    assert TrainRL.resolve(None, {"algo": "rainbow", "noisy": False, "epsilon": 0.1}).epsilon == 0.1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"noisy": True}, ""),
        ({"noisy": True, "prioritised": True}, "beta rises to 1 over the first 50,000 frames: the job"),
        (
            {"prioritised": True},
            "epsilon falls to 0.04 over the first 8,000 frames, and beta rises to 1 over",
        ),
    ],
)
def test_a_longer_job_says_which_of_its_clocks_keep_to_the_first_plan(options: dict[str, Any], says: str) -> None:
    job = TrainRL.resolve(None, {"algo": "dqn", **options})
    assert exploration_note(job) == ""
    longer = job.model_copy(update={"frames": 60_000, "began_with": {"frames": 50_000}})
    assert exploration_note(longer).startswith(says)
    assert bool(exploration_note(longer)) == bool(says)
    assert plan_of(longer).steps > plan_of(job).steps
