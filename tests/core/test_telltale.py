"""A class that is marked by a property of its files gets a line, and no other does."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ptapp_core.data.telltale import telltale

SAMPLES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(samples=SAMPLES)
def test_a_value_that_one_class_alone_has_in_all_its_samples_is_said(samples: list[tuple[int, int]]) -> None:
    labels, values = [label for label, _ in samples], [value for _, value in samples]
    marked = []
    for label in sorted(set(labels)):
        own = [value for each, value in samples if each == label]
        others = [value for each, value in samples if each != label]
        if len(own) > 1 and others and set(own) == {own[0]} and own[0] not in others:
            marked.append((label, own[0]))
    line = telltale(labels, values, "abcd", what="a rate of {} Hz")
    if not marked:
        assert line is None
    else:
        assert line is not None
        assert line.startswith(
            f"class {'abcd'[marked[0][0]]!r} alone has a rate of {marked[0][1]} Hz, in all its files"
        )
        assert ("more in the same way" in line) == (len(marked) > 1)
        assert "\n" not in line
