"""Which version of a model answers a client, and which one is compared with it: A/B tests, canaries, shadows."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from itertools import accumulate
from pathlib import Path

from ptapp_core.errors import UserError, one_line

Shares = Mapping[str, int]
"""Version -> its share of the clients in percent; 100 together."""


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """`["a=1:90", "2:10", "b=3"]` -> `{"a": "1:90,2:10", "b": "3"}`: what an option says of each model.

    A value of several parts has lost its commas to the list that the option is.
    """
    found: dict[str, str] = {}
    name = ""
    for text in texts:
        before, equals, value = text.partition("=")
        if equals and before in found:
            raise UserError(f"{option} {text}: {before!r} is given twice")
        if not equals and not name:
            raise UserError(f"{option} {text}: write NAME={text}")
        if equals:
            name = before
        found[name] = value if equals else f"{found[name]},{text}"
    return found


def shares_of(text: str, where: str) -> Shares:
    """From `1:90,2:10`; raises UserError, beginning with `where`, unless these are whole percents, 100 together."""
    parts = [part.partition(":") for part in text.split(",")]
    if any(not share.strip().isdecimal() for _, _, share in parts):
        raise UserError(f"{where}: write VERSION:PERCENT,VERSION:PERCENT, such as 1:90,2:10")
    return _checked([(version.strip(), int(share)) for version, _, share in parts], where)


def read_shares(file: Path) -> Shares:
    """From a file such as `{"1": 90, "2": 10}`; raises UserError as `shares_of`."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is broken: {one_line(error)}") from error
    if not isinstance(found, dict) or any(type(share) is not int for share in found.values()):
        raise UserError(f'{file}: write percents by version, such as {{"1": 90, "2": 10}}')
    return _checked(list(found.items()), str(file))


def _checked(shares: list[tuple[str, int]], where: str) -> Shares:
    found = dict(shares)
    if len(found) < len(shares):
        raise UserError(f"{where}: a version is given twice")
    if min(found.values(), default=0) < 0 or sum(found.values()) != 100:
        raise UserError(f"{where}: the shares are whole percents from 0 to 100, and 100 together")
    return found


def chosen(shares: Shares, model: str, client: str) -> str:
    """The version that answers a client: always the same one, as long as the shares stay.

    A client's place between 0 and 100 is a hash of the model's name and its own. Where the latest version takes a
    larger share, clients move to it, and none of its own moves away.
    """
    digest = hashlib.sha256(f"{model}\0{client}".encode(errors="surrogateescape")).digest()
    place = int.from_bytes(digest[:8]) / 2**64 * 100
    versions = sorted(shares, key=int)
    ends = accumulate(shares[version] for version in versions)
    return next(version for version, end in zip(versions, ends, strict=True) if place < end)
