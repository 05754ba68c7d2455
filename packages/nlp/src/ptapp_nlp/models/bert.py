"""Any encoder that transformers can load, as one of ours: fine-tuned whole, from a local folder or the hub."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from tokenizers import normalizers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers.models.auto import modeling_auto

from ptapp_core.errors import UserError
from ptapp_nlp.data.tokens import Tokens
from ptapp_nlp.models.encoder import Encoder
from ptapp_nlp.models.pretrained import add_lora, as_plain, configuration, known_positions, loaded, own_tokenizer


class PretrainedEncoder(Encoder):
    """An encoder of transformers without its pooling layer.

    Args:
        config: what describes it, as `describe` gives.
        source: folder or hub name of the weights to start from; None: random ones.
        pad: the number that is padding.
        lora: rank of what is learned beside the weights, which stay; None: the weights learn.
        segment_mark: the number whose first occurrence ends the first segment; None: all tokens are of one segment.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        source: str | None,
        pad: int,
        *,
        lora: int | None = None,
        segment_mark: int | None = None,
    ) -> None:
        super().__init__()
        self.segment_mark = segment_mark
        shape = AutoConfig.for_model(**config)
        self.dim, self.pad = int(shape.hidden_size), pad
        if source is None:
            self.model = AutoModel.from_config(shape)  # type: ignore[no-untyped-call]
        else:
            self.model = loaded(AutoModel, source, "its weights", use_safetensors=True)
        self.model.float()
        self.positions = known_positions(self.model)
        if source is not None:
            self._refuse_unfit(f"--pretrained {source}: a {shape.model_type}")
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = nn.Identity()  # it would learn nothing: the heads here pool themselves
        if lora is not None:
            add_lora(self.model, lora)

    def forward(self, ids: Tensor) -> Tensor:
        """(N, L) int64 -> (N, L, dim)."""
        keep = (ids != self.pad).long()
        segments = {} if self.segment_mark is None else {"token_type_ids": segments_of(ids, self.segment_mark) * keep}
        states: Tensor = self.model(input_ids=ids, attention_mask=keep, **segments).last_hidden_state
        return states

    @torch.no_grad()
    def _refuse_unfit(self, what: str) -> None:
        """Raises UserError where the states of a text cannot stand for it, which a configuration need not say.

        The first token must see the last one, and padding must not change a state, or an answer would depend on the
        other texts of its batch.
        """
        size = int(self.model.config.vocab_size)
        first, second, third, other = [number for number in range(size - 1, -1, -1) if number != self.pad][:4]
        self.model.eval()
        try:
            states, moved, padded = (
                self(torch.tensor([[first, second, *rest]]))
                for rest in ([third], [other], [third, self.pad, self.pad, self.pad])
            )
        except Exception as error:  # whatever it raises, it is no encoder of token numbers
            raise UserError(f"{what} does not read token numbers alone; give an encoder such as bert") from error
        if states.shape != (1, 3, self.dim):
            raise UserError(f"{what} does not give a state for each token; give an encoder such as bert")
        if torch.equal(states[0, 0], moved[0, 0]):
            raise UserError(f"{what} whose first token does not see the last; give an encoder such as bert")
        if (states - padded[:, :3]).abs().max() > 1e-3 * states.abs().max():
            raise UserError(f"{what} whose answers change with the padding of a batch; give an encoder such as bert")


def segments_of(ids: Tensor, mark: int) -> Tensor:
    """The segment of each token, int64 (N, L): 0 as far as the first `mark` of a text, 1 behind it."""
    marks = (ids == mark).long()
    return (marks.cumsum(1) - marks).clamp(max=1)


def refuse_decoder(config: Any, source: str) -> None:
    """Raises UserError for a configuration that is not of an encoder, before its weights are loaded."""
    kind, names = config.model_type, set(config.architectures or ())
    both_ways = {*_MASKED, *_CHOICE}
    causal = kind in _CAUSAL and kind not in both_ways and not getattr(config, "use_bidirectional_attention", False)
    learned_causally = kind in _MASKED and names & (set(_CAUSAL.values()) - set(_MASKED.values()))
    if config.is_encoder_decoder:
        raise UserError(f"--pretrained {source}: an encoder-decoder ({kind}); give an encoder, such as bert or roberta")
    if causal or learned_causally or getattr(config, "is_decoder", False):
        raise UserError(
            f"--pretrained {source}: a decoder ({kind}), whose tokens see only those before them; take --model causal, "
            "or give an encoder, such as bert or roberta"
        )


# What transformers has a masked language model, a model of choices, or a causal language model for, by model type. An
# encoder has one of the first two: without them (gpt2, llama) a causal model is all that the weights can be.
_MASKED: Mapping[str, Any] = modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
_CHOICE: Mapping[str, Any] = modeling_auto.MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES
_CAUSAL: Mapping[str, Any] = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def most_tokens(config: Mapping[str, Any], pad: int) -> int | None:
    """The most tokens that an encoder of such a configuration reads; None where nothing limits them."""
    with torch.device("meta"):
        return PretrainedEncoder(config, None, pad).positions


def describe(source: str) -> dict[str, Any]:
    """The configuration of an encoder, as plain data that `PretrainedEncoder` builds it from.

    Raises UserError where there is none, or it is not of an encoder.
    """
    found = configuration(source)
    refuse_decoder(found, source)
    return as_plain(found)


def pretrained_tokens(source: str, *, words: bool = False) -> Tokens:
    """The encoder's own tokenizer; with `words`, one that is given single words and not whole texts.

    Raises UserError where it knows no token of texts, has no padding token, or pads with one that texts have.
    """
    tokenizer, backend = own_tokenizer(source)
    if tokenizer.pad_token is None:
        raise UserError(f"--pretrained {source}: its tokenizer has no padding token; name one in tokenizer_config.json")
    if tokenizer.pad_token_id in backend.encode("a").ids:
        raise UserError(
            f"--pretrained {source}: its tokenizer pads with {tokenizer.pad_token!r}, which each text has too; name "
            "another pad_token in tokenizer_config.json"
        )
    if words and "ByteLevel" in json.dumps(json.loads(backend.to_str())["pre_tokenizer"]):
        # It learned a word with the space before it. `add_prefix_space` is not heeded by each tokenizer class.
        before = [] if backend.normalizer is None else [backend.normalizer]
        backend.normalizer = normalizers.Sequence([*before, normalizers.Prepend(" ")])
    backend.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    return Tokens.read(backend.to_str())
