"""Any decoder that transformers can load (GPT-2, Llama, Qwen), to classify texts by their last token or to write.

Texts are padded on the right, where no real token looks, so that no answer depends on padding. The number of padding is
one of its own, beyond the vocabulary where the tokenizer has none, and never reaches the embedding.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from tokenizers import AddedToken
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, DynamicCache
from transformers.models.auto import modeling_auto

from ptapp_core.errors import UserError, placed
from ptapp_nlp.chat import ChatForm, form_of
from ptapp_nlp.data.tokens import Tokens
from ptapp_nlp.models.encoder import Encoder
from ptapp_nlp.models.pretrained import (
    add_lora,
    as_plain,
    built,
    configuration,
    known_positions,
    own_tokenizer,
    refuse_tokens_beyond,
    tie_output,
)

_CAUSAL: Mapping[str, Any] = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
_ALIKE = 0.02  # of the spread of the logits: more than rounding (TF32 too), and far less than a token that is dropped


class CausalEncoder(Encoder):
    """A decoder without its output layer: the state of each token knows those before it.

    Args:
        config: what describes it, as `describe` gives.
        source: folder or hub name of the weights to start from; None: random ones.
        pad: the number that is padding.
        lora: rank of what is learned beside the weights, which stay; None: the weights learn.
    """

    def __init__(self, config: Mapping[str, Any], source: str | None, pad: int, *, lora: int | None = None) -> None:
        super().__init__()
        self.model, self.pad = _model(AutoModel, config, source), pad
        self.positions = known_positions(self.model)
        if source is not None:
            _refuse_unfit(self, pad, f"--pretrained {source}: a {self.model.config.model_type}")
        self.dim = _width(self.model)
        if lora is not None:
            add_lora(self.model, lora)

    def forward(self, ids: Tensor) -> Tensor:
        """Token numbers, int64 (N, L), padded on the right, to states, float (N, L, dim)."""
        states: Tensor = self.model(input_ids=_readable(ids, self.pad), use_cache=False).last_hidden_state
        return states


class CausalLanguageModel(nn.Module):
    """A decoder with its output layer: the next token after each.

    Args:
        config, source, pad, lora: as of `CausalEncoder`.
        vocab: how many tokens there are; a number beyond them, which the weights may have, is never written.
    """

    def __init__(
        self, config: Mapping[str, Any], source: str | None, pad: int, *, vocab: int, lora: int | None = None
    ) -> None:
        super().__init__()
        self.model, self.pad, self.vocab = _model(AutoModelForCausalLM, config, source), pad, vocab
        self.positions = known_positions(self.model)
        tie_output(self.model)
        if source is not None:
            _refuse_unfit(self, pad, f"--pretrained {source}: a {self.model.config.model_type}")
        if lora is not None:
            add_lora(self.model, lora, above=self.model.get_output_embeddings())

    def forward(self, ids: Tensor) -> Tensor:
        """Token numbers, int64 (N, L), padded on the right, to logits, float (N, L, vocab)."""
        return self.logits(_readable(ids, self.pad), use_cache=False)

    def logits(self, ids: Tensor, **cache: Any) -> Tensor:
        """Token numbers without padding, int64 (N, L), to logits, float (N, L, vocab), with transformers' `cache`."""
        found: Tensor = self.model(input_ids=ids, **cache).logits
        return found[:, :, : self.vocab]

    @cached_property
    def caches(self) -> bool:
        """Whether kept keys and values stand for the tokens that they are of; some families drop them in silence."""
        device = self.model.get_input_embeddings().weight.device
        first, second, *rest = (torch.full((1, 1), number, device=device) for number in (1, 2, 3, 4) * 2)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            whole = self.logits(torch.cat([first, second, *rest], 1), use_cache=False)[:, -1]
            session = CausalSession(self, len(rest) + 2, cached=True)
            try:
                session.advance(torch.cat([first, second], 1))
                *_, kept = [session.advance(token) for token in rest]
            except Exception:  # whatever it raises, it has another kind of memory
                return False
        return bool((kept - whole).abs().max() < _ALIKE * whole.std())


class CausalSession:
    """A decoder that continues prompts of one length: it keeps the keys and values of the last `window` tokens.

    Beyond that many, every position moves with every token, and nothing can be kept. `cached` is whether anything is
    kept at all; None: where the model can use it.
    """

    def __init__(self, model: CausalLanguageModel, window: int, *, cached: bool | None = None) -> None:
        self.model, self.window, self.past = model, window, torch.empty(0)
        kept = model.caches if cached is None else cached
        self.cache = DynamicCache(config=model.model.config) if kept else None

    def advance(self, tokens: Tensor) -> Tensor:
        """Logits, float (M, V), after these further tokens, int64 (M, S)."""
        self.past = torch.cat([self.past, tokens], 1) if len(self.past) else tokens
        if self.past.shape[1] > self.window:
            self.past, self.cache = self.past[:, -self.window :], None
        if self.cache is None:
            return self.model.logits(self.past, use_cache=False)[:, -1]
        return self.model.logits(tokens, past_key_values=self.cache, use_cache=True)[:, -1]


def describe(source: str) -> dict[str, Any]:
    """The configuration of a decoder, as plain data that the classes above build it from.

    Raises UserError where there is none, or it is not of a decoder.
    """
    found = configuration(source)
    if found.is_encoder_decoder or found.model_type not in _CAUSAL:
        kind = f"an encoder-decoder ({found.model_type})" if found.is_encoder_decoder else f"a {found.model_type}"
        raise UserError(f"--pretrained {source}: {kind}; --model causal needs a decoder, such as gpt2 or llama")
    return as_plain(found)


def most_tokens(config: Mapping[str, Any]) -> int | None:
    """The most tokens that a decoder of such a configuration reads; None where nothing limits them."""
    with torch.device("meta"):
        return known_positions(_model(AutoModel, config, None))


def causal_tokens(source: str, *, writes: bool) -> Tokens:
    """The decoder's own tokenizer, with padding that no text has; where it `writes`, without marks around a text.

    Raises UserError where it has no token for the end of a text, or takes its name within a text for it, or has more
    tokens than the decoder.
    """
    tokenizer, backend = own_tokenizer(source)
    end = tokenizer.eos_token_id
    if end is None:
        raise UserError(
            f"--pretrained {source}: its tokenizer has no token for the end of a text; name its eos_token in "
            "tokenizer_config.json"
        )
    refuse_tokens_beyond(configuration(source).get_text_config().vocab_size, backend, source)
    backend.encode_special_tokens = True  # a text may say the name of a mark
    if end in backend.encode(tokenizer.eos_token, add_special_tokens=False).ids:
        raise UserError(f"--pretrained {source}: its tokenizer takes {tokenizer.eos_token} in a text for its end")
    marks = backend.encode("").ids
    begin = marks[0] if marks and marks[0] == tokenizer.bos_token_id else end
    pad = tokenizer.pad_token
    if pad is None or tokenizer.pad_token_id in (begin, end, *marks, *backend.encode("a").ids):
        pad = "[PAD]"
        while backend.token_to_id(pad) is not None:
            pad = f"[{pad}]"
        backend.add_special_tokens([AddedToken(pad, special=True)])
    if writes:
        backend.post_processor = None
    backend.enable_padding(pad_id=backend.token_to_id(pad), pad_token=pad)
    return Tokens.read(backend.to_str(), marks=(begin, end))


def chat_form(source: str, tokens: Tokens) -> ChatForm:
    """How the chat template of a decoder's own tokenizer turns messages into `tokens`.

    Raises UserError where it has none, or one that cannot be learned from.
    """
    tokenizer, _ = own_tokenizer(source)
    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:
        raise UserError(
            f"--pretrained {source}: its tokenizer has no chat template; give rows with prompt and answer, or put the "
            "chat_template.jinja of its like beside it"
        ) from error
    names = {name: text for name, text in tokenizer.special_tokens_map.items() if isinstance(text, str)}
    with placed(f"--pretrained {source}"):
        return form_of(template, names, tokens)


def _model(form: Any, config: Mapping[str, Any], source: str | None) -> Any:
    """The model of a configuration in fp32; raises UserError where the weights lack a part of it."""
    # No number of its own is padding: all rows of the embedding learn.
    model = built(form, {**config, "pad_token_id": None}, source)
    model.config.pad_token_id = None
    return model


def _readable(ids: Tensor, pad: int) -> Tensor:
    """Token numbers, int64 (N, L), with any known number as padding, which no real token sees."""
    return ids.masked_fill(ids == pad, 0)


@torch.no_grad()
def _width(model: Any) -> int:
    """The width of a decoder's states, which need not be the one within its layers (OPT-350m)."""
    ids = torch.zeros(1, 1, dtype=torch.int64)
    return int(model.eval()(input_ids=ids, use_cache=False).last_hidden_state.shape[-1])


@torch.no_grad()
def _refuse_unfit(model: nn.Module, pad: int, what: str) -> None:
    """Raises UserError where a token sees those behind it, or none before it."""
    first, second, third, other = [number for number in range(5) if number != pad][:4]
    model.eval()
    try:
        texts = torch.tensor([[first, second, third], [first, second, other], [other, second, third]])
        states, last, begun = model(texts)
    except Exception as error:  # whatever it raises, it is no decoder of token numbers
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise UserError(f"{what} does not read token numbers alone ({reason}); give a decoder such as gpt2") from error
    if not torch.allclose(states[:2], last[:2], rtol=1e-4, atol=1e-4):
        raise UserError(f"{what} whose first token sees the last; give --model bert, or a decoder such as gpt2")
    if torch.equal(states[2], begun[2]):
        raise UserError(f"{what} whose last token does not see the first; give a decoder such as gpt2")
