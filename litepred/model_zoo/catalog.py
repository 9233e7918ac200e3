"""Find a model of the zoo by its name: its config, the checkpoint that was released for it, and the model itself.

A name is a config's path below ``configs/``, such as ``COCO-Detection/faster_rcnn_R_50_FPN_3x``. It may end in
``.yaml`` or ``.py``, which makes no difference. An unknown one is a `ConfigError` that names the nearest ones, and a
RuntimeError too, as callers of Detectron2's zoo expect.
"""

from __future__ import annotations

import difflib
import functools
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import CfgNode, get_cfg
from ..errors import ConfigError, wording
from ..files import is_address, read_rows

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["get", "get_checkpoint_url", "get_config", "get_config_file", "is_known", "list_names", "missing_config"]

_CONFIGS = Path(__file__).resolve().parent / "configs"
_RELEASED = dict(
    read_rows(Path(__file__).parent / "released.txt")
)  # the end of an address by name; torchvision's whole
_ADDRESS = "https://dl.fbaipublicfiles.com/"  # DensePose/… lies below it in densepose/…, all else in detectron2/


class _ZooError(ConfigError, RuntimeError):
    """The zoo has no such model, or no checkpoint of it."""


def get_config_file(config_path: str) -> str:
    """Return the absolute path of a config, a YAML file that comes with the package.

    ``config_path`` is one of `list_names`, or of a ``Base-`` file that those inherit from.

    Raises:
        ConfigError: when there is no such config.
    """
    return str(_CONFIGS / f"{_stem(config_path)}.yaml")


def get_checkpoint_url(config_path: str) -> str:
    """Return the address of the checkpoint that was released for a config.

    Raises:
        ConfigError: when there is no such config, or no checkpoint of it.
    """
    stem = _stem(config_path)
    if stem not in _RELEASED:
        near = difflib.get_close_matches(stem, _RELEASED, n=1, cutoff=0.7) or [*_RELEASED]
        raise _ZooError(
            f"no checkpoint was released for {stem!r}: only its config is in the model zoo. Set MODEL.WEIGHTS to "
            f"weights of your own, or take a model that has some, such as {near[0]!r}"
        )
    if stem.startswith("torchvision/"):
        return _RELEASED[stem]
    folder = stem.replace("DensePose/", "densepose/") if stem.startswith("DensePose/") else f"detectron2/{stem}"
    if _RELEASED[stem].count("/") == 2:  # it names another folder beside that one
        folder = folder.rpartition("/")[0]
    return f"{_ADDRESS}{folder}/{_RELEASED[stem]}"


def get_config(config_path: str, trained: bool = False) -> CfgNode:
    """Return a fresh config.

    Args:
        config_path: one of `list_names`.
        trained: set ``MODEL.WEIGHTS`` to the address of the released checkpoint; otherwise it is empty.

    Raises:
        ConfigError: when there is no such config, or no checkpoint of it where one is asked for.
    """
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file(config_path))
    if trained:
        cfg.MODEL.WEIGHTS = get_checkpoint_url(config_path)
    return cfg


def get(config_path: str, trained: bool = True, device: str | torch.device | None = None) -> nn.Module:
    """Build a model in evaluation mode, ``model(list[dict]) -> list[dict]``.

    Args:
        config_path: one of `list_names`.
        trained: load the released checkpoint, downloading it if need be; otherwise the weights are random.
        device: where the model goes; ``None`` for CUDA if there is any, else the CPU.

    Raises:
        ConfigError: when there is no such config, or no checkpoint of it where one is asked for.
        CheckpointError: when the checkpoint cannot be downloaded or read.
    """
    import torch

    from ..checkpoint import DetectionCheckpointer
    from ..modeling import build_model, without_random_init

    cfg = get_config(config_path, trained)
    cfg.MODEL.DEVICE = str(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with without_random_init() if trained else nullcontext():
        model = build_model(cfg)
    if trained:
        DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return model


def is_known(name: str) -> bool:
    """Tell whether a name is that of a config in the zoo."""
    return name.removesuffix(".yaml").removesuffix(".py") in _stems()


def list_names() -> list[str]:
    """Return the names of all models, with a released checkpoint or without, sorted."""
    return [stem for stem in _stems() if not Path(stem).name.startswith("Base-")]


def missing_config(name: str) -> ConfigError:
    """Return the error for a name that is neither a file's nor a model's."""
    if is_address(name):
        weights = wording("weights='model_final.pth'", "--weights model_final.pth")
        return ConfigError(
            f"{name!r:.200} is an address: expected a config, a file such as config.yaml or a name in the zoo; a "
            f"checkpoint, or the address of one, is given as {weights}"
        )
    if "\n" in name:
        return ConfigError("a text of several lines came: expected the path of a YAML file, or the name of a model")
    near, here = _near_names(name), f"there is no file {name!r:.300}"
    if not os.path.isabs(name):
        here += f" in {os.getcwd()!r}"
    if near:
        return ConfigError(f"{here}, and no such model in the zoo: did you mean {' or '.join(near)}?")
    if Path(name).suffix:
        return ConfigError(f"{here}: expected a config such as config.yaml, or the name of a model of the zoo")
    everything = wording("model_zoo.list()", "litepred zoo")
    return ConfigError(f"{here}, and no such model in the zoo: {everything} has them all")


def _near_names(name: str) -> list[str]:
    """Return the names of up to three models that a wrong name may mean, the nearest first."""
    stem, names = name.removesuffix(".yaml").removesuffix(".py"), list_names()
    return [one for one in names if Path(one).name == stem] or difflib.get_close_matches(stem, names, n=3)


@functools.cache
def _stems() -> tuple[str, ...]:
    return tuple(sorted(file.relative_to(_CONFIGS).with_suffix("").as_posix() for file in _CONFIGS.rglob("*.yaml")))


def _stem(name: str) -> str:
    stem = name.removesuffix(".yaml").removesuffix(".py")
    if stem in _stems():
        return stem
    near = _near_names(stem) or list_names()[:1]
    own = ". A config file of your own is read by cfg.merge_from_file(path)" if os.path.exists(name) else ""
    raise _ZooError(
        f"{name!r} is not in the model zoo: expected a name such as {', '.join(near)} "
        f"({wording('model_zoo.list()', 'litepred zoo')} has them all){own}"
    )
