"""Any encoder-decoder that transformers can load (T5, BART, Marian), to write one text from another."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM, DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.auto import modeling_auto

from ptapp_core.errors import UserError
from ptapp_nlp.data.tokens import Tokens
from ptapp_nlp.models.pretrained import (
    add_lora,
    as_plain,
    built,
    configuration,
    known_positions,
    own_tokenizer,
    refuse_tokens_beyond,
    store_once,
)

_BOTH: Mapping[str, Any] = modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
_GIVE = "give an encoder-decoder such as t5, bart or marian"


class Memory(EncoderDecoderCache):
    """The keys and values of the source and of the tokens so far, in all layers."""

    def __init__(self) -> None:
        super().__init__(DynamicCache(), DynamicCache())

    def select(self, rows: Tensor) -> None:
        """Continues with these rows, int64 (M,), which may repeat."""
        self.reorder_cache(rows)  # type: ignore[arg-type]


class Seq2Seq(nn.Module):
    """An encoder-decoder with its output layer: each next token of one text, given another.

    Args:
        config: what describes it, as `describe` gives.
        source: folder or hub name of the weights to start from; None: random ones.
        pad: the number that is padding.
        lora: rank of what is learned beside the weights, which stay; None: the weights learn.
    """

    def __init__(self, config: Mapping[str, Any], source: str | None, pad: int, *, lora: int | None = None) -> None:
        super().__init__()
        self.model = built(AutoModelForSeq2SeqLM, config, source)
        store_once(self)
        self.pad, self.positions = pad, known_positions(self.model)
        if source is not None:
            self._refuse_unfit(f"--pretrained {source}: a {self.model.config.model_type}")
        if lora is not None:
            add_lora(self.model, lora, above=self.model.get_output_embeddings())

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Source (N, S) and target (N, T), int64, padded on the right, to logits, float (N, T, V), after each token of
        the target; V may be more than the vocabulary."""
        keep = (source != self.pad).long()
        logits: Tensor = self.model(
            input_ids=source, attention_mask=keep, decoder_input_ids=target, use_cache=False
        ).logits
        return logits

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Source, int64 (N, S), to states, float (N, S, dim), and which of them are real, int64 (N, S)."""
        keep = (source != self.pad).long()
        return self.model.get_encoder()(input_ids=source, attention_mask=keep).last_hidden_state, keep

    def decode(
        self, target: Tensor, memory: Tensor, memory_keep: Tensor, *, cache: list[Memory] | None = None
    ) -> Tensor:
        """Target, int64 (N, T), to logits, float (N, T, V), after each of its tokens.

        With a cache the target continues what the cache has seen.

        Args:
            memory, memory_keep: what `encode` gives.
        """
        logits: Tensor = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=memory),
            attention_mask=memory_keep,
            decoder_input_ids=target,
            past_key_values=cache[0] if cache else None,
            use_cache=cache is not None,
        ).logits
        return logits

    def new_cache(self) -> list[Memory]:
        """A cache for `decode` that has seen nothing."""
        return [Memory()]

    @torch.no_grad()
    def _refuse_unfit(self, what: str) -> None:
        """Raises UserError where padding changes an answer, a token sees those behind it, or what is kept of earlier
        tokens does not stand for them."""
        first, second, third = [number for number in range(4) if number != self.pad][:3]
        self.model.eval()
        source, target = torch.tensor([[first, second, third]]), torch.tensor([[third, second, first]])
        try:
            whole = self(source, target)
            padded = self(torch.tensor([[first, second, third, self.pad, self.pad]]), target)
            begun = self(source, target[:, :2])
            memory, keep = self.encode(source)
            cache = self.new_cache()
            kept = [self.decode(token, memory, keep, cache=cache) for token in target.split(1, 1)]
        except Exception as error:  # whatever it raises, it is no encoder-decoder of token numbers
            reason = " ".join(str(error).split())[:100] or type(error).__name__
            raise UserError(f"{what} does not read token numbers alone ({reason}); {_GIVE}") from error
        if not torch.allclose(whole, padded, rtol=1e-3, atol=1e-3):
            raise UserError(f"{what} whose answers change with the padding of a batch; {_GIVE}")
        if not torch.allclose(whole[:, :2], begun, rtol=1e-3, atol=1e-3):
            raise UserError(f"{what} whose first token sees the last; {_GIVE}")
        if not torch.allclose(whole, torch.cat(kept, 1), rtol=1e-3, atol=1e-3):
            raise UserError(f"{what} that cannot go on from earlier tokens here; {_GIVE}")


def describe(source: str) -> dict[str, Any]:
    """The configuration of an encoder-decoder, as plain data that `Seq2Seq` builds it from.

    Raises UserError where there is none, or it is of another model.
    """
    found = configuration(source)
    if not found.is_encoder_decoder or found.model_type not in _BOTH:
        raise UserError(
            f"--pretrained {source}: a {found.model_type}; --model seq2seq needs an encoder-decoder, such as "
            "t5, bart or marian"
        )
    return as_plain(found)


def most_tokens(config: Mapping[str, Any], pad: int) -> int | None:
    """The most tokens that an encoder-decoder of such a configuration reads and writes; None where nothing limits
    them."""
    with torch.device("meta"):
        return Seq2Seq(config, None, pad).positions


def seq2seq_tokens(source: str) -> Tokens:
    """The encoder-decoder's own tokenizer, with the numbers that its decoder begins and ends with.

    Raises UserError where its numbers are not those of the configuration, or it needs to be told of languages.
    """
    tokenizer, backend = own_tokenizer(source)
    config = configuration(source)
    if hasattr(tokenizer, "tgt_lang"):
        raise UserError(f"--pretrained {source}: its tokenizer marks languages, which are not known here; {_GIVE}")
    for name in ("pad_token_id", "eos_token_id"):
        own, known = getattr(tokenizer, name), getattr(config, name)
        if own is None or own != known:
            raise UserError(
                f"--pretrained {source}: {name} is {own} in its tokenizer and {known} in config.json; give the "
                "tokenizer that the weights learned with"
            )
    begin = config.decoder_start_token_id
    if begin is None:
        raise UserError(
            f"--pretrained {source}: config.json has no decoder_start_token_id; name the token that the "
            "decoder begins with"
        )
    refuse_tokens_beyond(config.vocab_size, backend, source)
    backend.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    return Tokens.read(backend.to_str(), marks=(begin, tokenizer.eos_token_id))
