"""Write whole files or none, and over no file that is read; tell addresses and cameras from paths; read tables.

Nothing heavy is imported, so that a command tells a wrong name at once.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import re
import sys
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from unicodedata import normalize

from .errors import CheckpointError, LitepredError, WriteError, wording

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = [
    "MJPEG_SUFFIXES",
    "VIDEO_SUFFIXES",
    "address_advice",
    "as_stored",
    "cache_folder",
    "camera_number",
    "check_targets",
    "check_writable",
    "is_address",
    "is_stream_address",
    "is_video_address",
    "make_folder",
    "naming",
    "own_name",
    "read_rows",
    "whole_file",
    "without_password",
]

_SUFFIXES = ".mp4 .avi .mov .mkv .webm .m4v .mpg .mpeg .wmv .flv .ts .3gp .asf"
MJPEG_SUFFIXES = (".mjpg", ".mjpeg")  # of JPEGs one after another, so that the content is that of an image
VIDEO_SUFFIXES = (*_SUFFIXES.split(), *MJPEG_SUFFIXES)
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9_+.-]+://")  # C:// is a drive of Windows
_STREAM = re.compile(r"(rtsps?|rtmp[ste]*|udp|rtp|tcp|srt|mms[ht]?|https?)://", re.IGNORECASE)
_CAMERA = re.compile(r"(?:camera:|/dev/video)(\d{1,3})")
_STREAM_SUFFIXES = (*VIDEO_SUFFIXES, ".m3u8", ".mpd", ".cgi", "")  # of cameras many have none


def is_address(name: str) -> bool:
    """Tell an address, such as ``https://host/model.pth``, from a path."""
    return _ADDRESS.match(name) is not None


def is_stream_address(source: Any) -> bool:
    """Tell the address of what may be a video from everything else."""
    return isinstance(source, str) and _STREAM.match(source) is not None


def is_video_address(source: Any) -> bool:
    """Tell the address of a stream, or of a file whose name is a video's or has no ending, from other names."""
    if not is_stream_address(source):
        return False
    path = re.split("[?#]", source.lower())[0].partition("://")[2].partition("/")[2]
    return not source.lower().startswith("http") or os.path.splitext(path)[1] in _STREAM_SUFFIXES


def without_password(address: str) -> str:
    """Return an address without the user and the password that stand before its host."""
    return re.sub(r"(?<=://)[^/]*@", "", address)


def camera_number(source: Any) -> int | None:
    """Return the number of the camera that ``camera:0``, ``/dev/video0`` or an int means, ``None`` for all else."""
    if isinstance(source, Integral) and not isinstance(source, bool):
        return int(source)
    match = _CAMERA.fullmatch(str(source)) if isinstance(source, (str, os.PathLike)) else None
    return int(match[1]) if match else None


def as_stored(path: str) -> str:
    """Return a path in the Unicode forms in which the disk has its names: macOS writes others than people type.

    What follows the last folder that is there stays as it is.
    """
    if os.path.exists(path) or not isinstance(path, str):
        return path
    found = ""
    slashes = "/\\" if os.name == "nt" else "/"
    parts = re.findall(rf"[^{re.escape(slashes)}]*[{re.escape(slashes)}]*", path)
    for i, part in enumerate(parts):
        if not os.path.exists(found + part):
            name = part.rstrip(slashes)
            try:
                names = os.listdir(found or ".")
            except (OSError, ValueError):  # the second of names with a zero in them
                names = []
            stored = next((one for one in names if normalize("NFC", one) == normalize("NFC", name)), "")
            if not stored:
                return found + "".join(parts[i:])
            part = stored + part[len(name) :]
        found += part
    return found


def cache_folder() -> Path:
    """Return the folder that downloads and measurements go to: ``$LITEPRED_CACHE``, else the platform's own place.

    Raises:
        CheckpointError: it is below the home folder, and that is not known.
    """
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    if chosen := os.environ.get("LITEPRED_CACHE"):
        folder = Path(chosen)
    elif sys.platform == "darwin":
        folder = Path("~/Library/Caches/litepred")
    elif sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA") or "~/AppData/Local", "litepred", "Cache")
    else:
        folder = Path(xdg if os.path.isabs(xdg) else "~/.cache", "litepred")
    try:
        return folder.expanduser()
    except RuntimeError as error:
        raise CheckpointError(
            f"there is no folder for downloads ({error}): set LITEPRED_CACHE to one that can be written"
        ) from error


def address_advice(name: str) -> str:
    """Say what to do about an address in the place of a file; nothing where a name is none."""
    if is_video_address(name):
        advice = wording("give it to predictor.stream", "give it to litepred predict")
        if name.lower().startswith("http"):
            advice += ", or download it first if it is an image"
        return f"streams are no images, {advice}"
    if name == "-":
        return "standard input is not read, write the image to a file first"
    if name.lower().startswith("file://"):
        return "addresses are not opened, give its path"
    return "addresses are not opened, download the file first" if is_address(name) else ""


def read_rows(path: Path) -> list[list[str]]:
    """Read a table of the package: a row in each line, with two spaces between its fields."""
    return [line.split("  ") for line in path.read_text(encoding="utf-8").splitlines()]


def own_name(name: str, uses: Counter[str]) -> str:
    """Return ``name``, or where one before it has that already, ``name-2``, ``name-3`` and so on.

    Names that differ in case, or in how their accents are written, are one to the file systems of Windows and macOS.
    ``uses`` counts the names so far.
    """
    free = name
    while uses[_one_spelling(free)]:
        uses[_one_spelling(name)] += 1
        free = f"{name}-{uses[_one_spelling(name)]}"
    uses[_one_spelling(free)] += 1
    return free


def _one_spelling(name: str) -> str:
    return normalize("NFC", name).casefold()


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder, and those above it, unless it is there.

    Raises:
        WriteError: it cannot be made.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise WriteError(f"cannot make the folder {os.fspath(path)!r}: {error.strerror or error}") from error
    return Path(path)


def check_targets(sources: Iterable[str | os.PathLike[str]], targets: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse to write over a file that is read, or twice to one file, whatever they are called.

    A target's folder need not exist yet.

    Raises:
        LitepredError: a target is the same file as a source, or as another target.
    """
    real_path = functools.cache(os.path.realpath)

    def place(path: str | os.PathLike[str]) -> tuple[object, object]:
        """Return the same value for all names of a file, such as IMG.PNG and IMG.png on a Mac's usual disk."""
        status = os.stat(path) if os.path.exists(path) else None
        if status is not None and status.st_ino:  # which is 0 on network drives that do not number their files
            return status.st_dev, status.st_ino
        folder, name = os.path.split(path)
        return real_path(folder), name

    read, written = {place(source) for source in sources}, set()
    for target in targets:
        where = place(target)
        if where in read:
            raise LitepredError(f"{str(target)!r} is both read and written: choose another name or folder to write to")
        if where in written:
            raise LitepredError(f"{str(target)!r} is to be written twice: give each option a file or folder of its own")
        written.add(where)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Check, before the work of making a file, that `whole_file` could write it.

    Raises:
        WriteError: it could not.
    """
    with _begun(Path(path)) as file:
        pass
    with suppress(OSError):  # as in `whole_file`
        os.unlink(file.name)


@contextmanager
def whole_file(path: str | os.PathLike[str], *, durable: bool = False) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` for writing bytes, and rename it to ``path`` when the block ends.

    When the block raises, or is interrupted, the temporary file is deleted and ``path`` stays as it was. The block may
    close the file early, so that another library opens it by its ``name``. That name ends like ``path``, and it is
    short, so that there is room for it wherever there is room for ``path``.

    Args:
        path: of the file.
        durable: wait until the disk has the bytes before renaming, so that ``path`` is whole even after a power cut.

    Raises:
        WriteError: the file cannot be written, or ``path`` exists and is not a regular file. Other errors of the block
            pass unchanged.
    """
    target = Path(path)
    raw = _begun(target)
    file = io.BufferedWriter(raw)
    try:
        yield file
        with naming(target):
            if not file.closed:
                file.flush()
                if durable:
                    os.fsync(raw.descriptor)
                file.close()
            os.replace(raw.name, target)
    finally:
        with suppress(OSError):  # that the buffer cannot be written has been told, or no longer matters
            file.close()
        with suppress(OSError):  # such as that of Windows while another program looks into the file
            os.unlink(raw.name)


def _begun(target: Path) -> _TemporaryFile:
    with naming(target):
        if os.path.exists(target) and not os.path.isfile(target):  # told before the work instead of after it
            code, kind = (errno.EISDIR, "a folder") if os.path.isdir(target) else (errno.EINVAL, "not a regular file")
            raise OSError(code, f"it is {kind}")
        return _TemporaryFile(target)


class _TemporaryFile(io.FileIO):
    """A new file that is to become ``target``, and whose errors name that."""

    def __init__(self, target: Path) -> None:
        self._target = target
        super().__init__(str(target.with_name(f".{uuid.uuid4().hex[:8]}.tmp{target.suffix}")), "x")
        self.descriptor = super().fileno()

    def write(self, content: ReadableBuffer) -> int:
        with naming(self._target):
            return super().write(content)

    def fileno(self) -> int:
        raise io.UnsupportedOperation("Pillow would write to the descriptor, past `write`")


@contextmanager
def naming(target: Path) -> Iterator[None]:
    """Let errors of the operating system within the block name the file that is to become ``target``."""
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        reason = error.strerror or error
        if not os.path.isdir(target.parent) and error.errno != errno.EACCES:
            reason = f"there is no folder {str(target.parent)!r}, make it first"
        raise WriteError(f"cannot write {str(target)!r}: {reason}") from error
