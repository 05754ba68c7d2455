"""What a job says at its end where it had nothing to learn from."""

from collections.abc import Sequence
from pathlib import Path

from ptapp_core.runs.log import records

_EXPLORE = {
    **dict.fromkeys(("ppo", "a2c", "reinforce"), "--entropy 0.01"),
    "dqn": "--explore 0.5, --noisy",
    "rainbow": "--no-noisy --explore 0.5",
    "sac": "a longer --learning-starts",
    **dict.fromkeys(("td3", "ddpg"), "--action-noise 0.3, a longer --learning-starts"),
}


def nothing_learned(algo: str, record: Path, returns: Sequence[float]) -> str:
    """A line where all episodes of training, by the job's `record`, and of its test had one return; else empty.

    Then no reward told one action from another, as in MountainCar, which ends before it is solved by chance.
    """
    trained = {line["return"] for line in records(record) if line.get("return") is not None}
    if not trained or trained != set(returns):
        return ""
    return (
        f"every episode had the return {returns[0]:g}, so no action was seen to be better than another, and nothing "
        f"was learned: explore more ({_EXPLORE[algo]}), let episodes be longer (--max-episode-steps), or reward the "
        "way to the goal"
    )
