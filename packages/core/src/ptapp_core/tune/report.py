"""What a study leaves: a table, the best settings, and pictures."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from itertools import accumulate
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from optuna.trial import FrozenTrial, TrialState

from ptapp_core.measure.report import BLUE, GREY, ORANGE, save
from ptapp_core.runs.run import write_text
from ptapp_core.tune.study import Study
from ptapp_core.tune.trial import run_of

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_ENOUGH = 4
"""Complete trials of which it can be said which setting matters."""


def write_table(study: Study) -> Path:
    """Writes `trials.csv`: a row for each trial that has ended, with its settings and its run."""
    text = StringIO()
    names = list(study.space)
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["trial", "state", study.monitor, "evaluations", *names, "run", "note"])
    for trial in study.trials(*_FINISHED):
        run = run_of(study.folder, trial.number)
        row = [trial.number, trial.state.name.lower(), trial.value, len(trial.intermediate_values)]
        row += [trial.params.get(name) for name in names]
        table.writerow([*row, run.relative_to(study.folder) if run else "", trial.user_attrs.get("note", "")])
    file = study.folder / "trials.csv"
    write_text(file, text.getvalue())
    return file


def draw(study: Study) -> list[Path]:
    """Draws `report/history.png`, and `report/importance.png` where enough trials are complete."""
    out = study.folder / "report"
    pictures = [draw_history(study.trials(*_FINISHED), study.monitor, out / "history.png", minimise=study.minimise)]
    if len(study.trials(TrialState.COMPLETE)) >= _ENOUGH and (shares := study.importances()):
        pictures.append(draw_importances(shares, study.monitor, out / "importance.png"))
    return pictures


def draw_history(trials: Sequence[FrozenTrial], monitor: str, out: Path, *, minimise: bool) -> Path:
    """Draws the figure of each trial by its number, the best so far, and where trials were pruned or failed."""
    figure = Figure(figsize=(7.0, 3.6), layout=ConstrainedLayoutEngine())
    axes = figure.add_subplot(xlabel="trial", ylabel=f"val {monitor}")
    marks = {TrialState.COMPLETE: ("o", BLUE, "complete"), TrialState.PRUNED: ("x", GREY, "pruned")}
    for state, (mark, colour, label) in marks.items():
        shown = [(trial.number, trial.value) for trial in trials if trial.state == state and trial.value is not None]
        if shown:
            axes.plot(*zip(*shown, strict=True), mark, color=colour, label=f"{label} ({len(shown)})")
    done = [(trial.number, trial.value) for trial in trials if trial.state == TrialState.COMPLETE]
    if done:
        numbers, values = zip(*done, strict=True)
        axes.step(numbers, list(accumulate(values, min if minimise else max)), color=ORANGE, where="post", label="best")
    failed = [trial.number for trial in trials if trial.state == TrialState.FAIL]
    if failed:
        bottom = axes.get_xaxis_transform()
        axes.plot(failed, [0.02] * len(failed), "|", color=ORANGE, transform=bottom, label=f"failed ({len(failed)})")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return save(figure, out)


def draw_importances(shares: Mapping[str, float], monitor: str, out: Path) -> Path:
    """Draws how much each setting matters, the most important on top."""
    figure = Figure(figsize=(6.0, 1.2 + 0.35 * len(shares)), layout=ConstrainedLayoutEngine())
    axes = figure.add_subplot(xlabel=f"share of what makes val {monitor} good", xlim=(0, 1.12))
    names = list(shares)[::-1]
    bars = axes.barh(names, [shares[name] for name in names], color=BLUE)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    return save(figure, out)
