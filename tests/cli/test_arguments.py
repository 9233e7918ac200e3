"""What may be typed, and in which order, is the same for every command."""

from __future__ import annotations

import argparse
from itertools import takewhile
from pathlib import Path
from unicodedata import normalize

import pytest

from litepred.cli import main
from litepred.cli.arguments import CommandParser, add, kind_advice
from litepred.cli.main import _COMMANDS

NAMES = {command.__name__.rpartition(".")[2]: command for command in _COMMANDS}


def parser_of(name: str) -> CommandParser:
    parser = CommandParser(prog=f"litepred {name}")
    NAMES[name].add_options(parser)
    return parser


@pytest.mark.parametrize("name", NAMES)
def test_an_option_takes_a_known_number_of_values_and_says_what_it_does(name):
    """So that no option takes the image that stands behind it."""
    for action in parser_of(name)._actions:
        assert action.help
        if action.option_strings:
            assert action.nargs in (None, 0, 2)


@pytest.mark.parametrize("name", NAMES)
def test_help_has_three_examples_that_can_be_typed_and_groups_of_options(name, capsys):
    with pytest.raises(SystemExit):
        main([name, "--help"])
    told = capsys.readouterr().out
    examples = told[told.index("\nexamples:") :].replace("\\\n", "").splitlines()
    typed = [line.split() for line in examples if line.startswith("  litepred ")]
    assert len(typed) >= 3
    for words in typed:
        assert words[1] in NAMES
        if words[1] not in ("run", "densepose"):
            given = [*takewhile(lambda word: word not in (">", "||"), words[2:])]
            parser_of(words[1])._options_first(given)  # which ends with status 2 where an option is unknown
    options = [action for action in parser_of(name)._actions if action.option_strings]
    if len(options) > 5:
        assert sum(line.startswith(("the ", "what ", "how ", "eight ", "limits")) for line in told.splitlines()) > 1


@pytest.mark.parametrize(
    ("typed", "images"),
    [
        ("", []),
        ("a.png", ["a.png"]),
        ("--tta", []),
        ("a.png --threshold 0.7 b.png --tta c.png", ["a.png", "b.png", "c.png"]),
        ("--threshold=0.7 a.png --tta b.png", ["a.png", "b.png"]),
        ("a.png --threshold 0.7 -- --tta b.png", ["a.png", "--tta", "b.png"]),
        ("-- a.png", ["a.png"]),
        ("- a.png", ["-", "a.png"]),
    ],
)
def test_options_stand_anywhere_between_images(typed, images):
    found = parser_of("predict").parse_args(typed.split())
    assert found.images == images
    assert found.threshold == (0.7 if "0.7" in typed else 0.5)
    assert found.tta == ("--tta" in typed.partition("-- ")[0])


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("--csv -x.csv a.png", "-x.csv"),
        ("--csv=-x.csv a.png", "-x.csv"),
        ("a.png --csv -hits.csv", "-hits.csv"),
        ("a.png --csv=--xs", "--xs"),
    ],
)
def test_a_value_that_begins_with_a_dash(typed, value):
    found = parser_of("predict").parse_args(typed.split())
    assert (str(found.csv), found.images) == (value, ["a.png"])


@pytest.mark.parametrize("typed", ["--", "--treshold", "--treshold=0.5", "-o", "--tta"])
def test_what_looks_like_an_option_is_no_value(typed, capsys):
    with pytest.raises(SystemExit):
        parser_of("predict").parse_args(["--csv", typed, "a.png"])
    assert "--csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "typed", "expected"),
    [
        ("export", "config.yaml --weights w.pth out.onnx", {"model": "config.yaml", "target": "out.onnx"}),
        ("export", "--check a.png --check b.png out.onnx", {"model": None, "check": ["a.png", "b.png"]}),
        ("export", "--size 60 80 out.onnx", {"size": [60, 80], "target": "out.onnx"}),
        ("convert", "--half a.pth --force b.pth", {"source": "a.pth", "target": "b.pth"}),
        ("benchmark", "--ways exact,float32 a.png", {"image": "a.png", "ways": ["exact", "float32"]}),
        ("benchmark", "a.png --runs 2", {"image": "a.png", "runs": 2}),
        ("zoo", "mask --json fpn", {"text": ["mask", "fpn"], "json": True}),
        ("compare", "a.yaml --iou 0.9 b.yaml c.png --json d.png", {"A": "a.yaml", "images": ["c.png", "d.png"]}),
        (
            "densepose",
            "show -vv a.yaml --min_score 0.5 b.pkl c.png dp_u --opts MODEL.DEVICE cpu",
            {"verbosity": 2, "cfg": "a.yaml", "visualizations": "dp_u", "opts": ["MODEL.DEVICE", "cpu"]},
        ),
        ("run", "--replace a.py --replace b", {"program": ["a.py", "--replace", "b"]}),
        ("run", "-m module --help", {"as_module": True, "program": ["module", "--help"]}),
    ],
)
def test_names_and_options_in_any_order(name, typed, expected):
    found = vars(parser_of(name).parse_args(typed.split()))
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("spec", "rest", "typed", "value"),
    [
        ("--flag", {}, ["--flag"], True),
        ("--flag", {}, [], False),
        ("--way a|b", {}, ["--way", "b"], "b"),
        ("--file FILE", {"type": Path}, ["--file", "x"], Path("x")),
        ("--file FILE", {"default": "y"}, [], "y"),
        ("names NAME", {"nargs": "*"}, [], []),
    ],
)
def test_a_line_declares_an_argument(spec, rest, typed, value):
    parser = argparse.ArgumentParser()
    action = add(parser, spec, "text", **rest)
    assert getattr(parser.parse_args(typed), action.dest) == value
    assert action.help == ("text; default: %(default)s" if "default" in rest else "text")


@pytest.mark.parametrize(
    ("name", "told"),
    [("", ""), ("a.png", ""), ("a.YAML", "--config"), ("b/m.pth", "--weights"), ("m.onnx", "--config")],
)
def test_where_a_file_belongs(name, told):
    assert kind_advice(name).endswith(told)
    assert bool(kind_advice(name)) == bool(told)


def test_without_a_command_the_help_is_shown(capsys):
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 0
    assert "litepred predict --help" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("benchmark", ["é.x"]),
        ("benchmark", ["--table", "é.x"]),
        ("convert", ["é.x", "out"]),
        ("convert", ["in", "é.x"]),
        ("predict", ["--output", "é.x", "--coco", "é.x", "--csv", "é.x", "--panoptic", "é.x", "--labels", "é.x"]),
        ("push", ["in", "hf://a/b", "--only-write", "é.x"]),
        ("export", ["model", "é.x"]),
        ("push", ["é.x", "hf://a/b"]),
        ("inspect", ["é.x"]),
        ("predict", ["é.x", "é.x"]),
        ("predict", ["--config", "é.x", "--weights", "é.x"]),
        ("export", ["é.x", "out.onnx", "--check", "é.x", "--calibrate", "é.x", "--annotations", "é.x"]),
        (
            "evaluate",
            [
                *("--images", "é.x", "--annotations", "é.x"),
                *("--panoptic-annotations", "é.x", "--panoptic-folder", "é.x"),
            ],
        ),
        ("densepose", ["dump", "a", "b", "é.x"]),
    ],
)
def test_names_of_files_are_those_on_the_disk(name, typed, form, tmp_path, monkeypatch):
    """However their accents are written: macOS writes others than people type."""
    monkeypatch.chdir(tmp_path)
    stored = normalize(form, "é.x")
    Path(stored).touch()
    given = vars(parser_of(name).parse_args([normalize("NFD" if form == "NFC" else "NFC", one) for one in typed]))
    values = [one for value in given.values() for one in (value if isinstance(value, list) else [value])]
    assert [*map(str, values)].count(stored) == typed.count("é.x")


@pytest.mark.parametrize(
    ("name", "option"),
    [
        *(("predict", f"--{option}") for option in ("output", "coco", "csv", "panoptic", "labels")),
        ("benchmark", "--table"),
        ("push", "--only-write"),
    ],
)
def test_nothing_is_written_to_standard_output(name, option, capsys):
    with pytest.raises(SystemExit):
        parser_of(name).parse_args([option, "-"])
    assert f"argument {option}: '-' came, but nothing is written to standard output" in capsys.readouterr().err
