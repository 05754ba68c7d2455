"""The command line: options from settings, help that fits, and one line with an exit code for every mistake."""

import errno
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import typer

from ptapp_core.cli.app import command, domain, run
from ptapp_core.errors import Interrupted, UserError
from ptapp_core.settings.base import Settings
from ptapp_core.settings.fields import argument, option
from ptapp_core.settings.train import TrainSettings


class Baking(Settings):
    oven: Literal["gas", "electric"] = option("gas", "kind of oven", group="Heat")
    minutes: int = option(40, "time in the oven", group="Heat", short="-t", ge=1)
    covered: bool = option(True, "with a lid", group="Heat")
    toppings: list[str] = option(["salt", "seed"], "what goes on top", group="Dough")
    json_: bool = option(False, "print JSON", group="Output")


class Slicing(Settings):
    loaf: Path = argument("the loaf")
    slices: list[Path] = argument("slices", default=[])


def bakery() -> tuple[typer.Typer, list[Settings]]:
    """An app of three commands and the settings that they were called with."""
    app, calls = domain("A bakery."), list[Settings]()

    @command(app, Baking)
    def bake(settings: Baking) -> None:
        """Bake bread."""
        calls.append(settings)

    @command(app, Slicing)
    def slice_(settings: Slicing) -> None:
        """Slice bread."""
        calls.append(settings)

    @command(app, TrainSettings)
    def train(settings: TrainSettings) -> None:
        """Train a baker."""
        calls.append(settings)

    return app, calls


def called(*words: str) -> Settings:
    app, calls = bakery()
    assert run(app, words) == 0
    (settings,) = calls
    return settings


def failing(error: BaseException) -> typer.Typer:
    app = domain("Fails.")

    @command(app, Baking)
    def bake(settings: Baking) -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), {}),
        (("--minutes", "5"), {"minutes": 5}),
        (("-t", "5", "--oven=electric"), {"minutes": 5, "oven": "electric"}),
        (("--no-covered", "--json"), {"covered": False, "json_": True}),
        (("--toppings", "a,b", "--toppings", "c"), {"toppings": ["a", "b", "c"]}),
        (("--toppings", "none"), {"toppings": []}),
        (("--toppings", ""), {"toppings": []}),
    ],
)
def test_every_field_is_an_option(words: tuple[str, ...], expected: dict[str, object]) -> None:
    assert called("bake", *words) == Baking.model_validate(expected)


def test_arguments_are_positional_and_keep_their_commas() -> None:
    assert called("slice", "a,b", "c", "d,e") == Slicing(loaf=Path("a,b"), slices=[Path("c"), Path("d,e")])


def test_only_options_that_were_given_override_the_file(tmp_path: Path) -> None:
    config = tmp_path / "a.toml"
    config.write_text("minutes = 7\ncovered = false\ntoppings = []\n")
    assert called("bake", "--config", str(config)) == Baking(minutes=7, covered=False, toppings=[])
    assert called("bake", "--config", str(config), "--minutes", "40") == Baking(covered=False, toppings=[])


def test_printed_settings_reproduce_the_call_and_run_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app, calls = bakery()
    words = ["bake", "--minutes", "9", "--toppings", 'a "b"']
    assert run(app, [*words, "--print-config"]) == 0
    assert not calls
    config = tmp_path / "a.toml"
    config.write_text(capsys.readouterr().out)
    assert called("bake", "--config", str(config)) == called(*words)


def test_resume_reads_the_settings_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.toml").write_text("lr = 0.5\n")
    settings = called("train", "--resume", str(tmp_path), "--epochs", "2")
    assert isinstance(settings, TrainSettings)
    assert (settings.lr, settings.epochs, settings.resume) == (0.5, 2, tmp_path)
    assert run(bakery()[0], ["train", "--resume", str(tmp_path), "--seed", "1"]) == 2
    assert "--seed cannot change" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["bake", "--minutes", "0"], "--minutes 0: must be greater than or equal to 1"),
        (["bake", "--oven", "electrik"], "--oven electrik: unknown value; did you mean 'electric'?"),
        (["bake", "--minuts", "3"], "no such option: --minuts; did you mean '--minutes'?"),
        (["bake", "--cover"], "no such option: --cover; did you mean '--covered'?"),
        (["bake", "--loner"], "no such option: --loner; see 'ptapp bake --help'"),  # hardly like '--covered'
        (["bake", "--zzz"], "no such option: --zzz; see 'ptapp bake --help'"),
        (["bake", "--minutes"], "option '--minutes' requires an argument"),
        (["bake", "bread"], "got unexpected extra argument(s) (bread); see 'ptapp bake --help'"),
        (["bkae"], "no such command 'bkae'; did you mean 'bake'?"),
        (["slice"], "missing LOAF (the loaf)"),
        (["bake", "--config", "/gone.toml"], "/gone.toml: cannot read the settings (No such file or directory)"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(bakery()[0], words) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"ptapp: error: {line}\n")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("no\nbread"), 2, "ptapp: error: no bread"),
        (Interrupted("saved at step 3"), 75, "ptapp: saved at step 3"),
        (OSError(errno.ENOSPC, "No space", "a.pt"), 2, "ptapp: error: a.pt: No space; free some space"),
        (OSError(errno.EROFS, "Read-only", "a.pt"), 2, "ptapp: error: a.pt: Read-only; choose another place"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.pt"), 2, "ptapp: error: a.pt: No such file"),
        (FileExistsError(errno.EEXIST, "File exists", "runs"), 2, "ptapp: error: runs: File exists; choose another"),
        (PermissionError(errno.EACCES, "Permission denied", "a.pt"), 2, "ptapp: error: a.pt: Permission denied; "),
    ],
)
def test_an_expected_error_is_one_line_and_its_exit_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(failing(error), ["bake"]) == code
    err = capsys.readouterr().err
    assert err.startswith(line)
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["bake", "--debug"], ["--debug", "bake"], ["bake", "--debug", "--minutes", "3"]])
def test_debug_shows_the_traceback_wherever_it_stands(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(failing(UserError("no bread")), words) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("ptapp: error: no bread\n")


def test_ctrl_c_is_exit_code_130_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(failing(KeyboardInterrupt()), ["bake"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("bug", [ZeroDivisionError("bug"), OSError("bug, not of the system")])
def test_a_bug_keeps_its_traceback(bug: Exception) -> None:
    with pytest.raises(type(bug), match="bug"):
        run(failing(bug), ["bake"])


def test_a_command_chooses_its_own_exit_code() -> None:
    assert run(failing(typer.Exit(3)), ["bake"]) == 3


@pytest.mark.parametrize("words", [["talk"], ["--help"]])
def test_a_reader_that_leaves_early_is_no_error(words: list[str]) -> None:
    script = """if True:
        import sys
        from ptapp_core.cli.app import domain, run
        app = domain("Talks.")
        @app.command()
        def talk(): print("x" * 99999)
        sys.stdin.read()  # until the reader has left
        sys.exit(run(app, sys.argv[1:]))
        """
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script, *words], stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_a_domain_lists_its_commands(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(bakery()[0], words) == 0
    assert re.findall(r"^  (\w+)  +(.+)$", capsys.readouterr().out.partition("Commands:")[2], re.MULTILINE) == [
        ("bake", "Bake bread."),
        ("slice", "Slice bread."),
        ("train", "Train a baker."),
    ]


def test_a_single_command_stays_a_command() -> None:
    app = domain("One.")
    calls: list[Baking] = []
    command(app, Baking)(calls.append)
    assert run(app, ["append"]) == 0
    assert calls == [Baking()]


def test_listing_commands_imports_none_of_their_settings(capsys: pytest.CaptureFixture[str]) -> None:
    app = domain("Lazy.")

    @command(app, "a_module_that_does_not_exist:Settings")
    def bake(settings: Settings) -> None:
        """Bake bread."""

    assert run(app, ["--help"]) == 0
    assert "Bake bread." in capsys.readouterr().out
    with pytest.raises(ModuleNotFoundError, match="a_module_that_does_not_exist"):
        run(app, ["bake"])


def test_settings_may_be_named_by_module_and_class() -> None:
    app, calls = domain("Lazy."), list[TrainSettings]()

    @command(app, "ptapp_core.settings.train:TrainSettings")
    def train(settings: TrainSettings) -> None:
        calls.append(settings)

    assert run(app, ["train", "--lr", "0.5"]) == 0
    assert calls == [TrainSettings(lr=0.5)]


def test_help_shows_groups_choices_and_defaults(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(bakery()[0], ["bake", "--help"]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"^(\w+):$", out, re.MULTILINE) == ["Heat", "Dough", "Output", "Other"]
    for line in (
        "--oven NAME                  kind of oven: gas, electric  [default: gas]",
        "-t, --minutes INT            time in the oven  [default: 40]",
        "--[no-]covered               with a lid  [default: on]",
        "--toppings TEXT,...          what goes on top  [default: salt,seed]",
        "--[no-]json                  print JSON",
        "--config FILE                TOML file",
        "--print-config               print",
        "--debug                      show",
    ):
        assert f"\n  {line}" in out


def test_help_of_arguments_says_which_may_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(bakery()[0], ["slice", "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Usage: ptapp slice [OPTIONS] LOAF [SLICES...]\n")
    assert re.search(r"^  LOAF +the loaf\n  \[SLICES...\] +slices\n", out, re.MULTILINE)
    assert "--config" not in out  # there is no option that a file could set


def test_help_of_training_fits_80_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(bakery()[0], ["train", "--help"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert out.isascii()
