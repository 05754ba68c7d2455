"""The audio models: shapes, that each learns what its key part is for and fails without it, and exports."""

import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ptapp_audio.card import Front
from ptapp_audio.data.clips import Clips
from ptapp_audio.evaluate import predict_clips
from ptapp_audio.models import CNN, CRNN, Network, SpectrogramTransformer, build
from ptapp_audio.models.whole import LogMelFront, UnitFront, Waveform
from ptapp_core.errors import UserError
from ptapp_core.export import Format, export
from ptapp_core.machine.runtime import Runtime

pytestmark = pytest.mark.slow

MODELS = ("cnn", "crnn", "transformer")
SMALL = {"cnn": {"width": 8}, "crnn": {"width": 8}, "transformer": {"dim": 48}}
BANDS, FRAMES = 32, 80


def made(name: str, classes: int = 2, **options: object) -> Network:
    torch.manual_seed(0)
    return build(name, classes=classes, shape=(BANDS, FRAMES), dropout=0.0, **{**SMALL[name], **options})


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("bands", "frames"), [(16, 9), (40, 101), (64, 30)])
def test_a_model_takes_any_spectrogram_to_logits(name: str, bands: int, frames: int) -> None:
    model = build(name, classes=7, shape=(bands, frames))
    assert model(torch.randn(3, bands, frames)).shape == (3, 7)
    assert all(isinstance(block, nn.Module) for block in model.blocks())
    assert any(key.startswith(model.head_prefix) for key in model.state_dict())


def order_task(count: int) -> tuple[Tensor, Tensor]:
    """Two bursts in noise, the low one first or the high one first: only the order in time separates the classes."""
    generator = torch.Generator().manual_seed(count)
    x = 0.3 * torch.randn(count, BANDS, FRAMES, generator=generator)
    target = torch.randint(0, 2, (count,), generator=generator)
    for row in range(count):
        first = int(torch.randint(2, 20, (1,), generator=generator))
        second = int(torch.randint(55, 75, (1,), generator=generator))
        low, high = (first, second) if target[row] else (second, first)
        x[row, 4:10, low : low + 4] += 2
        x[row, 20:26, high : high + 4] += 2
    return x, target


def pitch_task(count: int) -> tuple[Tensor, Tensor]:
    """A burst anywhere in time, as wide as the others; its band gives the class."""
    generator = torch.Generator().manual_seed(count)
    x = 0.3 * torch.randn(count, BANDS, FRAMES, generator=generator)
    target = torch.randint(0, 2, (count,), generator=generator)
    for row in range(count):
        place, band = int(torch.randint(2, 75, (1,), generator=generator)), 6 + 14 * int(target[row])
        x[row, band : band + 5, place : place + 4] += 2
    return x, target


def time_task(count: int) -> tuple[Tensor, Tensor]:
    """A burst in the first or in the second half: only its time gives the class."""
    generator = torch.Generator().manual_seed(count)
    x = 0.3 * torch.randn(count, BANDS, FRAMES, generator=generator)
    target = torch.randint(0, 2, (count,), generator=generator)
    for row in range(count):
        place = int(torch.randint(4, 28, (1,), generator=generator)) + 40 * int(target[row])
        x[row, 6:11, place : place + 8] += 2
    return x, target


def learned(model: nn.Module, task: Callable[[int], tuple[Tensor, Tensor]], steps: int, lr: float = 3e-3) -> float:
    """The accuracy on new samples after some steps."""
    x, target = task(256)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(steps):
        rows = torch.randint(0, len(x), (32,), generator=generator)
        functional.cross_entropy(model(x[rows]), target[rows]).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    x, target = task(200)
    with torch.no_grad():
        return (model(x).argmax(1) == target).float().mean().item()


class Shuffled(nn.Module):
    """A layer whose output forgets the order of the frames."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return self.layer(x[:, torch.randperm(x.shape[1])])[0], None


def test_the_cnn_tells_bands_and_not_without_its_convolutions() -> None:
    assert learned(made("cnn"), pitch_task, 30) > 0.95
    broken = made("cnn")
    assert isinstance(broken, CNN)
    broken.stem = nn.Sequential(nn.Conv2d(1, 8, 1), nn.AdaptiveAvgPool2d(1))
    assert learned(broken, pitch_task, 30) < 0.7


def test_the_crnn_tells_orders_and_not_without_its_memory() -> None:
    assert learned(made("crnn"), order_task, 40) > 0.95
    broken = made("crnn")
    assert isinstance(broken, CRNN)
    broken.gru = Shuffled(broken.gru)  # type: ignore[assignment]
    assert learned(broken, order_task, 40) < 0.85


def test_the_transformer_tells_times_and_not_without_its_codes_of_time() -> None:
    assert learned(made("transformer"), time_task, 60, lr=1e-3) > 0.95
    broken = made("transformer")
    assert isinstance(broken, SpectrogramTransformer)
    with torch.no_grad():
        broken.times.zero_()
    broken.times.requires_grad_(False)
    assert learned(broken, time_task, 60, lr=1e-3) < 0.75


def waveform(name: str, window: int = 1600, classes: int = 3, **options: int) -> Waveform:
    torch.manual_seed(0)
    front = Front.of(8000, 0.032, 0.01, mels=32, low=20.0)
    network = build(name, classes=classes, shape=(32, 1 + window // front.hop), **SMALL[name], **options)
    model = Waveform(LogMelFront(front), network, window)
    model.front.measure([torch.randn(8, window) * 0.1])
    return model.eval()


def test_the_statistics_are_those_of_all_batches_together() -> None:
    front, x = LogMelFront(Front.of(8000, 0.032, 0.01, mels=32, low=20.0)), torch.randn(9, 1600) * torch.rand(9, 1)
    front.measure(x.split(4))
    decibels = front.decibels(x)
    torch.testing.assert_close(front.mean, decibels.mean((0, 2))[:, None])
    torch.testing.assert_close(front.std[0], (decibels - front.mean).std(correction=0))
    assert front(x).std().item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_loudness_and_the_form_of_the_samples_do_not_matter(name: str) -> None:
    model, x = waveform(name), 0.2 * torch.randn(3, 1600)
    for gain in (3, 0.01):
        torch.testing.assert_close(model(x), model(gain * x), atol=1e-4, rtol=1e-4)
    stored = (x * 32768).round().clamp(-32768, 32767).to(torch.int16)
    torch.testing.assert_close(model(stored), model(stored / 32768), atol=1e-6, rtol=0)


def test_a_shift_in_time_does_not_matter_to_the_cnn() -> None:
    model = waveform("cnn", 16000)

    def tone(pitch: float, start: int) -> Tensor:
        x = torch.zeros(1, 16000)
        x[0, start : start + 1000] = 0.3 * (pitch * torch.arange(1000)).sin()
        return model(x)

    here, frame = tone(0.5, 8000), 16 * 80  # of the last stage; no edge is within its reach
    torch.testing.assert_close(here, tone(0.5, 8000 + frame), atol=1e-5, rtol=0)
    for other in (tone(0.5, 8000 + frame // 2), tone(1.0, 8000)):
        assert (other - here).abs().max() > 0.01


def test_a_long_clip_is_the_mean_of_the_windows_that_cover_it() -> None:
    model, x = waveform("cnn"), torch.randn(2, 4000)
    parts = torch.stack([model(x[:, start : start + 1600]).softmax(1) for start in (0, 800, 1600, 2400)])
    torch.testing.assert_close(model(x).softmax(1), parts.mean(0))
    short = x[:, :700]
    torch.testing.assert_close(model(short), model(functional.pad(short, (0, 900))))


def mean_of_windows(model: Waveform, clip: Tensor) -> Tensor:
    """The mean answer for the windows, int16 (1, samples), that are not silent, or for all of a clip of silence."""
    count = (clip.shape[1] - 1) // model.window + 2
    starts = [number * (clip.shape[1] - model.window) // (count - 1) for number in range(count)]
    windows = [clip[:, start : start + model.window] for start in starts]
    loud = [window for window in windows if window.int().abs().max() > 32]  # a thousandth of full scale
    return torch.stack([model(window).softmax(1) for window in loud or windows]).mean(0)


@torch.no_grad()
def test_silent_windows_do_not_decide_unless_all_are_silent() -> None:
    model, generator = waveform("cnn"), torch.Generator().manual_seed(0)
    tone = torch.randint(-9000, 9000, (1600,), generator=generator)
    hiss = torch.randint(-32, 33, (1600,), generator=generator)
    silence, click = torch.zeros_like(tone), torch.zeros_like(tone)
    click[800] = -32768
    for kinds in product((tone, hiss, silence, click), repeat=3):
        clip = torch.cat([*kinds, silence]).to(torch.int16)
        expected = mean_of_windows(model, clip[None])
        torch.testing.assert_close(model(clip[None]).softmax(1), expected, atol=1e-5, rtol=0)
        clips = Clips(clip, *torch.tensor([[0], [len(clip)], [0]]), ["clip"])
        answer = predict_clips(model, clips, model.window, runtime=Runtime("cpu", "fp32"))
        torch.testing.assert_close(answer.probabilities, expected, atol=1e-5, rtol=0)


def test_a_clip_without_samples_is_refused_by_name() -> None:
    clips = Clips(torch.zeros(5, dtype=torch.int16), *torch.tensor([[0, 5], [5, 0], [0, 1]]), ["full.wav", "none.wav"])
    with pytest.raises(UserError, match=r"^none\.wav: holds no samples; leave it out$"):
        predict_clips(waveform("cnn"), clips, 1600, runtime=Runtime("cpu", "fp32"))


def onnx(path: str) -> Callable[[Tensor], Tensor]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"input": x.numpy()})[0])


READERS = {"onnx": onnx, "pt2": lambda path: torch.export.load(path).module(), "torchscript": torch.jit.load}


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize("form", READERS)
@pytest.mark.parametrize(("name", "options"), [("cnn", {}), ("crnn", {}), ("transformer", {"layers": 1})])
def test_the_exported_model_takes_any_length(name: str, options: dict[str, int], form: Format, tmp_path: Path) -> None:
    model = nn.Sequential(waveform(name, **options), nn.Softmax(1))
    path, difference = export(
        model, 0.1 * torch.randn(7, 2400), tmp_path, format=form, about={}, free=(("batch", "length"),)
    )
    assert difference < 1e-4
    exported = READERS[form](str(path))
    with torch.no_grad():
        for length in (1, 500, 1600, 1601, 7000):
            x = 0.1 * torch.randn(2, length)
            torch.testing.assert_close(exported(x), model(x), atol=1e-4, rtol=0)
        x[0, 500:6500] = 0  # windows of silence in one clip of the batch
        torch.testing.assert_close(exported(x), model(x), atol=1e-4, rtol=0)
        x[0], x[1, 5000] = 0, torch.nan  # silence alone, and a sample that is no number
        torch.testing.assert_close(exported(x), model(x), atol=1e-4, rtol=0, equal_nan=True)
        assert exported(x).isnan().any(1).tolist() == [False, True]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav2vec2 of a few thousand weights, as a folder."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(8, 8, 8),
        conv_stride=(5, 4, 4), conv_kernel=(10, 8, 4), num_feat_extract_layers=3, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny")
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    return folder


def test_wav2vec2_takes_its_weights_and_is_built_again_without_them(tiny: Path) -> None:
    model = build("wav2vec2", classes=3, shape=(1, 1), pretrained=str(tiny)).eval()
    again = build("wav2vec2", classes=3, shape=(1, 1), config=model.describe()).eval()
    again.load_state_dict(model.state_dict())
    x = torch.randn(2, 2000)
    torch.testing.assert_close(again(x), model(x))
    whole = Waveform(UnitFront(), model, 2000).eval()
    torch.testing.assert_close(whole(x), whole(5 * x + 0.3), atol=1e-4, rtol=1e-4)


def test_without_a_network_or_the_folder_it_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ptapp_core.machine.hub.reachable", lambda: False)
    for name in (str(tmp_path), "nobody/nothing"):
        with pytest.raises(UserError, match="--pretrained") as stopped:
            build("wav2vec2", classes=3, shape=(1, 1), pretrained=name)
        assert len(str(stopped.value).splitlines()) == 1


def test_without_transformers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match="pip install"):
        build("wav2vec2", classes=3, shape=(1, 1), pretrained="x")
