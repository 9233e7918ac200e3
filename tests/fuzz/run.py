"""Fuzz one of the doors, guided by the coverage of Python's code: ``python tests/fuzz/run.py DOOR [SECONDS] [FILE …]``.

Without SECONDS it goes on until something is found. With files it tries these instead, such as one that was found.
"""

from __future__ import annotations

import sys
import tempfile
import types
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path

import atheris
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.harnesses import HARNESSES, attempt

from litepred.drop_in.lazy import values

LONGEST = 20_000  # bytes of a file
WATCHED = ("litepred.", "yaml.", "safetensors.", "PIL.", "omegaconf.", "json.decoder", "json.scanner")
WATCHED += ("pickle", "zipfile", "ast", "starlette.", "python_multipart.", "h11.")


def main() -> None:
    name, *rest = sys.argv[1:]
    seconds = [one for one in rest if one.isdecimal()]
    files = [Path(one) for one in rest if not one.isdecimal()]
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        work, corpus = Path(folder), Path(folder, "corpus")
        for file in files:
            print(file, "is let in" if attempt(name, file.read_bytes(), work) else "is refused")
        if files:
            return
        corpus.mkdir()
        for number, seed in enumerate(HARNESSES[name].seeds()):
            if len(seed) <= LONGEST:
                (corpus / str(number)).write_bytes(seed)
        zipfile.ZipExtFile._update_crc = lambda *_: None  # type: ignore[attr-defined] # nobody guesses sums that fit
        # Large pictures and long configs are allowed, and slow.
        Image.MAX_IMAGE_PIXELS, values.MAX_COST = 1_000_000, 30_000
        for module_name, module in list(sys.modules.items()):
            if f"{module_name}.".startswith(WATCHED):
                instrument(vars(module).values(), module_name)
        limits = ["-rss_limit_mb=4000", "-timeout=30", f"-max_len={LONGEST}", f"-artifact_prefix=fuzz-{name}-"]
        limits += [f"-max_total_time={seconds[0]}"] if seconds else []
        atheris.Setup(
            [sys.argv[0], str(corpus), *limits, "-print_final_stats=1"], lambda data: attempt(name, data, work)
        )
        atheris.Fuzz()


def instrument(values: Iterable[object], module: str) -> None:
    """Let the fuzzer see which lines of a module's functions run."""
    for value in values:
        value = getattr(value, "__func__", getattr(value, "fget", value))
        if getattr(value, "__module__", None) != module:
            continue
        if isinstance(value, type):
            instrument(list(vars(value).values()), module)
        elif isinstance(value, types.FunctionType):
            atheris.instrument_func(value)


if __name__ == "__main__":
    main()
