"""Nested mappings by dotted keys."""

import pytest

from litepred.config.trees import dotted_items, merged_mappings, nested
from litepred.errors import ConfigError


@pytest.mark.parametrize(
    ("tree", "items"),
    [
        ({}, []),
        ({"A": {}}, [("A", {})]),
        ({"A": {"B": 1, 2: "x"}, "C": [3]}, [("A.B", 1), ("A.2", "x"), ("A", {"B": 1, 2: "x"}), ("C", [3])]),
    ],
)
def test_dotted_items(tree, items):
    assert list(dotted_items(tree)) == items


@pytest.mark.parametrize(
    ("items", "tree"),
    [
        ([], {}),
        ([("A", {}), ("A.B.C", 1), ("A.D", 2)], {"A": {"B": {"C": 1}, "D": 2}}),
        ([("A.B", 1), ("A.B", 2)], {"A": {"B": 2}}),
        ([("A.B", 1), ("A", 2)], {"A": 2}),
    ],
)
def test_nested(items, tree):
    assert nested(items, "t") == tree


def test_a_value_is_no_section():
    with pytest.raises(ConfigError, match="t: 'A' is a section here, but was set to 1 before"):
        nested([("A", 1), ("A.B", 2)], "t")


def test_merged_mappings_do_not_share_an_aliased_section():
    section = {"k": 1}
    merged = merged_mappings({}, {"A": section, "B": section}, "t")
    merged["A"]["k"] = 2
    assert merged == {"A": {"k": 2}, "B": {"k": 1}}
    assert section == {"k": 1}
