"""`--freeze` over the audio models, with their features in front."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from frozen import check_frozen, some_parts
from ptapp_audio.card import Front
from ptapp_audio.models import build
from ptapp_audio.models.whole import LogMelFront, UnitFront, Waveform
from ptapp_audio.train import SoundTask
from ptapp_core.nn.losses import build_loss

pytestmark = pytest.mark.slow

WINDOW = 4000
FRONT = Front.of(8000, 0.032, 0.016, mels=20, low=50.0)
SHAPE = (FRONT.mels, 1 + WINDOW // FRONT.hop)
WAV2VEC2: dict[str, Any] = {
    **{"model_type": "wav2vec2", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 32, "conv_dim": [8, 8, 8], "conv_stride": [5, 4, 4], "conv_kernel": [10, 8, 4]},
    **{"num_feat_extract_layers": 3, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2},
    **{"layerdrop": 0.5, "mask_time_length": 2},
}
SMALL: dict[str, dict[str, Any]] = {
    "cnn": {"width": 8},
    "crnn": {"width": 8},
    "transformer": {"dim": 48},
    "wav2vec2": {"config": WAV2VEC2},
}


def sounds() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(-20_000, 20_000, (4, WINDOW), dtype=torch.int16, generator=generator)


@pytest.mark.parametrize("name", SMALL)
@settings(derandomize=True, deadline=None, max_examples=5)
@given(chosen=st.data())
def test_a_frozen_part_is_the_same_function_after_training(name: str, chosen: st.DataObject) -> None:
    if name == "wav2vec2":
        pytest.importorskip("transformers")
    torch.manual_seed(0)
    network = build(name, classes=3, shape=SHAPE, dropout=0.5, **SMALL[name])
    model = Waveform(UnitFront() if network.hears else LogMelFront(FRONT), network, WINDOW)
    frozen = some_parts(chosen, model)
    learns = SoundTask(model, build_loss("cross-entropy"))
    check_frozen(learns, model, frozen, {"input": sounds(), "target": torch.tensor([0, 1, 2, 0])})
