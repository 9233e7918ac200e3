"""Find a model in a repository of the Hugging Face hub, and bring its files into the hub's cache on this machine.

An address is ``hf://owner/repository[@revision][/path]``, and the path leads to a file or to a folder. What comes is
read by the readers of any other file.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import CheckpointError, LitepredError, package
from ..extensions import ModelPlace
from ..files import read_rows

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["Address", "from_hub", "from_layoutparser", "hub", "parse", "reason"]

_FORM = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>refs/(?:pr|convert)/[\w.-]+|[^/]+))?(?:/(?P<path>.*))?"
)
_CONFIGS = (".yaml", ".yml")
_WEIGHTS = (".safetensors", ".pth", ".pkl", ".pt", ".bin", ".onnx")
_ALONE = (".safetensors", ".onnx")  # what may hold a config, too
_USUAL = ("config.yaml", "config.yml", "model.safetensors", "model_final.pth", "model_final.pkl", "model.onnx")
_TIMEOUT_S = 10.0  # until the cache is asked
_LAYOUTPARSER = "layoutparser/detectron2"  # the repository with the weights of LayoutParser's catalogue
_LAYOUTPARSER_NAMES = {
    name: tuple(row.split(",")) for name, row in read_rows(Path(__file__).parent / "layoutparser.txt")
}


class Address(NamedTuple):
    """An address on the hub.

    Attributes:
        repo: owner and name of a repository.
        revision: a branch, tag or commit; ``None`` for its main branch.
        path: of a file or folder in it, empty for the whole.
    """

    repo: str
    revision: str | None
    path: str


def parse(address: str) -> Address:
    """Take an address apart.

    Raises:
        CheckpointError: it is not of the form ``hf://owner/repository[@revision][/path]``.
    """
    found = _FORM.fullmatch(address)
    path = found["path"].strip("/") if found and found["path"] else ""
    if not found or ".." in PurePosixPath(path).parts:
        raise CheckpointError(f"{address!r} is no address on the hub: expected hf://owner/repository[@revision][/path]")
    return Address(found["repo"], found["revision"], path)


def hub() -> HfApi:
    """Return the client of the hub, at ``HF_ENDPOINT`` if that is set, with the token of this machine's user.

    Raises:
        LitepredError: huggingface_hub is not installed.
    """
    client: HfApi = package("huggingface_hub", "the hub", "'litepred[hub]'").HfApi(
        endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="litepred"
    )
    return client


def reason(error: Exception) -> str:
    """Say in a sentence why the hub did not do what was asked."""
    from huggingface_hub import errors

    known: tuple[tuple[type[Exception], str], ...] = (
        (errors.GatedRepoError, "its owner gives it only to those who asked for it: ask on its page, and log in"),
        (
            errors.RepositoryNotFoundError,
            "there is no such repository for you: check its name, and if it is private, log in (hf auth login, or the "
            "variable HF_TOKEN)",
        ),
        (errors.RevisionNotFoundError, "it has no such revision"),
    )
    told = next((text for kind, text in known if isinstance(error, kind)), None)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return told or (lines[0] if lines else type(error).__name__)


def from_hub(address: str) -> ModelPlace:
    """Return the local files of the model at an address, which are downloaded unless they are in the hub's cache.

    A folder has a config and weights, or a file with both in it; where it has several, the usual names are taken. The
    class names of LayoutParser's models are known.

    Raises:
        CheckpointError: the address has another form, the hub cannot be reached and its cache lacks the files, or no
            model is there, or more than one.
        LitepredError: huggingface_hub is not installed.
    """
    repo, revision, path = parse(address)
    api = hub()
    try:
        names, away = _names(api, repo, revision)
        try:
            chosen = _choose(address, path, names)
        except CheckpointError as error:
            if away is None or isinstance(error, _SeveralFilesError):
                raise
            has = ", ".join(names[:20]) or "nothing"
            raise CheckpointError(f"{address} cannot be had: {reason(away)}; of it the cache has {has}") from away
        cached = away is not None
        local = [
            name and api.hf_hub_download(repo, name, revision=revision, local_files_only=cached) for name in chosen
        ]
    except LitepredError:
        raise
    except Exception as error:  # of the hub's package, of the network, of the disk
        raise CheckpointError(f"{address} cannot be had: {reason(error)}") from error
    known = _LAYOUTPARSER_NAMES.get(path) if repo == _LAYOUTPARSER else None
    return ModelPlace(local[0], local[1], known)


def from_layoutparser(address: str) -> ModelPlace:
    """Return the local files of a model of LayoutParser's catalogue, as ``lp://PubLayNet/…/config`` names it.

    Raises:
        CheckpointError: the catalogue has no such model, or `from_hub` cannot get it.
    """
    name = re.sub(r"^lp://(detectron2/)?|/(config|weight)$", "", address)
    if name not in _LAYOUTPARSER_NAMES:
        near = difflib.get_close_matches(name, _LAYOUTPARSER_NAMES, n=1, cutoff=0.0)
        raise CheckpointError(
            f"LayoutParser's catalogue of Detectron2's models has no {name!r}: did you mean lp://{near[0]}/config? "
            f"It has {', '.join(_LAYOUTPARSER_NAMES)}"
        )
    return from_hub(f"hf://{_LAYOUTPARSER}/{name}")


def _names(api: HfApi, repo: str, revision: str | None) -> tuple[list[str], Exception | None]:
    """Return the paths of a repository's files; where the hub is busy or out of reach, of those cached, and why."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        found = api.model_info(repo, revision=revision, timeout=_TIMEOUT_S)
        return sorted(one.rfilename for one in found.siblings or ()), None
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", 408)
        if isinstance(error, HfHubHTTPError) and status < 500 and status not in (408, 429):  # it says no
            raise
        try:
            folder: Any = Path(api.snapshot_download(repo, revision=revision, local_files_only=True))
        except Exception as missing:  # a part of the repository's files may do
            if (part := getattr(missing, "snapshot_path", None)) is None:
                raise error from None
            folder = Path(part)
        return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()), error


def _choose(address: str, path: str, names: list[str]) -> tuple[str | None, str | None]:
    """Return which of a repository's files are the config and the weights."""
    if path in names:
        suffix = PurePosixPath(path).suffix.lower()
        if suffix not in _CONFIGS:
            return (path, None) if suffix in _ALONE else (None, path)
        folder, config = path.rpartition("/")[0], path
    else:
        folder, config = path, ""
    beside = [name for name in names if name.rpartition("/")[0] == folder]
    if not beside:
        near = difflib.get_close_matches(path, [*names, *{name.rpartition("/")[0] for name in names}], n=1)
        hint = f", did you mean {near[0]}?" if near else f", it has {', '.join(names[:20])}"
        raise CheckpointError(f"{address}: the repository has no file or folder {path!r}{hint}")
    weights = _one(address, "checkpoints", beside, _WEIGHTS)
    if not weights:
        raise CheckpointError(f"{address} has no weights beside its files {', '.join(beside[:20])}: name their folder")
    suffix = PurePosixPath(weights).suffix.lower()
    config = "" if suffix == ".onnx" else config or _one(address, "configs", beside, _CONFIGS)  # it has its own
    return (weights, None) if not config and suffix in _ALONE else (config or None, weights)


class _SeveralFilesError(CheckpointError):
    """Files are there, and none of them is the usual one."""


def _one(address: str, what: str, names: list[str], suffixes: tuple[str, ...]) -> str:
    found = [name for name in names if PurePosixPath(name).suffix.lower() in suffixes]
    usual = [name for usual in _USUAL for name in found if PurePosixPath(name).name == usual]
    if len(found) > 1 and not usual:
        told = f"{address} has several {what}, {', '.join(found)}"
        raise _SeveralFilesError(f"{told}: add the path of one to the address")
    return (usual or found or [""])[0]
