"""Initial weights of a sound model, with the statistics of the features that they expect."""

from pathlib import Path

from ptapp_audio.card import About, Card, Front
from ptapp_core import weights
from ptapp_core.errors import UserError


class Weights(weights.Weights[Card]):
    """Those of a network that takes normalised features."""

    def refuse_other_features(self, front: Front) -> None:
        """Raises UserError where the run that they are of was trained on other features."""
        if self.card is not None and self.card.front != front:
            name, old = next(item for item in self.card.front.stored().items() if getattr(front, item[0]) != item[1])
            raise UserError(
                f"{self.source}: was trained on features with {name} {old:,}, and these have {getattr(front, name):,}: "
                "give the --rate, --mels, --frame, --hop and --low of that run"
            )


def read_weights(path: Path) -> Weights:
    """Those of a file, or of a run of `ptapp audio` or a checkpoint of it (see `ptapp_core.weights.read_weights`)."""
    return weights.read_weights(path, Weights, domain="audio", about=About, beside=("front.",))
