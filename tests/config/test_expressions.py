"""Expressions of configs: lists of numbers, computed without running anything."""

import pytest

from litepred.config.expressions import numbers_of


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("[]", []),
        ("[1, 2.5, -3]", [1, 2.5, -3]),
        ("[int(x * 0.1 * 512) for x in range(5, 21)]", [int(x * 0.1 * 512) for x in range(5, 21)]),
        (
            "[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]",
            [[x, x * 2 ** (1.0 / 3), x * 2 ** (2.0 / 3)] for x in [32, 64, 128, 256, 512]],
        ),
        ("[round(x / 3) + float(1) - 7 // 2 for x in (1, 2)]", [-2.0, -1.0]),
    ],
)
def test_lists(text, numbers):
    assert numbers_of(text, iter(range(400))) == numbers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "[",
        "['a']",
        "[x]",
        "[True for x in open('f')]",
        "[__import__('os')]",
        "[().__class__]",
        "[x for x in range(10**9)]",
        "[9**9**9]",
        "[[0 for y in range(999)] * 99]",
        "[[[1 for a in range(1000)] for b in range(1000)] for c in range(1000)]",
        "[[[b for c in range(999)] for b in [[a for d in range(999)]]] for a in [[1 for e in range(999)]]]",
        "[x for x in [1] if x]",
        "[x for x in range(1e3)]",
        "[int(x, 2) for x in [1]]",
        "[" + "(" * 900,
        "[1 / 0]",
    ],
)
def test_everything_else_is_refused(text):
    with pytest.raises(ValueError, match="is no list of numbers"):
        numbers_of(text, iter(range(50_000)))
