"""Choose between two ways of computing the same layer by trying both on this machine.

Which way is faster cannot be read off a processor's list of instructions. So each kind of layer is tried once, for some
tenths of a second, when the first model that has such a layer is made fast. What was measured is kept in the cache
folder, under the processor, the number of threads and the version of torch, so that later processes choose the same.
Where other programs took much of the processor meanwhile, the next processes try again, and the least times count.

``LITEPRED_CHOICES`` decides without measuring: ``usual`` for torch's own way everywhere, or a list of kinds such as
``winograd=yes,linear=no,bfloat16=yes``, in which a kind that is left out is measured. `pin` does the same in a program.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import platform
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from .errors import ConfigError, LitepredError
from .files import cache_folder, whole_file

__all__ = ["Timing", "choices", "filled", "is_faster", "pin", "processor"]

_VARIABLE = "LITEPRED_CHOICES"
# How many times as fast the other way has to be: 3×3 convolutions by Winograd's transform, matrix products as
# convolutions of 1×1, and bfloat16, which loses digits, for precision="auto".
_LEAST_GAIN = {"winograd": 1.15, "linear": 1.2, "bfloat16": 1.25}
_ROUNDS, _LEAST_ROUNDS, _PATIENCE_MS = 7, 2, 300
_FREE_SHARE = 0.8  # of its threads' time that a process has on a processor which no other program disturbs
_WAYS = 3  # raised where a way computes otherwise than before, so that it is tried anew
_BUSY_TRIES = 5  # how many processes try a layer anew, where each of them was disturbed
_INSTRUCTIONS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
# What /proc/cpuinfo says on x86 and ARM that stays the same, unlike the clock rate.
_ARM = "implementer|architecture|variant|part|revision"
_LASTING = re.compile(rf"(?im)^(?:vendor_id|model|model name|stepping|flags|features|cpu (?:family|{_ARM}))\s*:.*$")
_Layer = TypeVar("_Layer", bound=torch.nn.Module)
_lock = threading.RLock()
_measured: dict[tuple[str, str], Timing] = {}  # by the name of the file in the cache, and the layer
_pinned: dict[str, bool] | None = None


class Timing(NamedTuple):
    """How long the two ways of computing a layer took, and which is taken.

    Attributes:
        usual_ms: how long torch's own way took, in milliseconds: the least of several tries.
        other_ms: how long the other way took.
        taken: whether the other way is taken: it gains more than it costs in digits.
        busy_tries: how many processes have tried it while other programs took much of the processor; 0 once it was
            tried without such a disturbance.
    """

    usual_ms: float
    other_ms: float
    taken: bool
    busy_tries: int = 0

    @property
    def is_settled(self) -> bool:
        """Whether later processes take this as it is, instead of trying again."""
        return not 0 < self.busy_tries < _BUSY_TRIES


def is_faster(kind: str, layer: str, make: Callable[[], tuple[Callable[[], Any], Callable[[], Any]]]) -> bool:
    """Decide whether to compute a layer in the other way than torch's own.

    Args:
        kind: "winograd", "linear" or "bfloat16".
        layer: what tells layers of one kind apart, such as ``256→256``. Each is measured once.
        make: makes the two ways, the usual one first, when they have to be measured.

    Raises:
        ConfigError: ``LITEPRED_CHOICES`` cannot be read.
    """
    pinned = _pins()
    if kind in pinned:
        return pinned[kind]
    name = f"{kind} {layer}"
    with _lock:
        place = _file_name()
        if (place, name) not in _measured:
            before = _read(place)
            for known, choice in before.items():
                if choice.is_settled:
                    _measured.setdefault((place, known), choice)
            if (place, name) not in _measured:
                _measured[place, name] = _measure(_LEAST_GAIN[kind], *make(), before.get(name))
                _write(place)
        return _measured[place, name].taken


def filled(layer: _Layer) -> _Layer:
    """Fill a layer that was made on the meta device with constants, to be timed; no random number is drawn."""
    layer.to_empty(device="cpu").float().requires_grad_(False)
    for weight in layer.parameters():
        weight.fill_(0.01)
    return layer


def pin(chosen: str | None) -> None:
    """Choose without measuring, in this process, for predictors that are made from now on.

    Args:
        chosen: as the environment variable ``LITEPRED_CHOICES`` has it (see this module); ``None`` to go by that
            variable again, and an empty text to measure.

    Raises:
        ConfigError: for another text.
    """
    global _pinned
    _pinned = None if chosen is None else _parse(chosen)


def choices() -> dict[str, Timing | bool]:
    """Return the choices so far, by kind and layer: a `Timing` where it was measured, a bool where it is pinned."""
    pinned = _pins()
    with _lock:
        place = _file_name()
        found = _read(place) | {name: choice for (where, name), choice in _measured.items() if where == place}
    return {**pinned, **{name: found[name] for name in sorted(found) if name.split()[0] not in pinned}}


def _pins() -> dict[str, bool]:
    return _parse(os.environ.get(_VARIABLE, "")) if _pinned is None else _pinned


def _parse(text: str) -> dict[str, bool]:
    if text.strip() == "usual":
        return dict.fromkeys(_LEAST_GAIN, False)
    chosen = {}
    for part in filter(None, map(str.strip, text.split(","))):
        kind, _, answer = (piece.strip() for piece in part.partition("="))
        if kind not in _LEAST_GAIN or answer not in ("yes", "no"):
            raise ConfigError(
                f"{_VARIABLE} has {part!r}: expected 'usual', or some of {', '.join(_LEAST_GAIN)} with =yes or =no"
            )
        chosen[kind] = answer == "yes"
    return chosen


def _measure(least_gain: float, usual: Callable[[], Any], other: Callable[[], Any], before: Timing | None) -> Timing:
    """Let the two ways take turns, and compare the least times, those of disturbed tries before among them."""
    times_ms = {usual: before.usual_ms if before else math.inf, other: before.other_ms if before else math.inf}
    spent_ms = had_ms = 0.0
    with torch.inference_mode():
        usual(), other()  # the first time prepares
        for i in range(_ROUNDS):
            if i >= _LEAST_ROUNDS and spent_ms > _PATIENCE_MS:
                break
            for way in times_ms:
                start, had = time.perf_counter(), time.process_time()
                way()
                elapsed_ms = 1e3 * (time.perf_counter() - start)
                times_ms[way] = min(times_ms[way], elapsed_ms)
                spent_ms += elapsed_ms
                had_ms += 1e3 * (time.process_time() - had)
    gain = times_ms[usual] / times_ms[other]
    busy_tries = 0 if _is_free(spent_ms, had_ms) else before.busy_tries + 1 if before else 1
    return Timing(round(times_ms[usual], 3), round(times_ms[other], 3), gain >= least_gain, busy_tries)


def _is_free(spent_ms: float, had_ms: float) -> bool:
    """Whether this process, which works with all of its threads, had the processor for nearly all of a time."""
    return had_ms >= _FREE_SHARE * spent_ms * torch.get_num_threads()


def _file_name() -> str:
    instructions = [os.environ.get(variable) for variable in _INSTRUCTIONS]
    facts = [_WAYS, processor(), torch.__version__, torch.get_num_threads(), instructions]
    return f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}.json"


def _read(name: str) -> dict[str, Timing]:
    """Read what was measured before; a file that is missing, damaged or of another form holds nothing."""
    try:
        rows = json.loads((cache_folder() / "choices" / name).read_text(encoding="utf-8"))
        return {
            layer: Timing(float(usual), float(other), bool(taken), int(busy_tries))
            for layer, (usual, other, taken, busy_tries) in rows.items()
        }
    except (OSError, LitepredError, ValueError, TypeError, AttributeError):
        return {}


def _write(name: str) -> None:
    """Keep what was measured. What another process has settled meanwhile goes first, so that both choose the same."""
    rows = _read(name)
    _measured.update({(name, layer): choice for layer, choice in rows.items() if choice.is_settled})
    rows |= {layer: choice for (place, layer), choice in _measured.items() if place == name}
    with contextlib.suppress(OSError, LitepredError):  # a cache that cannot be written: this process knows
        path = cache_folder() / "choices" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(json.dumps(rows, ensure_ascii=False, indent=1).encode())


def has_vnni() -> bool:
    """Whether the system, or a torch of late, says that the processor adds products of eight bits in 32."""
    known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return "vnni" in processor() or any(known.get(name) for name in ("avx_vnni", "avx512_vnni"))


@functools.cache
def processor() -> str:
    """Return what the system says of the processor's make and instructions, which stays the same from day to day."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")  # noqa: S108  no such file
    except OSError:
        return os.environ.get("PROCESSOR_IDENTIFIER") or platform.processor()
    return "\n".join(_LASTING.findall(text.split("\n\n")[0]))
