"""Folders of tiny encoder-decoders of random weights, as transformers saves them with their tokenizers."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

SOURCES = ["the cat sleeps and the dog sleeps", "a bird", "two birds and a dog sing", "zwölf Boxkämpfer"]
TARGETS = ["le chat dort et le chien dort", "un oiseau", "deux oiseaux et un chien chantent", "douze"]
POSITIONS = 48
_SIZES = {
    **{"d_model": 16, "d_ff": 24, "d_kv": 8, "num_layers": 2, "num_heads": 2},
    **dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2),
    **{"encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": POSITIONS},
}


def tokens_of(kind: str) -> PreTrainedTokenizerFast:
    """BART has bytes and a mark on both sides of a text; the others have pieces and an end mark alone."""
    trainer: Any
    if kind == "bart":
        own = Tokenizer(models.BPE())
        own.pre_tokenizer, own.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        names = ["<s>", "<pad>", "</s>", "<unk>"]
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=300, special_tokens=names, initial_alphabet=alphabet, show_progress=False
        )
    else:
        own = Tokenizer(models.Unigram())
        own.pre_tokenizer, own.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        # The padding of Marian is its last number.
        names = ["<pad>", "</s>", "<unk>"] if kind == "t5" else ["</s>", "<unk>"]
        trainer = trainers.UnigramTrainer(vocab_size=60, special_tokens=names, unk_token="<unk>", show_progress=False)
    own.train_from_iterator([*SOURCES, *TARGETS] * 3, trainer)
    own.add_special_tokens(["<pad>"])
    marks = [(name, own.token_to_id(name)) for name in ("<s>", "</s>") if own.token_to_id(name) is not None]
    single = "<s> $A </s>" if kind == "bart" else "$A </s>"
    own.post_processor = processors.TemplateProcessing(single=single, special_tokens=marks)
    begin = {"bos_token": "<s>"} if kind == "bart" else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=own, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", **begin
    )


def save(kind: str, folder: Path, **changes: object) -> Path:
    """A folder of an encoder-decoder of a family, with its tokenizer; its weights are large enough to say something."""
    tokens = tokens_of(kind)
    own, size = AutoConfig.for_model(kind), len(tokens)
    sizes = {name: each for name, each in _SIZES.items() if hasattr(own, name)}
    numbers = {"pad_token_id": tokens.pad_token_id, "eos_token_id": tokens.eos_token_id, "forced_eos_token_id": None}
    numbers |= {"decoder_start_token_id": tokens.eos_token_id if kind == "bart" else tokens.pad_token_id}
    numbers |= {"bos_token_id": tokens.bos_token_id, "decoder_vocab_size": size}
    numbers = {name: number for name, number in numbers.items() if hasattr(own, name) or name.startswith("decoder_s")}
    config = AutoConfig.for_model(kind, **{**sizes, **numbers, "vocab_size": size, **changes})
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and parameter.ndim > 1:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder
