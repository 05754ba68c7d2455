"""Any encoder that transformers can load, as one of ours: fine-tuned whole, from a local folder or the hub."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import normalizers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer

from ptapp_core.errors import UserError
from ptapp_core.hub import quiet_transformers, reachable
from ptapp_nlp.models.encoder import Encoder
from ptapp_nlp.tokens import Tokens


class PretrainedEncoder(Encoder):
    """An encoder of transformers without its pooling layer.

    Args:
        config: what describes it, as `describe` gives.
        source: folder or hub name of the weights to start from; None: random ones.
        pad: the number that is padding.
        lora: rank of what is learnt beside the weights, which stay; None: the weights learn.
    """

    def __init__(self, config: Mapping[str, Any], source: str | None, pad: int, lora: int | None = None) -> None:
        super().__init__()
        shape = AutoConfig.for_model(**config)
        self.dim, self.pad = int(shape.hidden_size), pad
        if source is None:
            self.model = AutoModel.from_config(shape, attn_implementation="sdpa")  # type: ignore[no-untyped-call]
        else:
            self.model = _loaded(AutoModel, source, "its weights", use_safetensors=True, attn_implementation="sdpa")
        self.model.float()
        self.positions = _positions(self.model)
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None  # it would learn nothing: the heads here pool themselves
        if lora is not None:
            add_lora(self.model, lora)

    def forward(self, ids: Tensor) -> Tensor:
        """(N, L) int64 -> (N, L, dim)."""
        states: Tensor = self.model(input_ids=ids, attention_mask=(ids != self.pad).long()).last_hidden_state
        return states


def _positions(model: nn.Module) -> int | None:
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa and its like count from the number after that of padding.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


def add_lora(model: nn.Module, rank: int) -> None:
    """A product of two matrices of a rank beside each linear layer, in place, which alone learn (Hu et al. 2021, "LoRA:
    Low-rank adaptation of large language models"); at first they add nothing."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError("--lora needs peft: pip install 'ptapp-nlp[lora]'") from error
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=linear), model)


def merge_lora(model: nn.Module) -> None:
    """Adds each product to its weights, in place, and leaves the plain layers."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            model.set_submodule(name, module.get_base_layer())


def describe(source: str) -> dict[str, Any]:
    """The configuration of an encoder, as plain data that `PretrainedEncoder` builds it from."""
    config: dict[str, Any] = json.loads(_loaded(AutoConfig, source, "its configuration").to_json_string(use_diff=False))
    return {key: value for key, value in config.items() if key not in ("_name_or_path", "transformers_version")}


def pretrained_tokens(source: str, *, words: bool = False) -> Tokens:
    """The encoder's own tokenizer; with `words`, one that is given single words and not whole texts."""
    tokenizer = _loaded(AutoTokenizer, source, "its tokenizer")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError(f"--pretrained {source}: has no tokenizer.json, which is needed")
    if words and "ByteLevel" in json.dumps(json.loads(backend.to_str())["pre_tokenizer"]):
        # It learnt a word with the space before it. `add_prefix_space` is not heeded by each tokenizer class.
        before = [] if backend.normalizer is None else [backend.normalizer]
        backend.normalizer = normalizers.Sequence([*before, normalizers.Prepend(" ")])
    return Tokens.read(backend.to_str())


def _loaded(kind: Any, source: str, what: str, **options: Any) -> Any:
    """From a folder, or the hub; where that does not answer, from what was fetched before, without its many retries."""
    local = Path(source).expanduser().is_dir() or not reachable()
    try:
        with quiet_transformers():
            return kind.from_pretrained(source, local_files_only=local, **options)
    except Exception as error:  # of many kinds; each means that it cannot be had
        reason = " ".join(str(error).split())[:100]
        raise UserError(
            f"--pretrained {source}: {what} cannot be loaded ({reason}); without a network give a local folder with "
            "config.json, model.safetensors and tokenizer.json"
        ) from error
