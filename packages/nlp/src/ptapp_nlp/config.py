"""The settings of `ptapp nlp`."""

import codecs
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from ptapp_core.errors import nearest
from ptapp_core.settings.after_training import ComputeSettings, EvaluateSettings, ExportSettings
from ptapp_core.settings.embed import EmbeddingSettings, EmbedSettings
from ptapp_core.settings.fields import argument, option
from ptapp_core.settings.idle import Only
from ptapp_core.settings.own import is_own
from ptapp_core.tune.batch_settings import BatchSettings
from ptapp_core.tune.config import TuneSettings
from ptapp_core.tune.rate_settings import RateSettings
from ptapp_nlp.data.hub import PREFIX
from ptapp_nlp.data.lines import is_unicode, is_wide
from ptapp_nlp.recipes import CAUSAL, LORA_LR, MODELS, PRETRAINED, RECIPES, SEQ2SEQ, SPELLED, TOKENS, WRITERS, Long
from ptapp_nlp.said import LONGEST_STOP

_ESCAPES = ("idna", "punycode", "unicode-escape", "raw-unicode-escape")  # encodings of Python's that no file has
_DATA, _MODEL, _BEST = "Data", "Model", "Optimisation"
_THOSE = f"{', '.join(PRETRAINED[:-1])} and {PRETRAINED[-1]}"


_ONLY = (
    Only(
        ("dim", "hidden", "layers", "heads", "dropout", "bidirectional", "pool", "norm"),
        lambda job: not is_own(job.model),
        "networks of ptapp, not for your own",
    ),
    Only(
        ("text_column", "label_column"),
        lambda job: job.data is not None and job.task not in ("tag", "generate"),
        "tables (--data), of tasks other than tag and generate",
    ),
    Only(("split", "allow_duplicates"), lambda job: job.task != "generate", "tasks other than generate"),
    Only(("pair",), lambda job: job.data is not None and job.task == "translate", "--data of --task translate"),
    Only(("text_per",), lambda job: job.data is not None and job.task == "generate", "--data of --task generate"),
    Only(("encoding",), lambda job: job.data is not None and not job.data.startswith(PREFIX), "files (--data)"),
    Only(("workers",), lambda job: False, "images that do not fit in memory, and texts do"),
    Only(("vocab", "lower", "least"), lambda job: job.model not in PRETRAINED, "models without --pretrained"),
    Only(
        ("tokenizer",),
        lambda job: job.model not in (*PRETRAINED, SPELLED),
        "models other than bert, causal, seq2seq and lstm-crf",
    ),
    Only(("word_dropout",), lambda job: job.model != CAUSAL, "models other than causal, whose tokens are all known"),
    Only(
        ("dropout",),
        lambda job: job.model not in WRITERS or job.task not in TOKENS,
        "models with layers of their own; a decoder or encoder-decoder has its own shares",
    ),
    Only(("least",), lambda job: job.tokenizer in ("word", "char"), "--tokenizer word and char"),
    Only(("label_smoothing",), lambda job: job.model != SPELLED, "models other than lstm-crf"),
    Only(("dim", "hidden", "layers"), lambda job: job.model not in PRETRAINED, "models without --pretrained"),
    Only(("weights",), lambda job: job.pretrained is not None, "models with --pretrained"),
    Only(("heads", "norm"), lambda job: job.model == "transformer", "--model transformer"),
    Only(("bidirectional",), lambda job: job.model in ("lstm", "gru"), "--model lstm and gru"),
    Only(("loss",), lambda job: job.task not in TOKENS, "--task classify, multilabel, regress and embed"),
    Only(("long",), lambda job: job.task not in TOKENS, "--task classify, multilabel, regress and embed"),
    Only(("pool",), lambda job: job.task not in TOKENS, "--task classify, multilabel, regress and embed"),
)


class TrainNLP(EmbeddingSettings):
    """`ptapp nlp train`. The defaults are those of classification by an lstm; `RECIPES` has what others change."""

    first: ClassVar[tuple[str, ...]] = (
        *EmbeddingSettings.first,
        "text_column",
        "tokenizer",
        "pretrained",
    )
    only: ClassVar[tuple[Only, ...]] = (*EmbeddingSettings.only, *_ONLY)

    known_tasks: ClassVar[tuple[str, ...]] = (*EmbeddingSettings.known_tasks, *TOKENS)
    task: str = option(
        "classify",
        "classify, multilabel, regress, several of these (a,b), embed, module:Kind; tag, translate, generate",
        group="Task",
    )
    model: str = option(
        "lstm",
        "name of the model, or module:Class of your own (not to translate or generate)",
        group=_MODEL,
        short="-m",
    )
    batch_size: int = 32
    lr: float = 3e-3
    clip: float | None = 1.0
    epochs: float = 8.0
    average: Literal["none", "ema", "swa"] = "ema"
    average_decay: float = 0.99

    text_column: str | None = option(
        None, "name or position (from 1) of the text, several as one (a+b) or a pair (a,b); none: detected", group=_DATA
    )
    pair: str | None = option(None, "languages of parallel files, such as en-de; none: detected", group=_DATA)
    text_per: Literal["auto", "line", "file"] = option(
        "auto", "what a text to learn writing from is; auto: a file, if it has empty lines or is one line", group=_DATA
    )
    encoding: str = option("utf-8", "encoding of the files", group=_DATA)
    tokenizer: Literal["word", "bpe", "wordpiece", "char"] = option("word", "how text is cut", group=_DATA)
    vocab: int = option(20_000, "most tokens of the vocabulary", group=_DATA, ge=300, le=1_000_000)
    least: int = option(1, "times that a word must be seen to count (word, char)", group=_DATA, ge=1)
    lower: bool = option(True, "small letters alone (lstm-crf reads the others beside them)", group=_DATA)
    max_length: int | None = option(
        256,
        "tokens (lstm-crf: words) read at once; none: 128, or the most of --pretrained",
        group=_DATA,
        ge=4,
        le=100_000,
    )
    long: Long = option("truncate", "how a text that is longer is read", group=_DATA)
    word_dropout: float = option(
        0.3, "share of the tokens hidden in training (lstm-crf: of words seen once)", group=_DATA, ge=0, lt=1
    )
    balance: Literal["none", "weights"] = option("none", "weigh rare classes more in the loss", group=_DATA)

    dim: int = option(256, "width of embeddings and transformer layers", group=_MODEL, ge=4, lt=2**31)
    hidden: int | None = option(
        128, "width of an lstm or a feed-forward part; none: dim, 4 dim", group=_MODEL, ge=4, lt=2**31
    )
    layers: int = option(1, "layers", group=_MODEL, ge=1, le=100)
    heads: int = option(4, "attention heads", group=_MODEL, ge=1, lt=2**31)
    dropout: float = option(0.5, "share of units dropped in training", group=_MODEL, ge=0, lt=1)
    bidirectional: bool = option(True, "an lstm or gru that reads both ways", group=_MODEL)
    pool: Literal["mean", "max", "attention", "last", "first"] = option("mean", "states to one vector", group=_MODEL)
    norm: Literal["pre", "post"] = option("pre", "where a transformer normalises", group=_MODEL)
    pretrained: str | None = option(None, "folder or hub name of a pretrained model", group=_MODEL)
    weights: Path | None = option(None, "start from a run or checkpoint of the same --pretrained", group=_MODEL)
    lora: int | None = option(
        None, f"rank of LoRA, for {_THOSE}, whose weights then stay", group=_MODEL, ge=1, lt=2**31
    )
    layer_decay: float = option(
        1.0, f"learning rate of each lower layer of {_THOSE}, relative", group=_BEST, gt=0, le=1
    )

    @model_validator(mode="before")
    @classmethod
    def _recipe(cls, values: Any) -> Any:
        """The defaults of the chosen task and model, beneath what is given."""
        if not isinstance(values, Mapping):
            return values
        task = _as_supervised(str(values.get("task", "classify")))
        known = MODELS.get(task, ("lstm",))
        of_weights = [name for name in known if name in PRETRAINED] if values.get("pretrained") else []
        model = values.get("model", of_weights[0] if len(of_weights) == 1 else known[0])
        rate = {"lr": LORA_LR} if values.get("lora") not in (None, "none") else {}
        return {"model": model, **RECIPES.get((task, str(model)), {}), **rate, **values}

    def usual(self) -> Mapping[str, Any]:
        """The recipe of the task and model."""
        return RECIPES.get((_as_supervised(self.task), self.model), {})

    @field_validator("encoding")
    @classmethod
    def _encoding_has_lines(cls, encoding: str) -> str:
        try:
            cut = is_wide(encoding) or b"\n".decode(encoding) == "\n"
            escapes = codecs.lookup(encoding).name in _ESCAPES
        except (LookupError, ValueError) as error:
            raise ValueError("Python knows no such encoding; utf-8, latin-1 and cp1252 are common") from error
        if escapes:
            raise ValueError("writes names and literals, not files; utf-8, latin-1 and cp1252 are common")
        if not cut:
            raise ValueError("its lines do not end in the byte of ASCII; convert the files to utf-8")
        return encoding

    @model_validator(mode="after")
    def _fits(self) -> Self:
        known = MODELS[_as_supervised(self.task)]
        if is_own(self.model) and self.task in ("translate", "generate"):
            raise ValueError(f"--task {self.task} has no networks of your own: take --model {' or '.join(known)}")
        if self.model not in known and not is_own(self.model):
            if any(self.model in models for models in MODELS.values()):
                raise ValueError(f"--model {self.model} cannot {self.task}; take {' or '.join(known)}")
            raise ValueError(f"--model {self.model}: unknown{nearest(self.model, known)}; your own is module:Class")
        self._fits_pretrained()
        self._fits_long_texts()
        if self.model == "transformer" and (self.dim % self.heads or self.dim % 2):
            raise ValueError(f"--dim {self.dim} cannot be divided into --heads {self.heads} of a whole, even width")
        if self.activation_checkpointing and self.model != "transformer" and not is_own(self.model):
            raise ValueError(
                f"--activation-checkpointing is for --model transformer, not for {self.model}: leave it out"
            )
        if self.task == "generate" and self.model != "transformer" and self.bidirectional:
            raise ValueError("--task generate reads one way: leave --bidirectional out")
        if self.text_per == "file" and not self.keeps_line_breaks:
            raise ValueError(
                f"--text-per file keeps line breaks, and --tokenizer {self.tokenizer} does not: take bpe or char"
            )
        if self.task == "generate" and self.word_dropout:
            raise ValueError("--task generate learns each token that it reads: leave --word-dropout out")
        if self.task in TOKENS and (self.balance != "none" or self.folds is not None):
            raise ValueError("--balance and --folds are for --task classify, multilabel and regress")
        return self

    def _fits_long_texts(self) -> None:
        """Raises ValueError where nothing says how the answers for the windows of a text become one."""
        if self.long == "windows" and is_own(self.task):
            raise ValueError(f"--long windows averages answers of built-in kinds, not of {self.task}: take head-tail")

    def _fits_pretrained(self) -> None:
        """Raises ValueError where pretrained weights, or what is for them alone, do not fit the model."""
        if self.model not in PRETRAINED:
            given = {"--pretrained": self.pretrained, "--lora": self.lora}
            for name in (name for name, value in given.items() if value is not None):
                raise ValueError(f"{name} is for --model {_THOSE}, not for {self.model}")
            if self.max_length is None:
                raise ValueError(f"--max-length none is for --model {_THOSE}, not for {self.model}: give a number")
        elif self.pretrained is None:
            what = {CAUSAL: "a decoder", SEQ2SEQ: "an encoder-decoder"}.get(self.model, "an encoder")
            raise ValueError(f"--model {self.model} needs --pretrained: a folder with {what}, or its name on the hub")
        if self.model == CAUSAL and self.pool == "first":
            raise ValueError("--pool first is for encoders: the first token of a decoder sees no other; take last")

    @property
    def keeps_line_breaks(self) -> bool:
        """Whether a line break is a token; of a decoder its own tokenizer tells."""
        return self.tokenizer in ("bpe", "char") or self.model == CAUSAL

    def with_full_paths(self) -> Self:
        """Those of the first weights too, and the one that `hub:` names, if it is there."""
        settings = super().with_full_paths()
        if settings.weights is not None:
            settings = settings.model_copy(update={"weights": settings.weights.expanduser().resolve()})
        name, mark, configuration = (settings.data or "").removeprefix(PREFIX).partition(":")
        if settings.data is not None and settings.data.startswith(PREFIX) and Path(name).is_dir():
            data = f"{PREFIX}{Path(name).resolve()}{mark}{configuration}"
            settings = settings.model_copy(update={"data": data})
        if settings.pretrained is None or not Path(settings.pretrained).expanduser().exists():
            return settings
        full = str(Path(settings.pretrained).expanduser().resolve())
        return settings.model_copy(update={"pretrained": full})


def _as_supervised(task: str) -> str:
    """The task whose recipes and models a task has: all that give each text a target have the same ones."""
    return "classify" if "," in task or is_own(task) else task


def of_translation(task: str) -> Only:
    """What the options of the beam are for, beside a run of a task."""
    return Only(("beam", "length_penalty"), lambda _: task == "translate", "runs of --task translate")


class TuneNLP(TuneSettings, TrainNLP):
    """`ptapp nlp tune`."""

    job: ClassVar[type[TrainNLP]] = TrainNLP
    first: ClassVar[tuple[str, ...]] = (*TuneSettings.own, *TrainNLP.first)


class BatchesNLP(BatchSettings, TrainNLP):
    """`ptapp nlp find-batch`."""

    first: ClassVar[tuple[str, ...]] = (*BatchSettings.own, *TrainNLP.first)


class RatesNLP(RateSettings, TrainNLP):
    """`ptapp nlp find-lr`."""

    first: ClassVar[tuple[str, ...]] = (*RateSettings.own, *TrainNLP.first)


class EvaluateNLP(EvaluateSettings):
    """`ptapp nlp evaluate`."""

    beam: int = option(4, "width of the beam of a translation", group="Decoding", ge=1, le=64)
    length_penalty: float = option(1.0, "exponent of the length in the score of a beam", group="Decoding", ge=0, le=10)


class PredictNLP(ComputeSettings):
    """`ptapp nlp predict`."""

    only: ClassVar[tuple[Only, ...]] = (Only(("batch_size",), lambda verb: verb.file is not None, "--file"),)

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"  # as exports compute

    texts: list[str] = argument("texts, of a run of pairs two; none: lines of standard input", default=[])
    file: Path | None = option(None, "a file with a text a line; of a run of pairs a table", group=_DATA)
    batch_size: int = option(64, "lines that are read at once from a file", group="Device", ge=1)
    beam: int = option(4, "width of the beam of a translation", group="Decoding", ge=1, le=64)
    length_penalty: float = option(1.0, "exponent of the length in the score of a beam", group="Decoding", ge=0, le=10)

    @field_validator("texts")
    @classmethod
    def _texts_are_texts(cls, texts: list[str]) -> list[str]:
        if not all(map(is_unicode, texts)):
            raise ValueError("not UTF-8 text")
        return texts


class EmbedNLP(EmbedSettings):
    """`ptapp nlp embed`."""

    file: Path = option(..., "a file with a text a line", group=_DATA)


class TranslateNLP(PredictNLP):
    """`ptapp nlp translate`."""


class GenerateNLP(ComputeSettings):
    """`ptapp nlp generate`."""

    only: ClassVar[tuple[Only, ...]] = (
        Only(("top_k", "top_p", "min_p", "seed"), lambda verb: verb.temperature > 0, "a --temperature above 0"),
        Only(("number",), lambda verb: not verb.stream, "texts that are printed when they are whole, without --stream"),
    )

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"  # as exports compute

    prompt: str = option("", "how the text begins; of chats a message, or JSON", group="Decoding")
    length: int = option(60, "most tokens to add", group="Decoding", ge=1, le=100_000)
    temperature: float = option(0.8, "0 takes the likeliest token", group="Decoding", ge=0)
    top_k: int | None = option(None, "choose among so many of the likeliest tokens", group="Decoding", ge=1)
    top_p: float | None = option(None, "choose among the likeliest with this share", group="Decoding", gt=0, le=1)
    min_p: float | None = option(
        None, "choose among those with this share of the likeliest one's probability", group="Decoding", gt=0, le=1
    )
    repetition_penalty: float = option(
        1.0, "multiplies the log-probability of tokens that the text has already", group="Decoding", ge=1, le=10
    )
    stop: list[str] = option([], "the text ends before this; several: give it again", group="Decoding", verbatim=True)
    stream: bool = option(False, "print the text itself, as it is written", group="Decoding")
    number: int = option(1, "how many texts", group="Decoding", ge=1)
    seed: int = option(0, "seed of the choices", group="Decoding", ge=0, lt=2**32)

    @field_validator("prompt")
    @classmethod
    def _prompt_is_text(cls, prompt: str) -> str:
        if not is_unicode(prompt):
            raise ValueError("not UTF-8 text")
        return prompt

    @field_validator("stop")
    @classmethod
    def _stops_are_texts(cls, stop: list[str]) -> list[str]:
        if not all(map(is_unicode, stop)):
            raise ValueError("not UTF-8 text")
        if not all(0 < len(text) <= LONGEST_STOP for text in stop):
            raise ValueError(f"must have 1 to {LONGEST_STOP} characters each")
        return stop


class ExportNLP(ExportSettings):
    """`ptapp nlp export`."""
