"""What scripts do around a prediction: parse arguments, set up, launch, ask what is installed, run out of memory.

Questions about distributed runs are answered for the single process that litepred runs in.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import random
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import __version__
from ..config import CfgNode, get_cfg
from ..config.upgrade import CURRENT_VERSION, upgrade
from ..errors import ConfigError, LitepredError
from .logs import setup_logger

TORCH_VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
_C = get_cfg()
global_cfg = CfgNode()
"""A config that is there for all modules of a program; empty at first."""


def set_global_cfg(cfg: CfgNode) -> None:
    """Replace the content of `global_cfg`."""
    global_cfg.clear()
    global_cfg.update(cfg)


def upgrade_config(cfg: CfgNode, to_version: int | None = None) -> CfgNode:
    """Return a copy of a config of an older format version in today's, the only one to upgrade to.

    Raises:
        ConfigError: another version is asked for, or the config cannot be upgraded.
    """
    if to_version not in (None, CURRENT_VERSION):
        raise ConfigError(f"configs are upgraded to version {CURRENT_VERSION}, got {to_version}")
    return CfgNode(upgrade(cfg, "the config", ""))


def default_argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the arguments that Detectron2's tools share, those for training and clusters included."""
    parser = argparse.ArgumentParser(epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", default="", metavar="FILE", help="the model's config as YAML")
    for flag in ("--resume", "--eval-only"):
        parser.add_argument(flag, action="store_true", help="for programs that train, which litepred does not")
    for option, value in (("--num-gpus", 1), ("--num-machines", 1), ("--machine-rank", 0)):
        parser.add_argument(option, type=int, default=value, help=f"{value}, for there is one process")
    parser.add_argument("--dist-url", default="", help="where several processes would meet; not used")
    parser.add_argument("opts", default=None, nargs=argparse.REMAINDER, help="keys of the config, each with its value")
    return parser


def default_setup(cfg: Any, args: Any) -> None:
    """Prepare a run: loggers, the environment and ``args`` in the log, the config in its output folder, its seed.

    A lazy config has those in ``output_dir`` or ``train.output_dir``, and in ``seed`` or ``train.seed``.
    """
    output = _first(cfg, "OUTPUT_DIR", "output_dir", "train.output_dir") or None
    setup_logger(output, name="fvcore")
    logger = setup_logger(output)
    logger.info("Environment info:\n%s", collect_env_info())
    logger.info("Command line arguments: %s", args)
    if output:
        path = Path(output) / "config.yaml"
        if isinstance(cfg, CfgNode):
            path.write_text(cfg.dump(), encoding="utf-8")
        else:
            from .lazy import LazyConfig

            LazyConfig.save(cfg, path)
        logger.info("Full config saved to %s", path)
    seed_all_rng(_first(cfg, "SEED", "seed", "train.seed", default=-1))


def _first(cfg: Any, *keys: str, default: Any = None) -> Any:
    """Return the value of the first key that a config has, with dots between its levels."""
    for key in keys:
        value = cfg
        for part in key.split("."):
            value = value.get(part) if hasattr(value, "get") else None
        if value is not None:
            return value
    return default


def launch(
    main_func: Callable[..., Any],
    num_gpus_per_machine: int = 1,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple[Any, ...] = (),
    timeout: Any = None,
) -> Any:
    """Call ``main_func(*args)`` in this process, and return what it returns.

    Raises:
        LitepredError: several processes are asked for.
    """
    if num_gpus_per_machine * num_machines > 1:
        raise LitepredError(
            f"launch() got {num_gpus_per_machine} GPUs on {num_machines} machines: litepred runs one process. Pass 1, "
            "and start one process per GPU with a part of the images each"
        )
    return main_func(*args)


def create_ddp_model(model: nn.Module, *, fp16_compression: bool = False, **kwargs: Any) -> nn.Module:
    """Return the model as it is, since there are no other processes to share it with; nothing else has an effect."""
    return model


def seed_all_rng(seed: int | None = None) -> None:
    """Seed Python's, NumPy's and torch's random generators; ``None`` or a negative seed draws one."""
    if seed is None or seed < 0:
        seed = int.from_bytes(os.urandom(4), "little") % 2**31
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def collect_env_info() -> str:
    """Describe the versions in use, a line each."""
    lines = [f"litepred {__version__}", f"Python {platform.python_version()} on {sys.platform}"]
    lines += [f"{name} {version(name)}" for name in ("numpy", "torch", "torchvision", "Pillow")]
    return "\n".join([*lines, f"CUDA available: {torch.cuda.is_available()}"])


def retry_if_cuda_oom(func: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function that runs out of the accelerator's memory run again, at last with its tensors on the CPU."""

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        for _ in range(2):
            try:
                return func(*args, **kwargs)
            except torch.cuda.OutOfMemoryError:
                torch.cuda.empty_cache()
        return func(*map(_on_cpu, args), **{key: _on_cpu(value) for key, value in kwargs.items()})

    return wrapped


def _on_cpu(value: Any) -> Any:
    return value.to("cpu") if getattr(getattr(value, "device", None), "type", "") == "cuda" else value


def get_world_size() -> int:
    """Return the number of processes, of all or of this machine: 1."""
    return 1


def get_rank() -> int:
    """Return the number of this process, among all or on this machine: 0."""
    return 0


def is_main_process() -> bool:
    """Tell whether this is process 0: it is."""
    return True


def nothing(*args: Any) -> None:
    """Do nothing: there is no other process to wait for, no environment to set up, no names to be dressed up."""


def all_gather(data: Any, *args: Any, **kwargs: Any) -> list[Any]:
    """Return what each process passed, which is ``data`` alone."""
    return [data]
