"""REINFORCE, a baseline and a critic: the same gradient in expectation, with less noise.

Williams 1992, "Simple statistical gradient-following algorithms"; Mnih et al. 2016, "Asynchronous methods for deep
reinforcement learning" (the advantage actor-critic).
"""

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

LENGTH, DISCOUNT, LIMIT = 6, 0.95, 30


def play(policy: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """An episode in the corridor: places one-hot (T, LENGTH), actions int64 (T,), discounted returns (T,)."""
    place, places, actions, rewards = 2, [], [], []
    while place not in (0, LENGTH - 1) and len(places) < LIMIT:
        places.append(nn.functional.one_hot(torch.tensor(place), LENGTH).float())
        with torch.no_grad():
            actions.append(Categorical(logits=policy(places[-1])).sample())
        place += 1 if actions[-1] else -1
        rewards.append(1.0 if place == LENGTH - 1 else 0.2 if place == 0 else 0.0)  # a near prize and a better one
    returns, total = [], 0.0
    for reward in reversed(rewards):
        total = reward + DISCOUNT * total
        returns.insert(0, total)
    return torch.stack(places), torch.stack(actions), torch.tensor(returns)


def learn(form: str, seed: int) -> tuple[float, float]:
    """The noise of the first gradients, and the return of the last 100 episodes."""
    torch.manual_seed(seed)
    policy, critic = nn.Linear(LENGTH, 2, bias=False), nn.Linear(LENGTH, 1, bias=False)
    nn.init.zeros_(policy.weight)
    nn.init.zeros_(critic.weight)
    optimizer = torch.optim.Adam([*policy.parameters(), *critic.parameters()], lr=0.05)
    mean, first, gained = 0.0, [], []
    for _ in range(300):
        places, actions, returns = play(policy)
        values = critic(places)[:, 0]
        base = {"REINFORCE": torch.zeros(1), "baseline": torch.tensor([mean]), "actor-critic": values.detach()}[form]
        advantage = returns - base  # how much better it went than was expected
        actor = -(Categorical(logits=policy(places)).log_prob(actions) * advantage).sum()
        loss = actor + 0.5 * (values - returns).square().sum()
        optimizer.zero_grad()
        loss.backward()
        first.append(policy.weight.grad.flatten().clone())
        optimizer.step()
        mean += 0.05 * (returns[0].item() - mean)
        gained.append(returns[0].item())
    noise = torch.stack(first[20:60]).var(0).sum().item()
    return noise, sum(gained[-100:]) / 100


print(f"{'':<14}{'noise':>8}{'return':>8}   (means of 3 seeds)")
for form in ("REINFORCE", "baseline", "actor-critic"):
    noise, gained = torch.tensor([learn(form, seed) for seed in range(3)]).mean(0).tolist()
    print(f"{form:<14}{noise:8.3f}{gained:8.3f}")
print(f"{'best possible':<22}{DISCOUNT**2:8.3f}")
