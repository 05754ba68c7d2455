"""The tasks and models of text, and what each changes of the defaults of `ptapp nlp train`."""

from typing import Any, Literal

Long = Literal["truncate", "head-tail", "windows"]
"""What is read of a long text: its first tokens, its first and its last ones, or windows that cover all of it."""
SUPERVISED = ("classify", "multilabel", "regress", "multitask")
"""The kinds of target that each text has one of."""
TOKENS = ("tag", "translate", "generate")
"""The tasks with a target for each token."""
SPELLED = "lstm-crf"
"""The model that reads whole words with their letters."""
CAUSAL = "causal"
"""A pretrained decoder."""
SEQ2SEQ = "seq2seq"
"""A pretrained encoder-decoder."""
WRITERS = (CAUSAL, SEQ2SEQ)
"""The pretrained models whose tokens have marks around a text that is written."""
PRETRAINED = ("bert", *WRITERS)
"""The models that begin with the weights of `--pretrained`."""
MODELS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((*SUPERVISED, "embed"), ("lstm", "gru", "transformer", "bert", CAUSAL)),
    "tag": (SPELLED, "lstm", "gru", "transformer", "bert"),
    "translate": ("transformer", SEQ2SEQ),
    "generate": ("transformer", "lstm", "gru", CAUSAL),
}
_PLAIN: dict[str, Any] = {"average": "none", "average_decay": 0.999, "least": 2, "hidden": None, "pool": "max"}
_TRANSFORMER = {**_PLAIN, "lr": 5e-4, "dim": 128, "layers": 2, "dropout": 0.3, "warmup": 0.1, "batch_size": 64}
_CLASSIFY = {**_TRANSFORMER, "word_dropout": 0.2, "pool": "mean", "average": "ema", "average_decay": 0.99}
_EMBED = {"dropout": 0.1, "word_dropout": 0.0}  # with more noise the vectors of all texts become one
_RECURRENT = {**_PLAIN, "lr": 2e-3}
_SPELLED: dict[str, Any] = {  # widths and dropout as Lample et al. 2016; letters and case are kept beside small words
    **{"lr": 2e-3, "epochs": 20.0, "batch_size": 16, "clip": 5.0, "dim": 100, "hidden": 100, "dropout": 0.5},
    **{"word_dropout": 0.5, "average": "none", "average_decay": 0.999},
}
_BERT = {
    **{**_PLAIN, "lr": 2e-5, "epochs": 3.0, "warmup": 0.1, "schedule": "polynomial", "pool": "first"},
    **{"dropout": 0.1, "word_dropout": 0.0, "max_length": None},
}
LORA_LR = 4e-4
"""The learning rate of LoRA (Hu et al. 2021, table 9)."""
_GENERATE: dict[str, Any] = {
    **{"tokenizer": "bpe", "lower": False, "vocab": 4000, "max_length": 128, "word_dropout": 0.0, "batch_size": 32}
}
_WRITE: dict[str, Any] = {**_GENERATE, "lr": 2e-3, "dropout": 0.2, "bidirectional": False}
_TRANSLATE: dict[str, Any] = {
    **{"tokenizer": "bpe", "lower": False, "vocab": 8000, "max_length": 128, "word_dropout": 0.0},
    **{"dim": 256, "layers": 3, "dropout": 0.25, "label_smoothing": 0.1, "lr": 7e-4, "warmup": 0.06, "epochs": 10.0},
    **{"average": "ema", "average_decay": 0.998},
}
RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    **{(task, model): {} for task in SUPERVISED for model in ("lstm", "gru")},
    **{(task, "transformer"): _CLASSIFY for task in SUPERVISED},
    **{(task, "bert"): _BERT for task in SUPERVISED},
    **{(task, CAUSAL): {**_BERT, "pool": "last"} for task in SUPERVISED},
    **{("embed", model): _EMBED for model in ("lstm", "gru")},
    ("embed", "transformer"): {**_CLASSIFY, **_EMBED},
    ("embed", "bert"): _BERT,
    ("embed", CAUSAL): {**_BERT, "pool": "last"},
    ("tag", SPELLED): _SPELLED,
    ("tag", "lstm"): {**_RECURRENT, "lower": False},
    ("tag", "gru"): {**_RECURRENT, "lower": False},
    ("tag", "transformer"): {**_TRANSFORMER, "batch_size": 32, "lower": False},
    ("tag", "bert"): {**_BERT, "lr": 5e-5},
    ("translate", "transformer"): {**_TRANSFORMER, **_TRANSLATE},
    ("translate", SEQ2SEQ): {**_BERT, "lr": 5e-5, "batch_size": 8, "pool": "mean"},
    ("generate", "transformer"): {**_TRANSFORMER, **_GENERATE, "dropout": 0.1, "lr": 1e-3, "layers": 4},
    ("generate", "lstm"): {**_RECURRENT, **_WRITE},
    ("generate", "gru"): {**_RECURRENT, **_WRITE},
    ("generate", CAUSAL): {**_BERT, "lr": 5e-5, "batch_size": 8, "pool": "mean", "bidirectional": False},
}
"""What each task and model changes of the defaults, which are those of classification by an lstm."""
