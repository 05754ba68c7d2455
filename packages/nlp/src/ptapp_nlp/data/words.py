"""Words of a plain text, with their places in it, about as the corpora of tagged words split them. No torch."""

import re
import unicodedata

_STRETCH = "\u0640"  # the tatweel, a letter that only makes a word longer
_JOINERS = "\u200c\u200d"  # characters without width that stand within words of Persian and of Indian languages
_WORD = re.compile(
    r"""
      (?:https?://|www\.)\S*[^\s.,;:!?()\[\]'"]        # an address of the web
    | (?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+         # an address of a mail, tried once in a run of its characters
    | [@\#]\w+                                          # a handle, a hashtag
    | (?:[^\W\d_]\.){2,}                                # U.S.
    | \d+(?:[.,:/]\d+)+                                 # 3.14 and 10:30
    | n['\u2019]t\b | ['\u2019](?:s|re|ve|ll|d|m)\b     # what the Penn treebank splits off
    | \w+(?=n['\u2019]t\b)                              # the "do" of "don't"
    | \w+(?:-\w+|['\u2019](?!(?:s|re|ve|ll|d|m|t)\b)\w+)*
    | \.{2,}
    | [^\w\s]\u0640*                                    # any other character, with its marks
    """,
    re.VERBOSE | re.IGNORECASE,
)


def places_of(text: str) -> list[tuple[int, int]]:
    """Where each word of a text begins and ends, in characters; what lies between words is blank.

    Combining marks, such as vowel signs, belong to the character before them. The time is linear in the text's length.
    """
    return [match.span() for match in _WORD.finditer(_plain(text))]


def places_between_blanks(text: str) -> list[tuple[int, int]]:
    """The same of words that are apart by blanks alone."""
    return [match.span() for match in re.finditer(r"\S+", text)]


def _plain(text: str) -> str:
    """The text with a letter in place of each combining mark and joiner, which `re` takes for no part of a word."""
    if text.isascii():
        return text
    return "".join(_STRETCH if unicodedata.category(one)[0] == "M" or one in _JOINERS else one for one in text)
