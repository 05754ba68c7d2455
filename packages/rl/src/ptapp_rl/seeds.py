"""One run or several seeds."""

from ptapp_rl.config import TrainRL


def train(settings: TrainRL) -> None:
    """Train one run."""
    from ptapp_rl.train import train as one

    one(settings)
