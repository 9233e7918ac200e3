"""Spell out the addresses of checkpoints, and download them into the cache folder.

A file of the cache is whole and checked, or absent. Processes that want the same file at once each download it to a
temporary file of their own, and the last one to finish replaces the others' file, which has the same bytes. That needs
no lock, which could outlive a crash or mean nothing on a network drive.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import ssl
import string
import sys
import time
from http.client import HTTPException, InvalidURL
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from .. import extensions
from ..errors import CheckpointError, WriteError
from ..files import cache_folder, read_rows, whole_file

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["cached_file", "download", "resolve_url"]

_OFFICIAL = "https://dl.fbaipublicfiles.com/"
_PREFIXES = {"detectron2": f"{_OFFICIAL}detectron2/", "http": "http://", "https": "https://"}
_CATALOG = dict(read_rows(Path(__file__).parent / "catalog.txt"))  # the end of an address by its short name
_SUFFIXES = (".pkl", ".pth", ".pt", ".pyth", ".safetensors")
_TIMEOUT_S = 30.0  # without a single byte
_TRIES = 4
_BACKOFF_S = 0.5  # before the second try, then twice as long each time
_CHUNK = 1 << 17
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # status codes of troubles that may have passed at the next try

# The hash in a name. After "_" it needs both a letter and a digit: iterations, dates and words are no hashes.
_HASH = re.compile(r"(?:model_final_|_(?=\d*[a-f])(?=[a-f]*\d))([0-9a-f]{6,})\.(?:pkl|pth|safetensors)$")
_WEB_PAGE = re.compile(rb"\s*<(!doctype|html|head|\?xml|!--)", re.IGNORECASE)
# Letters that Windows allows in no file's name, and the places in front of names that it takes for devices.
_UNFIT = re.compile(r'[\\:*?"<>|]|^(?=(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))', re.IGNORECASE)
_logger = logging.getLogger(__name__)


class _FailedError(Exception):
    """A download, or one try at it, failed."""

    def __init__(self, reason: str, *, retry: bool = False) -> None:
        super().__init__(reason)
        self.retry = retry


def resolve_url(url: str) -> str:
    """Spell out an address as configs give it, and return one that begins with http or https.

    Args:
        url: ``https://…``, ``http://…``, ``detectron2://…`` for a file that Detectron2 released,
            ``catalog://ImageNetPretrained/…`` or ``catalog://Caffe2Detectron/COCO/…``.

    Raises:
        CheckpointError: when the address begins in another way, or the catalog has no such entry.
    """
    scheme, _, rest = url.partition("://")
    if scheme.lower() == "catalog":
        if rest not in _CATALOG:
            raise CheckpointError(f"{url} is not known: expected catalog:// and one of {', '.join(_CATALOG)}")
        return f"{_OFFICIAL}detectron/{_CATALOG[rest]}"
    if scheme.lower() not in _PREFIXES or not rest:
        raise CheckpointError(
            f"{url!r} is no address to download from: expected https://, http://, detectron2:// or catalog://. "
            "A file on this machine is given by its plain path"
        )
    return quote(_PREFIXES[scheme.lower()] + rest, safe=string.punctuation)


def download(url: str) -> Path:
    """Return the local file of an address, downloading it first unless it is in the cache.

    The address is one that `resolve_url` takes, or of a kind that was announced (see `litepred.extensions`).

    The md5 of a file that is downloaded begins with the hash in its name, where there is one
    (``model_final_280758.pkl``). Files that are in the cache already, or in Detectron2's, are taken as they are.

    Raises:
        CheckpointError: when the address cannot be used or reached, the server does not answer with the whole file,
            what it answers is not weights, or the folder cannot be written.
    """
    if place := extensions.model_place(url):
        return Path(place.weights or place.config or "")
    address = resolve_url(url)
    target = cache_folder().absolute() / _place(address)
    cached = cached_file(url)
    if cached is not None:
        _logger.info("%s is cached in %s", address, cached)
        return cached
    _logger.info("Downloading %s to %s", address, target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target, durable=True) as file:
            _fetch(address, file, target.name)
            file.flush()
            _check(Path(file.name), target.name)
    except _FailedError as error:
        raise CheckpointError(
            f"{address} could not be downloaded: {error}. Check the network and the address, or get the file by other "
            f"means and put it at {target}"
        ) from error
    except OSError as error:  # of the disk: the network's are _FailedError by now
        if not os.path.isfile(target):  # Windows lets nobody replace what a faster process has put there and opened
            raise CheckpointError(
                f"{target} cannot be written ({error.__cause__ or error}): make room or set LITEPRED_CACHE to a folder "
                "that can be written"
            ) from error
    return target


def cached_file(url: str) -> Path | None:
    """Return the file that `download` would find for an address without the network, ``None`` where there is none.

    Raises:
        CheckpointError: when the address cannot be used.
    """
    address = resolve_url(url)
    files = (cache_folder().absolute() / _place(address), _detectron2_file(address))
    return next((file for file in files if os.path.isfile(file)), None)  # Path.is_file() raises where it may not look


def _place(address: str) -> Path:
    """Return where the cache has the file of an address: at its path, below the name of a host that is not official."""
    try:
        url = urlsplit(address)
    except ValueError as error:
        raise CheckpointError(f"{address!r} is not an address: {error}") from error
    if not url.netloc or url.path.endswith(("/", "/.", "/..")) or not url.path:
        raise CheckpointError(f"{address} names no file: expected an address such as https://host/folder/model.pth")
    names = url.path.split("/")
    if url.query and not names[-1].endswith(_SUFFIXES):  # …/get?id=12: the query is what tells such files apart
        names[-1] += f"-{hashlib.sha256(url.query.encode()).hexdigest()[:8]}"
    if not address.startswith(_OFFICIAL):  # elsewhere many files are called /model_final.pth
        names.insert(0, url.netloc)
    return Path(*(_UNFIT.sub("_", name) for name in names if name not in ("", ".", "..")))


def _detectron2_file(address: str) -> Path:
    """Return where Detectron2 caches an address: its path without the host, query included."""
    root = os.path.expanduser(os.environ.get("FVCORE_CACHE") or os.path.join("~", ".torch", "iopath_cache"))
    folder = [name for name in urlsplit(address).path.split("/")[:-1] if name not in ("", ".", "..")]
    return Path(root, *folder, address.rsplit("/", 1)[-1])


def _fetch(address: str, file: BinaryIO, name: str) -> None:
    """Fill an empty file; after a trouble that may pass, start again."""
    from tqdm import tqdm

    hidden = True if sys.stderr is None else None  # Windows programs without a console have none
    with tqdm(desc=name, unit="B", unit_scale=True, unit_divisor=1024, disable=hidden) as bar:
        for tries in range(1, _TRIES + 1):
            try:
                _receive(address, file, bar)
                return
            except _FailedError as error:
                if not error.retry or tries == _TRIES:
                    raise
                _logger.info("Trying %s again: %s", address, error)
                time.sleep(_BACKOFF_S * 2 ** (tries - 1))
                file.seek(0)
                file.truncate()


def _receive(address: str, file: BinaryIO, bar: tqdm[Any]) -> None:
    """Request a file once, and write what comes."""
    request = Request(address, headers={"User-Agent": "litepred", "Accept-Encoding": "identity"})
    try:
        with build_opener(_WebRedirects).open(request, timeout=_TIMEOUT_S) as response:
            size = response.length
            bar.reset(size)
            while chunk := response.read1(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    except WriteError:
        raise
    except HTTPError as error:
        error.close()
        raise _FailedError(f"the server answers {error.code} {error.reason}", retry=error.code in _PASSING) from error
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, TimeoutError):
            raise _FailedError(f"nothing came for {_TIMEOUT_S:g} seconds", retry=True) from error
        final = isinstance(reason, (ssl.SSLCertVerificationError, InvalidURL))
        passing = isinstance(reason, (OSError, HTTPException)) and not final
        raise _FailedError(str(reason) or type(reason).__name__, retry=passing) from error
    if size not in (None, file.tell()):
        raise _FailedError(f"the connection ended after {file.tell():,} of {size:,} bytes", retry=True)


class _WebRedirects(HTTPRedirectHandler):
    """Follows redirects, but only to http and https, and not from the second to the first."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme != "https"):
            raise _FailedError(f"the server redirects from {req.type} to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check(part: Path, name: str) -> None:
    """Refuse a file that does not hold weights, or that does not have the hash in its name."""
    with part.open("rb") as file:
        head = file.read(_CHUNK)
        if not head:
            raise _FailedError("the server answers with an empty file")
        if _WEB_PAGE.match(head):
            raise _FailedError("the server answers with a web page (sign-in, preview or error) instead of weights")
        named = _HASH.search(name)
        if not named:
            return
        md5 = hashlib.md5(head, usedforsecurity=False)
        while chunk := file.read(_CHUNK):
            md5.update(chunk)
    if not md5.hexdigest().startswith(named[1]):
        raise _FailedError(
            f"the md5 of what came is {md5.hexdigest()}, but the file's name says that it begins with {named[1]}. "
            "The file is damaged, or it is another file; it was deleted"
        )
