"""The style rules of CONTRIBUTING.md that a program can check, read from the source."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from test_layering import PACKAGES, files, module_name, source

ROOT = PACKAGES.parent
MOST_POSITIONAL = 3
# Functions that take more, each with the file that still calls it by position. The list may only shrink: an entry goes
# when its callers name the arguments, and the test fails where an entry is not needed any more.
TRAIN, MEASURE, OTHER = "train.py of a domain", "evaluate.py of a domain", "export.py, predict.py or jobs.py"
CALLED_BY_POSITION = {
    "ptapp_audio.card.card_of": TRAIN,
    "ptapp_audio.data.clips.Clips": MEASURE,
    "ptapp_audio.data.splits.Splits": "data/recognise.py, as the class is written",
    "ptapp_audio.evaluate.measure": TRAIN,
    "ptapp_audio.evaluate.predict_clips": TRAIN,
    "ptapp_audio.features.augment.Augment": TRAIN,
    "ptapp_audio.features.augment.hidden_parts": TRAIN,
    "ptapp_audio.features.augment.mix": TRAIN,
    "ptapp_audio.features.augment.place_windows": TRAIN,
    "ptapp_audio.features.spectral.LogMel": "pictures.py of audio",
    "ptapp_audio.models.whole.Front.of": TRAIN,
    "ptapp_audio.pictures.all_features": "features/describe.py, as the function is written",
    "ptapp_audio.pictures.mistakes": MEASURE,
    "ptapp_audio.pictures.timeline": OTHER,
    "ptapp_audio.train.build_loader": TRAIN,
    "ptapp_audio.train.build_task_loss": TRAIN,
    "ptapp_core.data.listing.Listing": "readers of domains, as the class is written",
    "ptapp_core.data.split.Division": OTHER,
    "ptapp_core.data.split.Known": "data/splits.py of a domain",
    "ptapp_core.data.split.Samples": "data/splits.py of a domain",
    "ptapp_core.data.unread.refuse_unread": OTHER,
    "ptapp_core.export.export": OTHER,
    "ptapp_core.fit.fit": TRAIN,
    "ptapp_core.jobs.run_of": TRAIN,
    "ptapp_core.kinds.classify.predict": MEASURE,
    "ptapp_core.measure.cross_validation.cross_validate": TRAIN,
    "ptapp_core.measure.results.write_results": MEASURE,
    "ptapp_core.nn.own.make_loss": OTHER,
    "ptapp_core.runs.run.new_path": OTHER,
    "ptapp_core.settings.own.refuse_code_of": OTHER,
    "ptapp_nlp.data.encode.cut_of": MEASURE,
    "ptapp_nlp.data.encode.encode": MEASURE,
    "ptapp_nlp.data.encode.encode_tagged": MEASURE,
    "ptapp_nlp.data.splits.Examples": "data/splits.py of a domain",
    "ptapp_nlp.data.splits.Splits": "data/splits.py of a domain",
    "ptapp_nlp.decode.translations": MEASURE,
    "ptapp_nlp.evaluate.Measured": MEASURE,
    "ptapp_nlp.evaluate.measure": TRAIN,
    "ptapp_nlp.models.tasks.TokenTask": TRAIN,
    "ptapp_nlp.models.tasks.predict_tags": MEASURE,
    "ptapp_nlp.models.tasks.token_figures": MEASURE,
    "ptapp_nlp.pictures.attention_map": MEASURE,
    "ptapp_nlp.train.evaluation": TRAIN,
    "ptapp_vision.data.splits.Splits": "data/splits.py of a domain",
    "ptapp_vision.evaluate.measure": TRAIN,
    "ptapp_vision.models.reconstruct.reconstruction_metrics": MEASURE,
    "ptapp_vision.models.whole.Pixels": TRAIN,
    "ptapp_vision.pictures.mistakes": MEASURE,
    "ptapp_vision.train.build_task_loss": TRAIN,
    "ptapp_vision.train.refuse_empty_shares": TRAIN,
}


# A tuple with an axis of one letter or number, with "...", with a single axis, or behind a dtype; or these words.
_AXIS = r"(?:[A-Za-z]|\d+)(?: [*+/-] \w+)*"
SHAPE = re.compile(
    rf"\(\)|\([^()]*\.\.\.[^()]*\)|\([^()\s]+,\)|\((?=[^()]*,)(?:[^(),]*, )*{_AXIS}(?:,[^()]*)?\)"
    r"|\b(?:int\d*|uint8|float\d*|bool) \([^()]*,[^()]*\)|\b[Ss]calars?\b|\b[Ss]hapes?\b"
)
DTYPE = re.compile(r"\b(?:u?int(?:8|16|32|64)?|float(?:16|32|64)?s?|bool|dtypes?|types?)\b", re.IGNORECASE)
ARRAY = re.compile(r"\bTensor\b|\bNDArray\b|\bArrayLike\b")
# Functions whose tensors are not described yet. This list only shrinks, too.
UNDESCRIBED = {
    "ptapp_audio.pictures.all_features",
    "ptapp_audio.train.SoundClassification.forward",
    "ptapp_audio.train.build_task_loss",
    "ptapp_core.jobs.least_samples",
    "ptapp_core.kinds.classify.Classification.forward",
    "ptapp_nlp.pictures.lengths",
    "ptapp_vision.train.build_task_loss",
}


def positional(node: ast.Module | ast.ClassDef, name: str) -> Iterator[tuple[str, int]]:
    """The public functions and constructors of a module or class, each with its number of positional arguments.

    A protocol of torch or Python fixes the arguments of `forward`, of `autograd.Function` and of magic methods, and a
    named tuple is a tuple of its fields: these are left out.
    """
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            bases = {ast.unparse(base).split(".")[-1] for base in child.bases}
            marks = " ".join(map(ast.unparse, child.decorator_list))
            if bases & {"NamedTuple", "Function"}:
                continue
            if "dataclass" in marks and "kw_only=True" not in marks:
                yield f"{name}.{child.name}", _fields(child)
            yield from positional(child, f"{name}.{child.name}")
        elif isinstance(child, ast.FunctionDef) and _counts(child.name):
            static = "staticmethod" in map(ast.unparse, child.decorator_list)
            own = isinstance(node, ast.ClassDef) and not static  # self or cls
            count = len(child.args.posonlyargs + child.args.args) - own
            yield f"{name}.{child.name}".removesuffix(".__init__"), count


def _counts(name: str) -> bool:
    return name == "__init__" or not (name == "forward" or name.startswith("_"))


def _fields(node: ast.ClassDef) -> int:
    """The fields of a dataclass that its constructor takes by position."""
    fields = [child for child in node.body if isinstance(child, ast.AnnAssign)]
    kinds = [ast.unparse(child.annotation) for child in fields]
    before = kinds[: kinds.index("KW_ONLY")] if "KW_ONLY" in kinds else kinds
    return sum("ClassVar" not in kind for kind in before)


def test_no_function_takes_more_than_three_positional_arguments() -> None:
    many = set()
    for path in files():
        found = positional(ast.parse(path.read_text(encoding="utf-8")), module_name(path))
        many |= {name for name, count in found if count > MOST_POSITIONAL}
    assert not many - CALLED_BY_POSITION.keys(), "make the arguments after the third keyword-only"
    assert not CALLED_BY_POSITION.keys() - many, "these need no entry in CALLED_BY_POSITION any more"


def undescribed(node: ast.Module | ast.ClassDef, name: str, around: str = "") -> Iterator[str]:
    """The public functions that take or return a tensor without a word on its shape or dtype.

    A shape or dtype may stand in the docstring of the class or module, where it holds for all that is in there.
    """
    around += ast.get_docstring(node) or ""
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from undescribed(child, f"{name}.{child.name}", around)
        elif isinstance(child, ast.FunctionDef) and (child.name == "__call__" or not child.name.startswith("_")):
            arguments = [*child.args.posonlyargs, *child.args.args, *child.args.kwonlyargs]
            types = [each.annotation for each in arguments] + [child.returns]
            words = around + (ast.get_docstring(child) or "")
            tensors = any(ARRAY.search(ast.unparse(each)) for each in types if each is not None)
            if tensors and not (SHAPE.search(words) and DTYPE.search(words)):
                yield f"{name}.{child.name}"


def test_docstrings_of_tensors_give_their_shapes_and_dtypes() -> None:
    found: set[str] = set()
    for path in files():
        found |= set(undescribed(ast.parse(path.read_text(encoding="utf-8")), module_name(path)))
    assert not found - UNDESCRIBED, "say the shape and dtype of the tensors, as `float (N, K)`"
    assert not UNDESCRIBED - found, "these need no entry in UNDESCRIBED any more"


def test_the_rule_of_shapes_can_fail() -> None:
    source = '''
def whole(x: Tensor) -> Tensor:
    """Float (N, 3) to the same."""
def one(x: list[Tensor]) -> None:
    """A float scalar."""
def shapeless(x: Tensor) -> None:
    """A float that depends on (seed, epoch)."""
def typeless() -> npt.NDArray[Any]:
    """Shape (N,)."""
def silent(x: Tensor | None) -> None: ...
def other(x: int) -> int: ...
class One:
    """Takes int64 (N, length)."""
    def method(self, x: Tensor) -> None: ...
'''
    assert list(undescribed(ast.parse(source), "m")) == ["m.shapeless", "m.typeless", "m.silent"]


def test_the_rule_of_positional_arguments_can_fail() -> None:
    source = """
def three(a, b, c, *, d): ...
def four(a, b, c, d): ...
def _hidden(a, b, c, d): ...
class One(Function):
    def backward(ctx, a, b, c, d): ...
class Two:
    def __init__(self, a, b, c, d): ...
    def __call__(self, a, b, c, d): ...
    def forward(self, a, b, c, d): ...
    def three(self, a, b, c): ...
    @staticmethod
    def four(a, b, c, d): ...
@dataclass(frozen=True)
class Three:
    a: int
    b: ClassVar[int]
    _: KW_ONLY
    c: int
    d: int
@dataclass
class Four:
    a: int
    b: int
    c: int
    d: int
"""
    assert dict(positional(ast.parse(source), "m")) == {
        "m.three": 3,
        "m.four": 4,
        "m.Two": 4,
        "m.Two.three": 3,
        "m.Two.four": 4,
        "m.Three": 1,
        "m.Four": 4,
    }


def defined(file: Path) -> set[str]:
    """The names that a module defines or imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def test_benchmarks_import_names_that_are_there() -> None:
    for path in sorted(ROOT.glob("benchmarks/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ptapp"):
                file = source(str(node.module))
                assert file, f"{path.name}: there is no {node.module}"
                absent = {alias.name for alias in node.names} - defined(file)
                absent = {name for name in absent if not source(f"{node.module}.{name}")}
                assert not absent, f"{path.name}: {node.module} has no {', '.join(absent)}"


def test_no_page_holds_the_marks_of_an_unfinished_merge() -> None:
    pages = [path for place in ("*.md", "docs/*.md", "packages/**/*.md", "tests/**/*.md") for path in ROOT.glob(place)]
    assert len(pages) > 10
    for page in pages:
        lines = page.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if line.startswith(("<<<<<<< ", ">>>>>>> "))], page
