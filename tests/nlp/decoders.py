"""Folders of tiny decoders of random weights, as transformers saves them with their tokenizers."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

TEXTS = ["the cat sleeps and the dog sleeps", "word1 word2 word3 word4", "a bird is no dog", "zwölf Boxkämpfer"]
POSITIONS = 48
_SIZES = {
    **dict.fromkeys(("hidden_size", "n_embd"), 16),
    **dict.fromkeys(("num_hidden_layers", "num_attention_heads", "n_layer", "n_head"), 2),
    **{"num_key_value_heads": 1, "intermediate_size": 24, "head_dim": 8, "max_position_embeddings": POSITIONS},
    **{"pad_token_id": None, "bos_token_id": 0, "eos_token_id": 0},
}


def tokens_of_bytes() -> PreTrainedTokenizerFast:
    """As GPT-2's: no mark around a text, no padding, and one token that is the end of all."""
    own = Tokenizer(models.BPE())
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    names = ["<|endoftext|>"]
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=names, initial_alphabet=alphabet, show_progress=False)
    own.train_from_iterator(TEXTS * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=own, eos_token=names[0], bos_token=names[0], unk_token=names[0])


def tokens_of_blanks() -> PreTrainedTokenizerFast:
    """As Llama's: a mark before a text, another after it, and a blank before its first word that is no character."""
    names = ["<unk>", "<s>", "</s>"]
    own = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    own.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    own.decoder = decoders.Sequence(steps)
    alphabet = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=[*names, *alphabet], show_progress=False)
    own.train_from_iterator(TEXTS * 3, trainer)
    marks = [("<s>", 1)]
    own.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=marks)
    content = json.loads(own.to_str())
    content["added_tokens"] = content["added_tokens"][: len(names)]  # bytes are text
    own = Tokenizer.from_str(json.dumps(content))
    return PreTrainedTokenizerFast(tokenizer_object=own, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def save(kind: str, folder: Path, **changes: object) -> Path:
    """A folder of a decoder of a family, with its tokenizer."""
    tokens = tokens_of_blanks() if kind in ("llama", "mistral") else tokens_of_bytes()
    own = AutoConfig.for_model(kind)
    sizes = {name: size for name, size in _SIZES.items() if hasattr(own, name)}
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**sizes, "vocab_size": len(tokens), **changes})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder
