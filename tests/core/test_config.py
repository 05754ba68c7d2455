"""Settings: precedence, one-line complaints, exact TOML, and what a resumed run may change."""

import json
import re
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ptapp_core.errors import UserError
from ptapp_core.runs.formats import FORMAT
from ptapp_core.settings.base import Settings
from ptapp_core.settings.fields import argument, flag, option
from ptapp_core.settings.train import TrainSettings


class Baking(Settings):
    oven: Literal["gas", "electric"] = option("gas", "kind of oven", group="Heat")
    minutes: int = option(40, "time in the oven", group="Heat", ge=1)
    degrees: float | None = option(180.0, "temperature in C", group="Heat", gt=0)
    covered: bool = option(False, "with a lid", group="Heat")
    toppings: list[str] = option(["salt"], "what goes on top", group="Dough")
    shares: list[float] = option([], "parts of flour", group="Dough")
    note: str = option("", "anything", group="Dough")
    book: Path = option(Path("book.txt"), "recipe", group="Dough")
    shelf: Path | None = option(None, "where it cools", group="Dough")


class Slicing(Settings):
    loaf: Path = argument("the loaf")
    knives: list[Path] = argument("knives, in order", default=[])


def complaint(settings: type[Settings], config: Path | None, options: dict[str, object]) -> str:
    with pytest.raises(UserError) as caught:
        settings.resolve(config, options)
    return str(caught.value)


def test_options_override_the_file_which_overrides_the_defaults(tmp_path: Path) -> None:
    config = tmp_path / "a.toml"
    config.write_text("minutes = 50\ncovered = true\n")
    settings = Baking.resolve(config, {"minutes": "60", "oven": "electric"})
    assert (settings.minutes, settings.covered, settings.oven, settings.degrees) == (60, True, "electric", 180.0)


def test_text_of_options_becomes_values_of_the_field_types() -> None:
    settings = Baking.resolve(None, {"degrees": "1e2", "shares": ["1", "0.5"], "book": "b.txt"})
    assert (settings.degrees, settings.shares, settings.book) == (100.0, [1.0, 0.5], Path("b.txt"))


def test_none_unsets_an_optional_setting_and_empties_a_list() -> None:
    settings = Baking.resolve(None, {"degrees": "none", "toppings": ["none"], "note": "none"})
    assert (settings.degrees, settings.toppings, settings.note) == (None, [], "none")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"minutes": "0"}, "--minutes 0: must be greater than or equal to 1"),
        ({"minutes": "soon"}, "--minutes soon: must be a valid integer"),
        ({"minutes": ""}, "--minutes '': must be a valid integer"),
        ({"degrees": "inf"}, "--degrees inf: must be a finite number"),
        ({"shares": ["1", "x"]}, "--shares x: must be a valid number"),
        ({"oven": "electrik"}, "--oven electrik: unknown value; did you mean 'electric'?"),
        ({"oven": "sun"}, "--oven sun: unknown value; known: electric, gas"),
        ({"ovn": "gas"}, "--ovn; did you mean 'oven'?"),
    ],
)
def test_a_bad_option_is_one_line_with_its_name_value_and_bound(options: dict[str, object], line: str) -> None:
    assert complaint(Baking, None, options) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("oven = 'gas'\nminuts = 3\n", "2: unknown key 'minuts'; did you mean 'minutes'?"),
        ("[heat]\nminutes = 3\n", "1: unknown key 'heat'; known: "),
        ("\n\nminutes = 0\n", "3: minutes 0: must be greater than or equal to 1"),
        ("oven = 'electrik'", "1: oven electrik: unknown value; did you mean 'electric'?"),
        ("toppings = 'salt'", "1: toppings salt: must be a valid list"),
        ("oven = 'gas'\nminutes = = 3\n", "2:11: not valid TOML: "),
        ('oven = "gas"\nnote = """', "2: not valid TOML: "),
    ],
)
def test_a_bad_file_is_one_line_with_its_name_and_place(tmp_path: Path, text: str, line: str) -> None:
    config = tmp_path / "a.toml"
    config.write_text(text)
    said = complaint(Baking, config, {})
    assert said.startswith(f"{config}:{line}")
    assert "\n" not in said


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert complaint(Baking, tmp_path / "gone.toml", {}).startswith(f"{tmp_path / 'gone.toml'}: cannot read")
    assert complaint(Baking, tmp_path, {}).startswith(f"{tmp_path}: cannot read")
    binary = tmp_path / "a.toml"
    binary.write_bytes(b"note = '\xff'")
    assert complaint(Baking, binary, {}) == f"{binary}: not UTF-8 text at byte 8"


def test_an_option_that_mends_the_file_wins_before_anything_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "a.toml"
    config.write_text("minutes = 0\n")
    assert Baking.resolve(config, {"minutes": "5"}).minutes == 5


def test_a_missing_argument_is_named_with_its_help() -> None:
    assert complaint(Slicing, None, {}) == "missing LOAF (the loaf)"


def test_settings_are_frozen_and_refuse_unknown_names() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Baking().minutes = 3
    with pytest.raises(ValidationError, match="Extra inputs"):
        Baking(minuts=3)  # type: ignore[call-arg]


def test_a_plain_default_in_a_subclass_keeps_help_group_and_bounds() -> None:
    class Toast(Baking):
        minutes: int = 2

    assert Toast().minutes == 2
    assert Baking().minutes == 40
    assert list(Toast.groups()["Heat"]) == ["oven", "minutes", "degrees", "covered"]
    assert Toast.model_fields["minutes"].description == "time in the oven"
    assert complaint(Toast, None, {"minutes": 0}) == "--minutes 0: must be greater than or equal to 1"


def test_an_impossible_default_is_refused_too() -> None:
    class Raw(Baking):
        minutes: int = 0

    assert complaint(Raw, None, {}) == "--minutes 0: must be greater than or equal to 1"


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
PATHS = TEXT.map(Path)
BAKING = st.builds(
    Baking,
    oven=st.sampled_from(["gas", "electric"]),
    minutes=st.integers(min_value=1, max_value=2**53 - 1),
    degrees=st.none() | NUMBERS.filter(lambda x: x > 0),
    covered=st.booleans(),
    toppings=st.lists(TEXT),
    shares=st.lists(NUMBERS),
    note=TEXT,
    book=PATHS,
    shelf=st.none() | PATHS,
)


@given(BAKING)
def test_toml_reproduces_the_settings_exactly(tmp_path_factory: pytest.TempPathFactory, settings: Baking) -> None:
    config = tmp_path_factory.getbasetemp() / "round-trip.toml"
    config.write_bytes(settings.to_toml().encode())
    again = Baking.resolve(config, {})
    assert again == settings
    assert repr(again) == repr(settings)  # distinguishes -0.0 from 0.0


def test_toml_lists_every_setting_under_its_group_with_its_help() -> None:
    assert Baking().to_toml().startswith('# Heat\noven = "gas"  # kind of oven: gas, electric\nminutes = 40  # time')
    assert '\nshelf = "none"  # where it cools\n' in Baking().to_toml()
    assert Slicing(loaf=Path("a")).to_toml() == '# Arguments\nloaf = "a"  # the loaf\nknives = []  # knives, in order\n'


def test_flags_are_the_field_names_with_hyphens() -> None:
    assert [flag(name) for name in ("lr", "batch_size", "json_")] == ["--lr", "--batch-size", "--json"]


def test_training_settings_survive_a_round_trip_without_the_resumed_run(tmp_path: Path) -> None:
    config = tmp_path / "a.toml"
    settings = TrainSettings(clip=1.0, freeze=["stem."], log_to=[], steps=7, resume=tmp_path)
    config.write_text(settings.to_toml())
    assert TrainSettings.resolve(config, {}) == settings.model_copy(update={"resume": None})


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"batch_size": 8, "accumulate": 4, "nproc": 4}, "--batch-size 8 is too small .* give at least 16"),
        ({"patience": 2, "eval_every": 3, "epochs": 2}, "--patience 2 needs evaluations, .* --eval-every 3 "),
        ({"nproc": 2, "device": "cuda:1"}, "--device cuda:1 is one device: --nproc 2"),
        ({"device": "cudaa"}, "--device cudaa: unknown device; did you mean 'cuda'?"),
        ({"milestones": [0.7, 0.2]}, "--milestones 0.7,0.2: must be shares .* ascending"),
        ({"milestones": [0.5, 1.5]}, "--milestones 0.5,1.5: must be shares of all steps between 0 and 1"),
        ({"name": "../b"}, "--name ../b: must be a plain name"),
        ({"lr_gamma": 2}, "--lr-gamma 2: must be less than 1"),
        ({"compile": True, "activation_checkpointing": True}, "--compile and --activation-checkpointing do not work"),
        ({"epochs": "3", "steps": "5"}, "--epochs and --steps 5 both say how long to train: leave one of them out"),
        ({"warmup": 1}, "--warmup 1: must be less than 1"),
        ({"log_to": ["wandbb"]}, "--log-to wandbb: unknown value; did you mean 'wandb'?"),
    ],
)
def test_impossible_training_settings_are_refused_before_any_work(options: dict[str, object], line: str) -> None:
    with pytest.raises(UserError, match=line):
        TrainSettings.resolve(None, options)


def make_run(folder: Path, **settings: object) -> Path:
    folder.mkdir()
    (folder / "config.toml").write_text(TrainSettings.resolve(None, settings).to_toml())
    return folder


def test_a_resumed_run_keeps_its_settings_and_takes_what_may_change(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", lr=0.5, epochs=3)
    settings = TrainSettings.resolve(None, {"resume": str(run), "epochs": "5", "device": "cpu"})
    assert (settings.lr, settings.epochs, settings.device, settings.resume) == (0.5, 5, "cpu", run)


def test_epochs_beside_the_steps_of_a_file_are_refused_rather_than_ignored(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=7)
    line = "--epochs and --steps 7 both say how long to train: add --steps none to go by epochs"
    assert complaint(TrainSettings, None, {"resume": str(run), "epochs": "5"}) == line
    assert complaint(TrainSettings, run / "config.toml", {"epochs": "5"}) == line
    assert TrainSettings.resolve(run / "config.toml", {"epochs": "5", "steps": "none"}).epochs == 5


def test_a_resumed_run_accepts_an_option_that_repeats_its_own_value(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", lr=0.5)
    assert TrainSettings.resumed(run, {"lr": "0.5"}).lr == 0.5


def test_a_resumed_run_refuses_what_would_change_its_result(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", lr=0.5)
    said = complaint(TrainSettings, None, {"resume": run, "lr": "0.1"})
    assert said.startswith(f"--lr cannot change when a run is resumed: {run} has 0.5, now 0.1;")


def test_a_setting_that_was_edited_after_the_run_began_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", lr=0.5, steps=7, data="old", seed=3)
    began = TrainSettings.of_run(run).kept()
    (run / "meta.json").write_text(json.dumps({"format": FORMAT, "settings": began}))
    text = (run / "config.toml").read_text()
    for name, now in {"lr": "0.7", "seed": "9", "weight_decay": "0.7", "batch_size": "9", "split": '"exact"'}.items():
        (run / "config.toml").write_text(re.sub(rf"^{name} = \S+", f"{name} = {now}", text, flags=re.M))
        said = complaint(TrainSettings, None, {"resume": run})
        assert f"{run / 'config.toml'}: {name} is {now}, and the run began with {began[name]}: put that back" in said
    (run / "config.toml").write_text(text)
    config = (run / "config.toml").read_text().replace('data = "old"', 'data = "moved"')
    (run / "config.toml").write_text(config.replace("steps = 7", "steps = 9"))
    assert TrainSettings.resumed(run, {}).data == "moved"
    assert TrainSettings.resumed(run, {}).steps == 9


def test_resume_refuses_what_is_no_run_and_a_settings_file_beside_it(tmp_path: Path) -> None:
    assert complaint(TrainSettings, None, {"resume": tmp_path}).startswith(f"--resume {tmp_path}: not a run directory")
    config = tmp_path / "a.toml"
    config.write_text("lr = 1.0\n")
    assert "leave --config out" in complaint(TrainSettings, config, {"resume": make_run(tmp_path / "run")})
    config.write_text("resume = 'run'\n")
    assert complaint(TrainSettings, config, {}) == f"{config}: resume is for the command line: give --resume run"
