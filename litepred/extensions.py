"""The hook for what lives outside litepred's core, in a room of its own or in your package.

A package announces what it has without importing it. Its modules are imported when a config first names a part.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = [
    "ModelPlace",
    "announce",
    "config_functions",
    "engine",
    "engines",
    "import_component",
    "imported_when_used",
    "is_announced",
    "model_file_reader",
    "model_place",
    "refusal",
    "satellite",
]

_COMPONENTS: dict[str, str] = {}
_CONFIG_SECTIONS: dict[str, str] = {}
_REFUSED: dict[str, str] = {}
_MODEL_FILES: dict[str, str] = {}
_ENGINES: dict[str, str] = {}
_ADDRESSES: dict[str, str] = {}
_SATELLITES: dict[str, str] = {}


class ModelPlace(NamedTuple):
    """The local files of a model that an address leads to, and what else is known of it.

    Attributes:
        config: path of a config, or of a file with config and weights in it; ``None`` where there are weights alone.
        weights: path of a checkpoint; ``None`` where ``config`` holds the weights.
        class_names: in order, for a model with as many classes, whose files have no names of their own.
    """

    config: str | None
    weights: str | None
    class_names: Sequence[str] | None = None


def announce(
    components: Mapping[str, str] | None = None,
    config_sections: Mapping[str, str] | None = None,
    refused: Mapping[str, str] | None = None,
    model_files: Mapping[str, str] | None = None,
    engines: Mapping[str, str] | None = None,
    addresses: Mapping[str, str] | None = None,
    satellites: Mapping[str, str] | None = None,
) -> None:
    """Tell litepred which parts a package has.

    Args:
        components: for each name that a config may give, such as in ``MODEL.ROI_HEADS.NAME``, the module that registers
            it when it is imported.
        config_sections: for each dotted key, such as "MODEL.MY_HEAD", the function that adds the section with its
            defaults to a config, as "package.module:function". It is called when a whole config without the section
            is merged with one that has it.
        refused: for each name that no registry has, the reason, as the rest of a sentence that begins with the name.
        model_files: for the ending of each kind of file that holds a whole model but no weights to load, such as
            ".onnx", the function that reads what the file says of its model, as "package.module:function". It takes the
            path and returns a `Checkpoint` whose header has the texts of `litepred.checkpoint.bundle`.
        engines: for the name of each engine besides torch, the function that builds a model for `Predictor` on it, as
            "package.module:function". It is called with the `ResolvedModel`, the engine's name, the precision, and the
            number of threads or ``None``. The model's attribute ``precision`` says which one came to be used, where it
            may be another.
        addresses: for the beginning of an address, such as "hf" of "hf://owner/model", the function that fetches a
            model from there, as "package.module:function". It takes the address and returns a `ModelPlace`.
        satellites: for each thing that the rooms which predict leave to others, the function that does it, as
            "package.module:function": "html" shows instances in a notebook, "tile" predicts on tiles of
            an image, and "track" follows instances through a video.
    """
    _SATELLITES.update(satellites or {})
    _ADDRESSES.update(addresses or {})
    _MODEL_FILES.update(model_files or {})
    _ENGINES.update(engines or {})
    _COMPONENTS.update(components or {})
    _CONFIG_SECTIONS.update(config_sections or {})
    _REFUSED.update(refused or {})


def import_component(name: str) -> None:
    """Import the module that registers a component, where one was announced."""
    if name in _COMPONENTS:
        importlib.import_module(_COMPONENTS[name])


def refusal(name: str) -> str | None:
    """Return the reason for which a component is refused, where one was announced."""
    return _REFUSED.get(name)


def config_functions(keys: Container[str]) -> list[Callable[[Any], None]]:
    """Return the functions that add the announced config sections that are among some dotted keys."""
    return [_imported(path) for path in dict.fromkeys(path for key, path in _CONFIG_SECTIONS.items() if key in keys)]


def model_file_reader(path: str) -> Callable[[str], Any] | None:
    """Return the announced function that reads a file of this name, ``None`` where there is none."""
    return next((_imported(place) for ending, place in _MODEL_FILES.items() if path.lower().endswith(ending)), None)


def is_announced(address: str) -> bool:
    """Tell whether an address is of an announced kind."""
    kind, separator, _ = address.partition("://")
    return bool(separator) and kind in _ADDRESSES


def model_place(address: str) -> ModelPlace | None:
    """Fetch a model by the announced function for addresses of this kind; return ``None`` where there is none."""
    if not is_announced(address):
        return None
    place: ModelPlace = _imported(_ADDRESSES[address.partition("://")[0]])(address)
    return place


def engines() -> list[str]:
    """Return the names of the announced engines."""
    return list(_ENGINES)


def engine(name: str) -> Callable[..., Any]:
    """Return the announced function that builds models for an engine; a KeyError is raised where there is none."""
    return _imported(_ENGINES[name])


def satellite(name: str) -> Callable[..., Any]:
    """Return the function that was announced for what a room which predicts leaves to others."""
    return _imported(_SATELLITES[name])


def imported_when_used(package: str, names: Sequence[str], files: Sequence[str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package that imports nothing itself.

    When one of the ``names`` is used, the ``files`` of the package are imported, one after another, until one has it in
    its ``__all__``.
    """

    def find(name: str) -> Any:
        if name in names:
            for file in files:
                module = importlib.import_module(f".{file}", package)
                if name in module.__all__:
                    return getattr(module, name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(names)}")

    return find


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
