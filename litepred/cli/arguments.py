"""How commands declare what may be typed, and how mistakes in typing are answered."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

from ..files import as_stored

__all__ = ["LISTS", "CommandParser", "add", "add_old_name", "kind_advice", "positive", "score", "target"]

# What other programs call a command, and what it is here.
_COMMANDS = (
    ("detect|infer(ence)?|demo|segment|image|visuali[sz]e|predictions?", "did you mean predict?"),
    ("list|models|model_zoo|ls|names", "did you mean zoo?"),
    ("info|show|summary|scan|keys|check", "did you mean inspect, or doctor?"),
    ("env|collect_env|status|diagnose", "did you mean doctor?"),
    ("test|val|coco|ap", "did you mean evaluate?"),
    ("diff|cmp", "did you mean compare?"),
    ("speed|time|profile", "did you mean benchmark?"),
    ("download|fetch|pull", "predict --config NAME downloads a model by itself, and zoo has the names"),
    ("train|fit|finetune", "models are only run here: train with Detectron2"),
    ("version", "did you mean --version?"),
    ("help", "did you mean --help?"),
)
# What other programs call an option, what it is here, and what the command must take for that.
_OPTIONS = (
    (
        "i|s|img|images?|input|source|files?|path|video|video-input|webcam|camera",
        "images, videos and camera:0 come without an option, as in photo.jpg",
        "IMAGE",
    ),
    ("cfg|config-?file|yaml", "did you mean --config?", "--config"),
    ("conf|conf-?thres.*|confidence.*|score.*|min-score|t", "did you mean --threshold?", "--threshold"),
    ("gpus?|cuda|cuda-device", "did you mean --device cuda?", "--device"),
    ("no-?gpu|no-?cuda|cpu", "did you mean --device cpu?", "--device"),
    ("half|fp16|bf16|amp", "did you mean --precision bfloat16?", "--precision"),
    ("checkpoint|ckpt|model|model-weights|resume|w", "did you mean --weights?", "--weights"),
    ("o|out.*|save-dir|project|save|dest", "did you mean --output?", "--output"),
    ("save-?txt|save-?conf|yolo|labelme|cvat|geojson|label-?studio", "did you mean --format?", "--format"),
    ("labels?-?names|names|categories", "did you mean --class-names?", "--class-names"),
    (
        "opts?|cfg-options|set|imgsz|img-size|size|iou.*|nms.*",
        "settings stand in the config: write those that differ into a YAML file, below '_BASE_: config.yaml'",
        "--config",
    ),
    ("to|format|type", "the ending of OUT tells the format", "OUT"),
    ("l|list|all", "without a TEXT, all models are listed", "TEXT"),
)
_KINDS = {  # what is no image, by its ending
    (".yaml", ".yml"): "a config is given as --config",
    (".pth", ".pkl", ".pt", ".ckpt"): "a checkpoint is given as --weights",
    (".safetensors", ".onnx"): "a model is given as --config",
    (".json", ".csv"): "results are written by options that take a name, such as --coco FILE and --csv FILE",
    (".py",): "a program is run by litepred run",
}

LISTS = ("--ways", "--classes", "--class-names", "--format")  # options that take several values
# What --help calls the name of something on the disk.
_PATHS = ("DIR", "FILE", "IMAGE", "IN", "MODEL", "OUT", "OUT.onnx", "YAML")


def kind_advice(name: str) -> str:
    """Say where the name of a file belongs that is no image's, by its ending; empty where that says nothing."""
    suffix = os.path.splitext(name)[1].lower()
    return next((advice for endings, advice in _KINDS.items() if suffix in endings), "")


_DASHED_VALUE = r"-(?!(-?|[a-zA-Z]|-[a-z][a-z-]*)(=|$))"  # such as -x.csv; what looks like an option is none


class CommandParser(argparse.ArgumentParser):
    """The parser of a command, for options that each take one value, or a known number of them.

    Options may stand anywhere between images. An unknown one is answered with the command's usage and what is near.
    """

    def __init__(self, **options: Any) -> None:
        if "\n" in f"{options.get('description')}{options.get('epilog')}":  # line ends that argparse would undo
            options["formatter_class"] = argparse.RawDescriptionHelpFormatter
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Read the arguments, and end with an error where some are left over, instead of leaving them to `main`."""
        args = self._options_first(list(sys.argv[1:] if args is None else args))
        found, left = super().parse_known_args(args, namespace)
        if left:
            names = " ".join(str(one.metavar or one.dest) for one in self._get_positional_actions())
            taken = [kind_advice(one) for one in args]
            advice = next((one for one in taken if one and one.split()[-1] in self._option_string_actions), "")
            if lists := [one for one in args if one in self._option_string_actions and one in LISTS]:
                advice = f"what {lists[0]} takes has commas between, as in a,b"
            self.error(f"{left[0]!r} is one too many: expected {names or 'no names'}{advice and '; '}{advice}")
        return found, []

    def _options_first(self, args: list[str]) -> list[str]:
        """Sort what is typed: options and their values before names, which argparse does not take in several places."""
        actions = self._option_string_actions
        nested = any(one.nargs in (argparse.PARSER, argparse.REMAINDER) for one in self._get_positional_actions())
        options: list[str] = []
        names: list[str] = []
        while args and args[0] != "--":
            text = args[0].partition("=")[0]
            if text in ("", "-") or text[0] != "-" or re.fullmatch(r"-\d+|-\d*\.\d+", text):
                if nested:
                    break
                names.append(args.pop(0))
                continue
            action = actions.get(text) or (actions.get(text[:2]) if text[1] != "-" else None)
            if action is None:
                self.error(f"unrecognized arguments: {text}{self._advice(text)}")
            if action.nargs == argparse.REMAINDER:
                break
            taken = 0 if "=" in args[0] else 1 if action.nargs is None else int(action.nargs)
            if taken >= len(args):
                self.error(f"argument {text}: expected one argument")
            if taken == 1 and text.startswith("--") and re.match(_DASHED_VALUE, args[1]):
                args[:2], taken = [f"{text}={args[1]}"], 0  # argparse takes no value that begins with a dash
            options += args[: 1 + taken]
            del args[: 1 + taken]
        return [*options, *names, *args]

    def _advice(self, given: str) -> str:
        """Return what to type instead of an unknown option, after a comma or a semicolon."""
        actions = self._option_string_actions
        known = [name for name in actions if actions[name].help is not argparse.SUPPRESS]
        takes = (*known, *(str(one.metavar) for one in self._get_positional_actions()))
        for pattern, advice, needed in _OPTIONS:
            if re.fullmatch(f"--?({pattern})", given) and any(one.startswith(needed) for one in takes):
                return f"{',' if advice.startswith('did') else ';'} {advice}"
        if os.path.exists(given):
            return f"; a file of that name comes as ./{given}, or behind --"
        near = difflib.get_close_matches(given, known, n=1)
        if len(given) == 2:  # a letter, for which other programs have -o
            near = near or [name for name in known if name.startswith(f"-{given}")]
        if near:
            return f", did you mean {' or '.join(near)}?"
        return f"; the options are {', '.join(known)}" if len(known) <= 9 else "; --help lists the options"

    def format_usage(self) -> str:
        """Return the usage that stands above an error: names and what must be given, without the other options."""
        if self.usage or self._subparsers:
            return super().format_usage()
        formatter = self._get_formatter()
        formatter._prog = f"{self.prog} [OPTIONS]"
        needed = [one for one in self._actions if one.required or not one.option_strings]
        formatter.add_usage(None, needed, [])
        return formatter.format_help()

    def error(self, message: str) -> NoReturn:
        """Print the usage and what is wrong, and leave with status 2."""
        if match := re.match(r"argument (\S+).*: expected (?:one|(\d+)) arguments?", message):
            option = match[1].partition("/")[0]
            action = self._option_string_actions.get(option)
            value = action.metavar if action and action.metavar else option.lstrip("-").upper()
            message = f"{option} has no value: expected {option} " + (
                " ".join(value) if isinstance(value, tuple) else str(value)
            )
        elif match := re.match(r"argument (\S+): ignored explicit argument (.*)", message):
            message = f"{match[1]} takes no value, but {match[2]} came"
        super().error(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Name the nearest command for a wrong one; what is an image goes to predict."""
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            near = difflib.get_close_matches(value, action.choices, n=1)
            advice = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(action.choices)}"
            if "predict" in action.choices:
                advice = next((told for known, told in _COMMANDS if re.fullmatch(known, value)), advice)
                if os.path.exists(value):
                    advice = f"did you mean litepred predict {value}?"
            self.error(f"{value!r} is no {str(action.metavar).lower()}: {advice}")
        super()._check_value(action, value)


def add(to: argparse._ActionsContainer, spec: str, text: str, **rest: Any) -> argparse.Action:
    """Declare an argument.

    Args:
        to: the command's parser, or a group of it.
        spec: its name and what ``--help`` calls its value, such as ``--coco FILE``; the values that it may have, as in
            ``--engine torch|openvino``; an option's name alone is a switch.
        text: what ``--help`` says, without the default, which follows if there is one in ``rest``.
        rest: as argparse takes it.
    """
    name, _, value = spec.partition(" ")
    if "|" in value:
        rest["choices"] = value.split("|")
    elif value:
        rest.setdefault("metavar", value)
        if value in _PATHS:
            rest.setdefault("type", as_stored)
    elif name.startswith("-"):
        rest.setdefault("action", "store_true")
    if rest.get("nargs") == "*":
        rest["default"] = []
    elif rest.get("default") and "default: " not in text:
        text += "; default: %(default)s"
    return to.add_argument(name, help=text, **rest)


def add_old_name(to: argparse._ActionsContainer, old: str, new: argparse.Action) -> None:
    """Let an option's former name go on working for one release, with a warning."""

    class Renamed(argparse.Action):
        def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
            told = f"{old} is called {new.option_strings[0]} now, and the old name goes with the next release"
            print(f"litepred: warning: {told}", file=sys.stderr)
            new(parser, namespace, values, option_string)

    kept: dict[str, Any] = {"nargs": new.nargs, "type": new.type, "choices": new.choices, "dest": new.dest}
    to.add_argument(old, action=Renamed, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **kept)


def positive(text: str) -> int:
    """Read a whole number above 0 from the command line."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} came: expected a whole number, 1 or more")
    return value


def score(text: str) -> float:
    """Read a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a score: expected a number from 0 to 1")
    return value


def target(text: str) -> Path:
    """Read the path of a file or folder to write."""
    if text == "-":
        raise argparse.ArgumentTypeError("'-' came, but nothing is written to standard output: expected a name")
    return Path(as_stored(text))
