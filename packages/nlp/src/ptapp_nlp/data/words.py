"""Words of a plain text, with their places in it, about as the corpora of tagged words split them. No torch."""

import re

_WORD = re.compile(
    r"""
      (?:https?://|www\.)\S*[^\s.,;:!?()\[\]'"]        # an address of the web
    | [\w.+-]+@[\w-]+(?:\.[\w-]+)+                      # an address of a mail
    | [@\#]\w+                                          # a handle, a hashtag
    | (?:[^\W\d_]\.){2,}                                # U.S.
    | \d+(?:[.,:/]\d+)+                                 # 3.14 and 10:30
    | n['\u2019]t\b | ['\u2019](?:s|re|ve|ll|d|m)\b     # what the Penn treebank splits off
    | \w+(?=n['\u2019]t\b)                              # the "do" of "don't"
    | \w+(?:-\w+|['\u2019](?!(?:s|re|ve|ll|d|m|t)\b)\w+)*
    | \.{2,}
    | [^\w\s]                                           # any other character
    """,
    re.VERBOSE | re.IGNORECASE,
)


def places_of(text: str) -> list[tuple[int, int]]:
    """Where each word of a text begins and ends, in characters; what lies between words is blank."""
    return [match.span() for match in _WORD.finditer(text)]


def places_between_blanks(text: str) -> list[tuple[int, int]]:
    """The same of words that are apart by blanks alone."""
    return [match.span() for match in re.finditer(r"\S+", text)]
