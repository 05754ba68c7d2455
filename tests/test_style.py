"""The style rules of CONTRIBUTING.md that a program can check, read from the source."""

import ast
import re
from collections.abc import Iterator

from import_graph import files, module_name

# A tuple with an axis of one letter or number, with "...", with a single axis, or behind a dtype; or these words.
_AXIS = r"(?:[A-Za-z]|\d+)(?: [*+/-] \w+)*"
SHAPE = re.compile(
    rf"\(\)|\([^()]*\.\.\.[^()]*\)|\([^()\s]+,\)|\((?=[^()]*,)(?:[^(),]*, )*{_AXIS}(?:,[^()]*)?\)"
    r"|\b(?:int\d*|uint8|float\d*|bool) \([^()]*,[^()]*\)|\b[Ss]calars?\b|\b[Ss]hapes?\b"
)
DTYPE = re.compile(r"\b(?:u?int(?:8|16|32|64)?|float(?:16|32|64)?s?|bool|dtypes?|types?)\b", re.IGNORECASE)
ARRAY = re.compile(r"\bTensor\b|\bNDArray\b|\bArrayLike\b")


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
    assert not found, "say the shape and dtype of the tensors, as `float (N, K)`"


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
