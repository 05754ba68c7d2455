"""The words of messages: what may be meant, and how many there are."""

import pytest

from ptapp_core.errors import counted, nearest


def test_a_word_that_is_close_is_offered_and_an_unrelated_one_is_not() -> None:
    assert nearest("admw", ["sgd", "adamw"]) == "; did you mean 'adamw'?"
    assert nearest("bogus", ["loss", "lr"]) == "; known: loss, lr"


def test_of_many_known_words_only_the_nearest_few_are_listed() -> None:
    many = [f"net{number}" for number in range(60)]
    said = nearest("wide", many)
    assert said.startswith("; of the 60 known ones the nearest are net")
    assert said.count("net") == 5


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (1, "epoch", "1 epoch"),
        (1.0, "epoch", "1 epoch"),
        (2.5, "epoch", "2.5 epochs"),
        (0, "step", "0 steps"),
        (4, "micro-batch", "4 micro-batches"),
        (12000, "bad sample", "12,000 bad samples"),
    ],
)
def test_a_number_and_its_noun_agree(number: float, noun: str, text: str) -> None:
    assert counted(number, noun) == text
