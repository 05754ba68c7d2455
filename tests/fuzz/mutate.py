"""Changes to files and command lines that a person, an editor or a disk may make; all drawn from one generator."""

import csv
import io
import json
import re
from pathlib import Path
from random import Random
from typing import Any

ODD: list[Any] = [None, True, "", "x", "ü\n", -1, 0, 1, 2, 3.5, -0.0, 10**12, 10**400, 1e308, float("nan"), [], {}, [0]]
"""Values of another kind than most that stand in a file."""
WORDS = [
    "",
    "x",
    "-1",
    "0",
    "2",
    "1e999",
    "nan",
    "99999999999999999999",
    "2147483648",
    "true",
    "none",
    "[1]",
    "é",
    "../..",
    "a,b",
    "0.5",
]
"""Values that an option may be given."""
LENGTHS = {"--steps", "--passes", "--frames"}
"""Options with which one may rightly ask for a job that does not end here."""


def mutate(path: Path, random: Random) -> str:
    """Changes one thing in a file, by what its suffix says that it holds; says what was done."""
    content = path.read_bytes()
    kind = {".json": _json, ".toml": _toml, ".csv": _csv, ".jsonl": _lines}.get(path.suffix)
    if kind is None or random.random() < 0.15:
        content, what = _bytes(content, random)
    else:
        text, what = kind(content.decode(), random)
        content = text.encode("utf-8", "surrogatepass")
    path.write_bytes(content)
    return f"{path.name}: {what}"


def mutated_words(words: list[str], options: list[str], random: Random) -> list[str]:
    """A command line with an option more, of any value."""
    option = random.choice(options)
    values = [word for word in WORDS if word != "2147483648" or option not in LENGTHS]
    return [*words, option, *([random.choice(values)] if random.random() < 0.9 else [])]


def _json(text: str, random: Random) -> tuple[str, str]:
    value = json.loads(text)
    places = list(_places(value))
    holder, key, name = random.choice(places)
    what = random.choice(["odd", "odd", "odd", "gone", "nested", "more", "deep"])
    if what == "odd":
        holder[key] = random.choice(ODD)
    elif what == "gone":
        del holder[key]
    elif what == "nested":
        holder[key] = random.choice([[holder[key]], {"x": holder[key]}])
    elif what == "more" and isinstance(holder[key], (int, float)):
        holder[key] *= random.choice([-1, 2, 1000, 10**9])
    elif what == "deep" and random.random() < 0.2:
        return text.replace("{", '{"x": ' + "[" * 100_000, 1), "nested deeply"
    else:
        holder[random.choice(["x", "size"]) if isinstance(holder, dict) else key] = random.choice(ODD)
    changed = holder[key] if isinstance(holder, dict) and key in holder else "-"
    return json.dumps(value, indent=1), f"{name}: {what} {str(changed)[:40]!r}"


def _places(value: Any, name: str = "") -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key, f"{name}.{key}"
        yield from _places(inner, f"{name}.{key}")


def _lines(text: str, random: Random) -> tuple[str, str]:
    lines = text.splitlines()
    row = random.randrange(len(lines))
    lines[row], what = _json(lines[row], random)
    lines[row] = " ".join(lines[row].split())
    return "\n".join(lines) + "\n", f"line {row + 1}{what}"


def _toml(text: str, random: Random) -> tuple[str, str]:
    lines = text.splitlines()
    settings = r"(?!nproc)\w+ = "  # ranks would be processes that begin this test again
    row = random.choice([number for number, line in enumerate(lines) if re.match(settings, line)])
    name = lines[row].split(" = ")[0]
    odd = ["-1", "0", "1", "2", "3.5", '""', '"x"', "[]", "[[]]", "{}", "true", "nan", "inf", "10" + "0" * 14, "1e300"]
    new = random.choice([f"{name} = {random.choice(odd)}"] * 8 + ["", f"x{name} = 1", f"{name} ="])
    lines[row] = new
    return "\n".join(lines) + "\n", f"{name}: {new!r}"


def _csv(text: str, random: Random) -> tuple[str, str]:
    rows = list(csv.reader(io.StringIO(text)))
    row = random.choice([0, random.randrange(len(rows))])
    column = random.randrange(len(rows[row]))
    what = random.choice(["cell", "cell", "gone", "twice", "row"])
    if what == "cell":
        rows[row][column] = random.choice([*WORDS, "\x00", '"', "a\nb", "x" * 200_000])
    elif what == "gone":
        del rows[row][column]
    elif what == "twice":
        rows[row].insert(column, rows[row][column])
    else:
        rows.insert(row, random.choice([[], [""], rows[row]]))
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue(), f"{what} at row {row + 1}, column {column + 1}"


def _bytes(content: bytes, random: Random) -> tuple[bytes, str]:
    place = random.randrange(min(len(content), random.choice([64, 10**9])) or 1)
    what = random.choice(["flip", "cut", "double", "zeros", "swap"])
    if what == "flip":
        changed = bytes(byte ^ random.randrange(1, 256) for byte in content[place : place + random.choice([1, 4])])
        return content[:place] + changed + content[place + len(changed) :], f"flip at byte {place}"
    if what == "cut":
        return content[:place], f"cut at byte {place}"
    if what == "double":
        return content + content[place:], f"doubled from byte {place}"
    if what == "zeros":
        return content[:place] + bytes(16) + content[place:], f"zeros at byte {place}"
    return content[place:] + content[:place], f"turned round at byte {place}"
