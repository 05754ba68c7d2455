"""Examples that the program makes itself, so that every command runs with nothing given: one small language a task."""

from random import Random

from ptapp_core.data.split import SplitName
from ptapp_nlp.data.splits import Examples


def _words(text: str) -> list[str]:
    return text.split()


_GOOD = _words("good great fine charming moving funny clever warm bright lovely")
_BAD = _words("bad dull awful boring clumsy flat cold silly weak tedious")
_THINGS = _words("film story plot cast music ending script camera dialogue pace")
_ASPECTS = ("plot", "cast", "music", "pace", "camera")
_FIRST = _words("Ada Alan Grace Edsger Barbara Donald Frances John Margaret Ken")
_LAST = _words("Lovelace Turing Hopper Dijkstra Liskov Knuth Allen Backus Hamilton Thompson")
_PLACES = _words("Paris Berlin Lima Oslo Cairo Kyoto Accra Quito Hanoi Perth")
_SIZES: dict[SplitName, int] = {"train": 2000, "val": 200, "test": 200}


def make(task: str, seed: int = 0) -> tuple[dict[SplitName, Examples], tuple[str, ...], str]:
    """The splits of a task, its class names and a line about them."""
    random = Random(seed)
    one, classes, about = {
        "multilabel": (_praise, _ASPECTS, "reviews that the program makes, with what they praise"),
        "regress": (_stars, ("stars",), "reviews that the program makes, with how many words praise"),
        "classify": (_review, ("negative", "positive"), "reviews that the program makes"),
        "tag": (_sentence, ("B-PER", "B-PLACE", "I-PER", "O"), "sentences that the program makes"),
        "translate": (_number, (), "numbers in English and German words, made by the program"),
        "generate": (_sum, (), "sums in words that the program makes"),
    }[task]
    parts: dict[SplitName, Examples] = {}
    for name, size in _SIZES.items():
        pairs = [one(random) for _ in range(size)]
        names = [f"{name}:{row}" for row in range(1, size + 1)]
        parts[name] = Examples([source for source, _ in pairs], [target for _, target in pairs], names)
    return parts, classes, about


def _review(random: Random) -> tuple[object, object]:
    """A judgement that `not` turns around, among words that say nothing."""
    positive, turned = random.random() < 0.5, random.random() < 0.4
    word = random.choice(_GOOD if positive != turned else _BAD)
    said = f"is {'not ' if turned else ''}{word}"
    other = f"there is a {random.choice(_THINGS)} and a {random.choice(_THINGS)}"
    text = f"the {random.choice(_THINGS)} {said}"
    return random.choice([f"{text} , and {other} .", f"{other} , but {text} .", f"{text} ."]), int(positive)


def _praise(random: Random) -> tuple[object, object]:
    """Judgements on some of the aspects, in any order; the label of an aspect is whether it is praised."""
    said, praised = [], [0.0] * len(_ASPECTS)
    for aspect in random.sample(range(len(_ASPECTS)), random.randrange(1, 4)):
        good = random.random() < 0.5
        praised[aspect] = float(good)
        said.append(f"the {_ASPECTS[aspect]} is {random.choice(_GOOD if good else _BAD)}")
    return " , ".join(said) + " .", tuple(praised)


def _stars(random: Random) -> tuple[object, object]:
    """One to five judgements; the number is how many of them praise, less those that blame."""
    good = [random.random() < 0.5 for _ in range(random.randrange(1, 6))]
    said = [f"the {random.choice(_THINGS)} is {random.choice(_GOOD if each else _BAD)}" for each in good]
    return " , ".join(said) + " .", (float(sum(good) - (len(good) - sum(good))),)


def _sentence(random: Random) -> tuple[object, object]:
    first, last, place = random.choice(_FIRST), random.choice(_LAST), random.choice(_PLACES)
    forms = [
        ([first, last, "lives", "in", place, "."], ["B-PER", "I-PER", "O", "O", "B-PLACE", "O"]),
        (["in", place, first, "met", last, "."], ["O", "B-PLACE", "B-PER", "O", "B-PER", "O"]),
        (["nobody", "saw", first, "today", "."], ["O", "O", "B-PER", "O", "O"]),
    ]
    return random.choice(forms)


_ONES = _words(
    "zero one two three four five six seven eight nine "
    "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
)
_TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
_EINS = _words(
    "null ein zwei drei vier fünf sechs sieben acht neun "
    "zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn"
)
_ZIG = _words("zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig")


def _number(random: Random) -> tuple[object, object]:
    number = random.randrange(1, 10_000)
    return english(number), german(number)


def english(number: int) -> str:
    """1 to 9,999: `two hundred and five`."""
    if number >= 1000:
        return f"{_ONES[number // 1000]} thousand" + (f" {english(number % 1000)}" if number % 1000 else "")
    if number >= 100:
        return f"{_ONES[number // 100]} hundred" + (f" and {english(number % 100)}" if number % 100 else "")
    if number >= 20:
        return _TENS[number // 10 - 2] + (f" {_ONES[number % 10]}" if number % 10 else "")
    return _ONES[number]


def german(number: int) -> str:
    """1 to 9,999, as separate words so that they are short: `zwei hundert fünf`; units come before tens."""
    if number >= 1000:
        return f"{_EINS[number // 1000]} tausend" + (f" {german(number % 1000)}" if number % 1000 else "")
    if number >= 100:
        return f"{_EINS[number // 100]} hundert" + (f" {german(number % 100)}" if number % 100 else "")
    if number >= 20:
        return (f"{_EINS[number % 10]} und " if number % 10 else "") + _ZIG[number // 10 - 2]
    return "eins" if number == 1 else _EINS[number]


def _sum(random: Random) -> tuple[object, object]:
    one, other = random.randrange(1, 50), random.randrange(1, 50)
    return f"{english(one)} plus {english(other)} is {english(one + other)} .", None
