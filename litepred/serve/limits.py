"""What a service takes from its clients."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ..errors import ConfigError, scalar

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """What a service takes from its clients, and how much of it at a time.

    All uploads together hold at most ``queue`` times ``max_bytes`` of memory; the one that is being put together, or
    taken out of its form, holds three times its own meanwhile. Images of at most ``max_pixels`` pixels are decoded.

    Attributes:
        max_bytes: of a request's body, file and form together.
        max_pixels: height times width of an image; larger ones are refused before they are decoded.
        timeout: seconds in which a request has to arrive, and as many again in which it is answered.
        queue: requests that are worked on or wait; what comes beyond them is refused at once, to be sent again.
        batch_size: the most images that run together; by default 4 on an accelerator and 1 on the CPU.

    Raises:
        ConfigError: a limit is not above 0, or one that counts is no whole number.
    """

    max_bytes: int = 16_000_000
    max_pixels: int = 25_000_000
    timeout: float = 60.0
    queue: int = 32
    batch_size: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = scalar(getattr(self, field.name))
            object.__setattr__(self, field.name, value)  # as Python has it
            counts = field.name != "timeout"
            fits = isinstance(value, int if counts else (int, float)) and not isinstance(value, bool) and value > 0
            if not fits and not (field.name == "batch_size" and value is None):
                kind = "a whole number" if counts else "a number of seconds"
                raise ConfigError(f"{field.name} is {value!r}: expected {kind} above 0")
