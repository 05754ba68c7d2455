"""Words as rows of numbers: which word, how it is written in small and capital letters, and its letters.

Letters are the bytes of UTF-8, so that there is no letter that a model does not know. No torch.
"""

import unicodedata
from collections.abc import Sequence

from ptapp_nlp.data.tokens import Tokens

LETTERS = 24
"""Bytes of a word that are read: of a longer one the first half of them and the last half."""
WIDTH = 2 + LETTERS
"""Numbers of a word: its own, its case, and one more than each of its bytes, filled up with 0."""
CASES = 8
"""How many numbers a case may have; 0 is padding."""


def spelled(words: Sequence[str], tokens: Tokens) -> list[list[int]]:
    """A row of `WIDTH` numbers for each word."""
    return [
        [number, case_of(word), *letters_of(word)] for number, word in zip(tokens.numbers(words), words, strict=True)
    ]


def case_of(word: str) -> int:
    """1 small letters alone, 2 capitals alone (two or more), 3 a capital and then small ones, 4 any other mix,
    5 digits without a letter, 6 digits and letters, 7 neither."""
    has_digits, has_letters = any(map(str.isdigit, word)), any(map(str.isalpha, word))
    if has_digits:
        return 6 if has_letters else 5
    if not has_letters:
        return 7
    letters = "".join(filter(str.isalpha, word))
    if letters == letters.lower():
        return 1
    if len(letters) > 1 and letters == letters.upper():
        return 2
    return 3 if word[0].isupper() and letters[1:] == letters[1:].lower() else 4


def letters_of(word: str) -> list[int]:
    """The bytes of a word in NFC, each plus 1, cut and filled up to `LETTERS` numbers."""
    found = unicodedata.normalize("NFC", word).encode()
    if len(found) > LETTERS:
        found = found[: LETTERS // 2] + found[-LETTERS // 2 :]
    return [byte + 1 for byte in found] + [0] * (LETTERS - len(found))
