"""Tables written without quotes: a separator within a text moves cells, and such a row is never read."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from ptapp_core.errors import UserError
from ptapp_nlp.columns import Columns
from ptapp_nlp.data import Reading, load

FEW = settings(
    derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PIECES = some.sampled_from(["", " and more", "{}", "{} bad", " so{}so", "{}1", "{}{}"])


@FEW
@given(
    order=some.permutations(["text", "label", "note"]),
    pieces=some.lists(PIECES, min_size=4, max_size=12),
    tabs=some.booleans(),
    headed=some.booleans(),
)
def test_what_is_read_of_a_table_without_quotes_is_what_was_written(
    tmp_path: Path, order: list[str], pieces: list[str], tabs: bool, headed: bool
) -> None:
    separator = "\t" if tabs else ","
    texts = [f"some words about number {row}{piece.format(*2 * [separator])}" for row, piece in enumerate(pieces)]
    if not headed:  # most rows tell how many columns there are
        texts += [f"a plain text of number {row}" for row in range(len(texts) + 1)]
    labels = ["yes" if row % 2 else "no" for row in range(len(texts))]
    rows = [
        separator.join({"text": text, "label": label, "note": "n"}[column] for column in order)
        for text, label in zip(texts, labels, strict=True)
    ]
    file = tmp_path / ("a.tsv" if tabs else "a.csv")
    file.write_text("\n".join([separator.join(order)] * headed + rows) + "\n")
    sound = {(text, label) for text, label in zip(texts, labels, strict=True) if separator not in text}
    moved = [row for row, text in enumerate(texts, start=1 + headed) if separator in text]
    if moved:
        with pytest.raises(
            UserError, match=rf"{file.name}:{moved[0]}: has \d columns where .* 3; is there a separator"
        ):
            load(str(file), Reading("classify"), division=None)
    if sound:
        data = load(str(file), Reading("classify"), division=None, skip_bad=True)
        whole = data.part("all")
        read = {(text, data.classes[label]) for text, label in zip(whole.source, whole.target, strict=True)}
        assert read == sound
        assert len(data.skipped) == len(moved)


def test_a_filled_cell_without_a_name_is_the_rest_of_a_text(tmp_path: Path) -> None:
    rows = "".join(f"{'ham' if row % 2 else 'spam'},words of number {row},,,\n" for row in range(6))
    file = tmp_path / "spam.csv"
    file.write_text("v1,v2,,,\n" + rows)
    assert len(load(str(file), Reading("classify", Columns("v2", "v1")), division=None).part("all")) == 6
    file.write_text("v1,v2,,,\n" + rows + "ham,words, and more,,\n")
    with pytest.raises(UserError, match=r"spam.csv:8: has 5 columns where the header has 2"):
        load(str(file), Reading("classify", Columns("v2", "v1")), division=None)
