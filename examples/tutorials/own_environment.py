"""An environment of one's own for `ptapp rl train --env`: a shop that orders goods, whose best policy is known.

The class is in this file, which the command names. Each evening the shop orders up to 4 pieces, which are there in the
morning; up to 8 fit in. Pieces that were bought cost nothing if they are sold, and rent while they lie.
"""

import io
from contextlib import redirect_stderr, redirect_stdout

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env

import ptapp
from ptapp_core.cli.main import main  # what `ptapp` calls

ROOM, DAYS, PRICE, COST, RENT = 8, 30, 2.0, 1.0, 0.2
DEMAND = np.array([0.1, 0.2, 0.4, 0.2, 0.1])  # the probability that 0 to 4 customers come


class Shop(gym.Env):
    """The observation is the stock, the action the number of pieces to order."""

    observation_space = gym.spaces.Discrete(ROOM + 1)
    action_space = gym.spaces.Discrete(5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)  # makes self.np_random, the only generator that this class draws from
        self.stock, self.day = int(self.np_random.integers(ROOM + 1)), 0
        return self.stock, {}

    def step(self, action):
        self.stock, reward = after(self.stock, int(action), int(self.np_random.choice(5, p=DEMAND)))
        self.day += 1
        # The shop goes on after DAYS: the episode is truncated, and not terminated.
        return self.stock, reward, False, self.day == DAYS, {}


def after(stock: int, order: int, demand: int) -> tuple[int, float]:
    """The stock after a day, and what the day has earned."""
    there = min(ROOM, stock + order)
    sold = min(there, demand)
    return there - sold, PRICE * sold - COST * (there - stock) - RENT * (there - sold)


def played(policy, episodes: int) -> float:
    """The mean return of a policy, a function of the stock."""
    total, shop = 0.0, Shop()
    for episode in range(episodes):
        shop.reset(seed=episode)
        over = False
        while not over:
            _, reward, _, over, _ = shop.step(policy(shop.stock))
            total += reward
    return total / episodes


if __name__ == "__main__":
    check_env(Shop())  # Gymnasium's own
    print("check_env has no complaint")

    # Value iteration: the exact answer, which a shop is small enough for.
    values = np.zeros(ROOM + 1)
    for _ in range(2000):
        table = np.zeros((ROOM + 1, 5))
        for stock in range(ROOM + 1):
            for order in range(5):
                days = [after(stock, order, demand) for demand in range(5)]
                table[stock, order] = DEMAND @ [reward + 0.98 * values[then] for then, reward in days]
        values = table.max(1)

    line = "rl train --env own_environment.py:Shop --algo ppo --frames 30000 --lr 1e-3"
    print("$ ptapp", line)
    words = [word.replace("own_environment.py", __file__) for word in line.split()]
    with redirect_stdout(io.StringIO()) as printed, redirect_stderr(io.StringIO()):
        main([*words, "--precision", "fp32", "--threads", "1", "--log-to", "none"])
    run = next(line[5:] for line in printed.getvalue().splitlines() if line.startswith("run: "))

    learned, draw = ptapp.load(run).predict(list(range(ROOM + 1))), np.random.default_rng(0)
    print("stock in the evening:", *range(ROOM + 1))
    print("exact orders:        ", *table.argmax(1))
    for name, policy in {
        "random": lambda stock: draw.integers(5),
        "learned": lambda stock: learned[stock],
        "exact": lambda stock: table[stock].argmax(),
    }.items():
        print(f"{name}: {played(policy, 500):.1f} in {DAYS} days")
