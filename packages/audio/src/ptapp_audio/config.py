"""The settings of `ptapp audio`."""

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import field_validator, model_validator

from ptapp_core.errors import nearest
from ptapp_core.settings.after_training import EvaluateSettings, ExportSettings, PredictFiles
from ptapp_core.settings.base import Settings
from ptapp_core.settings.fields import argument, option
from ptapp_core.settings.idle import Only
from ptapp_core.settings.own import is_own
from ptapp_core.settings.supervised import SupervisedSettings
from ptapp_core.tune.batch_settings import BatchSettings
from ptapp_core.tune.config import TuneSettings
from ptapp_core.tune.rate_settings import RateSettings

MODELS = {
    "cnn": "residual convolutions over the log-mel spectrogram",
    "crnn": "convolutions, a bidirectional GRU and attention pooling",
    "transformer": "self-attention over patches of the log-mel spectrogram",
    "wav2vec2": "pretrained, on the waveform (--pretrained, needs transformers)",
}
FEATURES = (
    *("spectrogram", "mel", "log_mel", "mfcc", "chroma"),
    *("scalogram", "centroid", "bandwidth", "roll_off", "zero_crossing_rate"),
)

_ONLY = (
    Only(
        ("split_by", "cache", "group_column", "label_column"),
        lambda job: job.data is not None,
        "data of your own (--data)",
    ),
    Only(("workers",), lambda job: False, "images that do not fit in memory, and audio is mapped from a file then"),
    Only(
        ("mels", "frame", "hop", "low", "width", "weights"),
        lambda job: job.model != "wav2vec2",
        "models of spectrograms",
    ),
    Only(("width", "dropout"), lambda job: not is_own(job.model), "networks of ptapp, not for your own"),
    Only(("snr",), lambda job: job.noise > 0, "--noise above 0"),
    Only(("freq_mask", "time_mask"), lambda job: job.masks > 0, "--masks above 0"),
    Only(("masks",), lambda job: job.freq_mask or job.time_mask, "--freq-mask or --time-mask above 0"),
)


class TrainAudio(SupervisedSettings):
    """`ptapp audio train`."""

    first: ClassVar[tuple[str, ...]] = (*SupervisedSettings.first, "seconds", "pretrained", "weights")
    only: ClassVar[tuple[Only, ...]] = (*SupervisedSettings.only, *_ONLY)

    model: str = option("cnn", "name of the model, or module:Class of your own", group="Model", short="-m")
    batch_size: int = 32
    lr: float = 2e-3
    weight_decay: float = 0.05
    epochs: float = 30.0

    rate: int | None = option(
        None,
        "samples a second that the model works at; none: the data's own, at most 16000",
        group="Data",
        ge=1000,
        le=768_000,
    )
    seconds: float | None = option(
        None, "length of the model's window; none: as long as most clips, at most 5", group="Data", gt=0, le=60
    )
    windows: int = option(
        1, "windows that training takes of each sound an epoch, at most as many as it fills", group="Data", ge=1
    )
    cache: Literal["auto", "memory", "disk"] = option("auto", "where decoded clips are kept", group="Data")
    val: float = option(
        0.1, "share of the training clips that chooses the best checkpoint, where the data brings none; 0: none",
        group="Data", ge=0, le=0.5,
    )  # fmt: skip
    split_by: str = option(
        "take", "what takes the place of the data's own splits: a column, or speaker of known names", group="Data"
    )
    fold: int | None = option(None, "test on this fold alone, of the data or of --folds", group="Data", ge=0)

    mels: int = option(64, "bands of the log-mel spectrogram", group="Features", ge=8, le=256)
    frame: float = option(0.032, "seconds of a spectrum", group="Features", gt=0.001, le=0.5)
    hop: float = option(0.01, "seconds between two spectra", group="Features", gt=0.0005, le=0.5)
    low: float = option(20.0, "lowest frequency in Hz", group="Features", ge=0)

    shift: float = option(0.1, "largest shift in time, as a share of the window", group="Augmentation", ge=0, le=1)
    gain: float = option(0.0, "largest change of loudness in dB", group="Augmentation", ge=0, le=40)
    noise: float = option(0.0, "share of the clips that get noise", group="Augmentation", ge=0, le=1)
    snr: float = option(10.0, "loudest noise, as dB below the clip", group="Augmentation")
    stretch: float = option(0.0, "largest relative change of tempo, pitch kept", group="Augmentation", ge=0, le=0.5)
    pitch: float = option(0.0, "largest change of pitch in semitones, tempo kept", group="Augmentation", ge=0, le=12)
    freq_mask: float = option(0.15, "widest band that SpecAugment hides, as a share", group="Augmentation", ge=0, le=1)
    time_mask: float = option(0.15, "longest part that SpecAugment hides, as a share", group="Augmentation", ge=0, le=1)
    masks: int = option(2, "bands and parts that SpecAugment hides, each", group="Augmentation", ge=0, le=10)
    mixup: float = option(0.0, "alpha of MixUp; 0 is off", group="Augmentation", ge=0)

    pretrained: str | None = option(None, "weights for wav2vec2: a name or a folder", group="Model")
    weights: Path | None = option(None, "start from the weights of a file, a run, or a checkpoint", group="Model")
    width: int = option(32, "channels of the first layers; transformer: a sixth of its width", group="Model", ge=4)
    dropout: float = option(
        0.2, "share of the features that are dropped before the last layer", group="Model", ge=0, lt=1
    )

    def with_full_paths(self) -> Self:
        """The paths of the data and of the first weights."""
        settings = super().with_full_paths()
        if settings.weights is None:
            return settings
        return settings.model_copy(update={"weights": settings.weights.expanduser().resolve()})

    @property
    def mixes(self) -> bool:
        """Whether training clips are mixed with each other."""
        return self.mixup > 0

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.model not in MODELS and not is_own(self.model):
            raise ValueError(f"--model {self.model}: unknown{nearest(self.model, MODELS)}; your own is module:Class")
        if self.pretrained is not None and self.model != "wav2vec2":
            raise ValueError(f"--pretrained is for --model wav2vec2, not for {self.model}")
        if self.pretrained is None and self.model == "wav2vec2":
            raise ValueError("--model wav2vec2 needs --pretrained NAME_OR_PATH, as facebook/wav2vec2-base or a folder")
        if self.val == 0 and not self.test:
            raise ValueError("--no-test measures on the validation split, --val 0 leaves none: leave one of them out")
        if self.val == 0 and self.patience is not None:
            raise ValueError("--patience needs an evaluation, --val 0 leaves none: leave one of them out")
        return self


class TuneAudio(TuneSettings, TrainAudio):
    """`ptapp audio tune`."""

    job: ClassVar[type[TrainAudio]] = TrainAudio
    first: ClassVar[tuple[str, ...]] = (*TuneSettings.own, *TrainAudio.first)


class BatchesAudio(BatchSettings, TrainAudio):
    """`ptapp audio find-batch`."""

    first: ClassVar[tuple[str, ...]] = (*BatchSettings.own, *TrainAudio.first)


class RatesAudio(RateSettings, TrainAudio):
    """`ptapp audio find-lr`."""

    first: ClassVar[tuple[str, ...]] = (*RateSettings.own, *TrainAudio.first)


class EvaluateAudio(EvaluateSettings):
    """`ptapp audio evaluate`."""


class PredictAudio(PredictFiles):
    """`ptapp audio predict`."""

    files: list[Path] = argument("sound files, or folders of them")
    timeline: bool = option(False, "classes along the time, by a sliding window", group="Output")
    every: float | None = option(
        None, "seconds between two windows of a time line; none: half a window", group="Output", gt=0
    )
    picture: Path | None = option(
        None, "folder for a picture of each file: spectrogram, and the time line under it", group="Output"
    )

    @model_validator(mode="after")
    def _forms_of_time_lines(self) -> Self:
        if self.csv and self.timeline:
            raise ValueError("--timeline is printed as a table or with --json: leave --csv out")
        if self.every is not None and not (self.timeline or self.picture):
            raise ValueError("--every is of a time line: give --timeline or --picture too")
        return self


class ExportAudio(ExportSettings):
    """`ptapp audio export`."""


class FeaturesAudio(Settings):
    """`ptapp audio features`."""

    files: list[Path] = argument("sound files, or folders of them")
    out: Path = option(Path("features"), "folder for NAME.npz and NAME.png", group="Output")
    rate: int | None = option(None, "samples a second; none: each file's own", group="Features", ge=1000, le=768_000)
    n_fft: int = option(2048, "samples of a spectrum", group="Features", ge=16, le=65536)
    hop: int = option(512, "samples between two spectra", group="Features", ge=1)
    mels: int = option(128, "bands of the mel spectrogram", group="Features", ge=2, le=512)
    fmin: float = option(0.0, "lowest frequency of the mel bands in Hz", group="Features", ge=0)
    fmax: float | None = option(None, "highest of them; none: half the rate", group="Features", gt=0)
    only: list[str] = option([], f"some of {', '.join(FEATURES)}; none: all", group="Features")
    mfccs: int = option(20, "cepstral coefficients", group="Features", ge=1, le=128)
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps", group="Device")

    @field_validator("only")
    @classmethod
    def _features_are_known(cls, only: list[str]) -> list[str]:
        for name in only:
            if name not in FEATURES:
                raise ValueError(f"--only {name}: no such feature{nearest(name, FEATURES)}")
        return only

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.fmax is not None and self.fmax <= self.fmin:
            raise ValueError(f"--fmax {self.fmax:g} is not above --fmin {self.fmin:g}: make it larger")
        if self.mfccs > self.mels:
            raise ValueError(f"--mfccs {self.mfccs} is more than --mels {self.mels} give: make it smaller")
        return self
