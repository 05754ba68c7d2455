"""wav2vec 2.0 and its kin (HuBERT, WavLM) from transformers: a network that takes the waveform itself."""

from typing import Any

from torch import Tensor, nn

from ptapp_audio.models.network import Network
from ptapp_core.errors import UserError, install, one_line
from ptapp_core.machine.hub import is_local, quiet_transformers

RATE = 16_000
"""Samples a second that these networks were trained on."""


class Wav2Vec2(Network):
    """Input (N, samples) at 16 kHz of mean zero and deviation one, output (N, classes) logits.

    A convolutional encoder of a vector each 20 ms and a transformer (Baevski et al. 2020, "wav2vec 2.0"); the mean over
    time and a linear head.

    Args:
        classes: K.
        pretrained: name or folder of the weights; or else
        config: the network's form without weights, as `describe` gives it.
        dropout: share of the features that are dropped before the head.
    """

    head_prefix = "head."
    hears = True

    def __init__(
        self,
        *,
        classes: int,
        pretrained: str | None = None,
        config: dict[str, Any] | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.backbone = _load(pretrained) if pretrained is not None else _blank(config or {})
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.backbone.config.hidden_size, classes)

    def describe(self) -> dict[str, Any]:
        """The network's form, without its weights."""
        description: dict[str, Any] = self.backbone.config.to_dict()
        return description

    def forward(self, x: Tensor) -> Tensor:
        """Waveforms (N, samples) of mean 0 and deviation 1 to logits (N, classes), both float."""
        y = self.backbone(x).last_hidden_state.mean(1)
        logits: Tensor = self.head(self.dropout(y))
        return logits

    def blocks(self) -> list[nn.Module]:
        """The layers of the transformer."""
        return list(self.backbone.encoder.layers)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise UserError(f"--model wav2vec2 needs transformers: {install('ptapp-audio', 'wav2vec2')}") from error
    return transformers


def _load(name: str) -> Any:
    transformers = _transformers()
    local = is_local(name)
    try:
        with quiet_transformers():
            config = transformers.AutoConfig.from_pretrained(name, local_files_only=local)
            backbone = transformers.AutoModel.from_pretrained(
                name, config=_plain(config), use_safetensors=True, local_files_only=local
            )
    except (OSError, ValueError) as error:
        reason = one_line(error)
        if "couldn't connect" in reason.lower() or "cached" in reason.lower():
            reason = "no network, and no such folder or cached weights"
        raise UserError(f"--pretrained {name}: cannot be loaded ({reason[:200]})") from error
    if not hasattr(backbone, "feature_extractor"):
        raise UserError(f"--pretrained {name}: a {config.model_type}, which does not take a waveform")
    return backbone


def _blank(description: dict[str, Any]) -> Any:
    transformers = _transformers()
    config = transformers.AutoConfig.for_model(**description)
    return transformers.AutoModel.from_config(_plain(config))


def _plain(config: Any) -> Any:
    """What is left out here draws from the global generators of NumPy, which no checkpoint holds."""
    config.apply_spec_augment = False
    config.layerdrop = 0.0
    return config
