"""Bring a model to the Hugging Face hub, with a model card.

The repository gets model.safetensors, one file with weights, config and class
names; config.yaml; and README.md, which says what the model is, names its
classes, and tells how to run it. Needs pip install 'litepred[hub]', and a token
that may write (hf auth login, or the variable HF_TOKEN).

IN is a checkpoint of any kind that litepred reads, or the name of a model of
the zoo, as for litepred convert.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import nullcontext
from pathlib import Path

from ..errors import LitepredError
from . import convert
from .arguments import CommandParser, add, target

__all__ = ["EPILOG", "add_options", "run"]

EPILOG = """\
examples:
  litepred push model_final.pth hf://me/invoices --config config.yaml
  litepred push model.safetensors hf://me/models/invoices --private
  litepred push model.safetensors hf://me/invoices --only-write invoices
  litepred predict photo.jpg --config hf://me/invoices"""


def add_options(parser: CommandParser) -> None:
    """Add the command's arguments to its parser."""
    written = convert.add_conversion(parser, "address ADDRESS", "hf://owner/repository[@revision][/folder]")
    add(written, "--license NAME", "of the weights, as the hub calls it, such as apache-2.0")
    add(written, "--private", "make the repository private, if it is made")
    add(written, "--message TEXT", "of the commit", default="Add a model")
    add(written, "--only-write DIR", "write the files into this folder to be looked at; push nothing", type=target)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    from ..hub.places import hub, parse

    parse(arguments.address)
    if arguments.only_write is None:
        hub()
    elif arguments.only_write.exists() and (not arguments.only_write.is_dir() or any(arguments.only_write.iterdir())):
        raise LitepredError(f"--only-write is {str(arguments.only_write)!r}, which is there: choose an empty folder")
    from ..hub.push import push, write_companions

    chosen = arguments.only_write
    with tempfile.TemporaryDirectory() if chosen is None else nullcontext(chosen) as place:
        folder = Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        convert.run(argparse.Namespace(**{**vars(arguments), "target": folder / "model.safetensors", "force": False}))
        write_companions(folder, arguments.address, arguments.license)
        if chosen is None:
            print(push(folder, arguments.address, private=arguments.private, message=arguments.message))
    return 0
