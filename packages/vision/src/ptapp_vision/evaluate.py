"""Measuring a trained model on a whole split: figures, pictures, and `ptapp vision evaluate`."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from ptapp_core.data.members import Members
from ptapp_core.jobs import Trained, say_learned
from ptapp_core.kinds.kind import kind_in, write_report
from ptapp_core.machine.runtime import Runtime
from ptapp_vision.card import About
from ptapp_vision.config import EvaluateVision, TrainVision
from ptapp_vision.data.recognise import Form, Images, load_for
from ptapp_vision.models.whole import Pixels, columns, rebuild
from ptapp_vision.pictures import mistakes


def evaluate(settings: EvaluateVision) -> None:
    """Measures a run's model on a split of its own or of other data.

    The report goes to `evaluation/` in the run directory; `report/` stays what the job itself left.
    """
    runtime = Runtime(settings.device, settings.precision)
    trained = Trained.find(settings.run, "vision", About, which=settings.checkpoint)
    card = trained.about["model"]
    job = TrainVision.of_run(settings.run)
    settings.refuse_idle(job.data)
    before = Members.read(settings.run)
    data = load_for(job, Form.of(card), before=before, other=settings.data, skip_bad=settings.skip_bad)
    model = trained.load(rebuild).to(runtime.device)
    split, part = settings.chosen(data.part)
    print("\n".join([data.about, *data.lines(), f"{trained.checkpoint.name} of {settings.run}, on {split}"]))
    say_learned(settings.run, before, data.members.part(split), of_run=None if settings.data else split)
    part = part.as_learned(model.kind, data.classes)
    measure(model, part, runtime, settings.folder(split), split, drawn=data.drawn)


def measure(
    model: Pixels,
    images: Images,
    runtime: Runtime,
    folder: Path,
    split: str,
    *,
    drawn: bool,
    say: Callable[[str], None] = print,
) -> None:
    """Figures of a split to the console, and `metrics.json` with pictures to `folder` (rank 0 of the job writes)."""
    workers = 0 if isinstance(images.images, Tensor) else 2
    note, kind = " (drawn faces)" if drawn else "", kind_in(model)
    predictions = kind.predict(model, columns(images), runtime, workers=workers)
    if not runtime.is_main:
        return
    record = {"drawn": drawn}
    write_report(predictions, kind.names, images.names, folder, split, record=record, note=note, say=say)
    if (found := predictions.mistakes(kind.names)) is not None:
        mistakes(images.images, found, images.names, folder / "mistakes.png")
    say(f"report: {folder}")
