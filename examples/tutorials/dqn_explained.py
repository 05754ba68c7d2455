"""DQN from its formula, on a corridor whose true values are known.

Mnih et al. 2015, "Human-level control through deep reinforcement learning".
"""

import copy
import random
from collections import deque

import torch
from torch import nn

LENGTH, DISCOUNT, EPISODES = 6, 0.9, 100


def step(place: int, action: int) -> tuple[int, float, bool]:
    """One move left (0) or right (1): the new place, the reward (1 at the right end) and whether it is the end."""
    place = max(0, place + (1 if action else -1))
    return place, float(place == LENGTH - 1), place == LENGTH - 1


def observed(places: list[int]) -> torch.Tensor:
    """Places as one-hot rows, float32 (N, LENGTH)."""
    return nn.functional.one_hot(torch.tensor(places), LENGTH).float()


def learn(with_target: bool, seed: int) -> torch.Tensor:
    """The values (LENGTH - 1, 2) that a network has learned from playing."""
    random.seed(seed)
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(LENGTH, 32), nn.ReLU(), nn.Linear(32, 2))
    target = copy.deepcopy(network) if with_target else network
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    replay: deque[tuple[int, int, float, int, bool]] = deque(maxlen=2000)
    for episode in range(EPISODES):
        place, over, moves = 0, False, 0
        epsilon = max(0.1, 1 - episode / 50)  # the share of actions that explore
        while not over and moves < 30:
            with torch.no_grad():
                greedy = int(network(observed([place])).argmax())
            action = random.randrange(2) if random.random() < epsilon else greedy
            after, reward, over = step(place, action)
            replay.append((place, action, reward, after, over))
            place, moves = after, moves + 1
        for _ in range(8):
            batch = random.sample(replay, min(64, len(replay)))
            places, actions, rewards, afters, overs = zip(*batch, strict=True)
            with torch.no_grad():  # reward + discount * best value of the next place, unless the episode is over
                future = target(observed(list(afters))).max(1).values * ~torch.tensor(overs)
                wanted = torch.tensor(rewards) + DISCOUNT * future
            values = network(observed(list(places))).gather(1, torch.tensor(actions)[:, None])[:, 0]
            optimizer.zero_grad()
            nn.functional.smooth_l1_loss(values, wanted).backward()
            optimizer.step()
        if with_target and episode % 5 == 4:
            target.load_state_dict(network.state_dict())
    with torch.no_grad():
        return network(observed(list(range(LENGTH - 1))))


# Value iteration: the exact answer, which a corridor is small enough for.
exact = torch.zeros(LENGTH, 2)
for _ in range(100):
    for place in range(LENGTH - 1):
        for action in (0, 1):
            after, reward, over = step(place, action)
            exact[place, action] = reward + DISCOUNT * (0 if over else exact[after].max())

print(f"{'place':<24}" + "".join(f"{place:7}" for place in range(LENGTH - 1)))
learned = {name: [learn(name == "DQN", seed) for seed in range(3)] for name in ("DQN", "without target")}
for name, table in ({"exact": exact[:-1]} | {name: tables[0] for name, tables in learned.items()}).items():
    for action, word in enumerate(("left", "right")):
        print(f"{name + ', ' + word:<24}" + "".join(f"{value:7.2f}" for value in table[:, action].tolist()))
for name, tables in learned.items():
    errors = [(table - exact[:-1]).abs().max().item() for table in tables]
    print(f"largest errors of 3 seeds, {name}:" + "".join(f"{error:6.2f}" for error in errors))
best = learned["DQN"][0].argmax(1).tolist()
print("greedy:", " ".join("right" if action else "left" for action in best))
