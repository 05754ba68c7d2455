"""What all models of transformers have here: how they and their tokenizers are read, their positions, and LoRA."""

import json
from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoTokenizer
from transformers.pytorch_utils import Conv1D

from ptapp_core.errors import UserError, install
from ptapp_core.machine.hub import is_local, quiet_transformers

_TABLES = ("position_embeddings", "embed_positions", "positions_embed", "pos_encoding", "wpe")
"""What families call their tables of positions, which are modules, or buffers (GPT-J, CTRL)."""


def loaded(kind: Any, source: str, what: str, **options: Any) -> Any:
    """Loads from a folder or the hub; where that does not answer, what was fetched before, without its many retries."""
    local = is_local(source)
    try:
        with quiet_transformers():
            return kind.from_pretrained(source, local_files_only=local, **options)
    except Exception as error:  # whatever it raises, it cannot be had
        reason = " ".join(str(error).split())[:100]
        raise UserError(
            f"--pretrained {source}: {what} cannot be loaded ({reason}); without a network give a local folder with "
            "config.json, model.safetensors and tokenizer.json"
        ) from error


def built(form: Any, config: Mapping[str, Any], source: str | None) -> Any:
    """The model of a class of transformers, float32: with random weights, or with those of a folder or the hub.

    Raises UserError where the weights lack a part of it.
    """
    if source is None:
        return form.from_config(AutoConfig.for_model(**config)).float()
    return _loaded_whole(form, source).float()


def _loaded_whole(form: Any, source: str) -> Any:
    """The model of a folder or the hub; raises UserError where the weights lack a part of it."""
    model, found = loaded(form, source, "its weights", use_safetensors=True, output_loading_info=True)
    if lacking := sorted(found["missing_keys"]):
        raise UserError(f"--pretrained {source}: its weights lack {lacking[0]}; give a folder with all of them")
    return model


def configuration(source: str) -> Any:
    """The configuration of the model in a folder or on the hub; raises UserError where there is none."""
    return loaded(AutoConfig, source, "its configuration")


def as_plain(config: Any) -> dict[str, Any]:
    """A configuration as plain data, from which `AutoConfig.for_model` makes it again."""
    plain: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return {key: value for key, value in plain.items() if key not in ("_name_or_path", "transformers_version")}


def own_tokenizer(source: str) -> tuple[Any, Tokenizer]:
    """The tokenizer of a model, as transformers has it, and the fast one within it, which neither pads nor cuts.

    Raises UserError where it is not a fast one, or knows no token of texts.
    """
    tokenizer = loaded(AutoTokenizer, source, "its tokenizer")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError(f"--pretrained {source}: has no tokenizer.json, which is needed")
    if set(backend.get_vocab()) <= set(tokenizer.all_special_tokens):  # which transformers makes up where it finds none
        raise UserError(
            f"--pretrained {source}: has no tokenizer; put the model's own tokenizer.json beside its weights"
        )
    backend.no_padding()  # the file of a sentence encoder may fill each text up
    backend.no_truncation()
    return tokenizer, backend


def refuse_tokens_beyond(size: int, backend: Tokenizer, source: str) -> None:
    """Raises UserError where a tokenizer has more tokens than the weights."""
    if (most := max(backend.get_vocab().values())) >= size:
        raise UserError(
            f"--pretrained {source}: its tokenizer has a token {most}, and the weights end at {size - 1}; "
            "give the tokenizer that they learned with"
        )


def known_positions(model: nn.Module) -> int | None:
    """The most tokens that a model has positions for; None where it knows only how far apart two tokens are."""
    config: Any = model.config
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    named = [
        (name.rpartition(".")[2], part)
        for parts in (model.named_modules, model.named_buffers)
        for name, part in parts()
    ]
    tables = [table for name, table in named if name in _TABLES]
    if not tables and not any("rotary" in name for name, _ in named):
        return None
    # RoBERTa and its like count from the number after that of padding.
    offsets = [padding + 1 for table in tables if (padding := getattr(table, "padding_idx", None)) is not None]
    sizes = [table.num_embeddings for table in tables if isinstance(table, nn.Embedding)]
    sizes += [len(table) for table in tables if isinstance(table, Tensor)]
    return min(size for size in (most, *sizes) if size is not None) - max(offsets, default=0)


class _Tied(nn.Module):
    """An output layer that has the weights of the embedding (Press and Wolf 2017), and no copy of them."""

    embedding: nn.Embedding

    def __init__(self, embedding: nn.Embedding, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.bias = bias
        self.__dict__["embedding"] = embedding  # no part of this module: its weights have their name already

    @property
    def weight(self) -> Tensor:
        """That of the embedding, whose dtype Mamba asks for."""
        return self.embedding.weight

    def forward(self, states: Tensor) -> Tensor:
        return functional.linear(states, self.weight, self.bias)


def tie_output(model: Any) -> None:
    """Gives an output layer that has the weights of the embedding no name of its own for them, in place."""
    output, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if output.weight is embedding.weight:
        model.set_output_embeddings(_Tied(embedding, output.bias))


def store_once(model: nn.Module) -> None:
    """Leaves a weight that has several names one of them in the model's state, in which it is then once."""
    first: dict[int, str] = {}
    again: dict[str, str] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        known = first.setdefault(id(weight), name)
        if known != name:
            again[name] = known

    def leave_out(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
        for name in again:
            state.pop(f"{prefix}{name}", None)

    def put_in(module: nn.Module, state: dict[str, Any], prefix: str, *others: Any) -> None:
        for name, known in again.items():
            if f"{prefix}{known}" in state:
                state[f"{prefix}{name}"] = state[f"{prefix}{known}"]

    model.register_state_dict_post_hook(leave_out)
    model.register_load_state_dict_pre_hook(put_in)


def add_lora(model: nn.Module, rank: int, *, above: nn.Module | None = None) -> None:
    """A product of two matrices of a rank beside each linear layer but `above`, in place, which alone learn (Hu et al.
    2021, "LoRA: Low-rank adaptation of large language models"); at first they add nothing."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError(f"--lora needs peft: {install('ptapp-nlp', 'lora')}") from error
    within = {name: module for name, module in model.named_modules() if module is not above}
    linear = [name for name, module in within.items() if isinstance(module, nn.Linear | Conv1D)]
    transposed = any(isinstance(module, Conv1D) for module in within.values())  # the linear layers of GPT-2
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=linear, fan_in_fan_out=transposed)
    inject_adapter_in_model(config, model)


def merge_lora(model: nn.Module) -> None:
    """Adds each product to its weights, in place, and leaves the plain layers."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            model.set_submodule(name, module.get_base_layer())
