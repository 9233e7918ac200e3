"""The part of Detectron2's trainer that works without training: its class methods, which also test models."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from torch import nn

from ..config import CfgNode
from ..errors import LitepredError
from ..modeling import build_model
from .evaluation import DatasetEvaluator, inference_on_dataset, print_csv_format
from .loaders import build_detection_test_loader
from .names import ABSENT, NotInLitepredError

_logger = logging.getLogger("detectron2.engine.defaults")


class DefaultTrainer:
    """What scripts derive their trainer from. Making one is an error that says so: litepred does not train."""

    def __init__(self, cfg: CfgNode) -> None:
        raise NotInLitepredError(f"detectron2.engine.DefaultTrainer is not in litepred: {ABSENT['training']}")

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Build the model of a config; see `litepred.build_model`."""
        return build_model(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        """Build the loader of a registered data set."""
        return build_detection_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """Build the evaluator of a data set, which a subclass says how to do.

        Raises:
            NotImplementedError: always, here.
        """
        raise NotImplementedError(f"{cls.__name__} has no build_evaluator, which returns the evaluator of a data set")

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        """Raise `NotInLitepredError`, as the other builders that only training needs."""
        raise NotInLitepredError(f"{cls.__name__}.build_train_loader is not in litepred: {ABSENT['training']}")

    build_optimizer = build_lr_scheduler = build_train_loader

    @classmethod
    def test(
        cls, cfg: CfgNode, model: nn.Module, evaluators: DatasetEvaluator | Sequence[DatasetEvaluator] | None = None
    ) -> dict[str, Any]:
        """Measure a model on the data sets of ``cfg.DATASETS.TEST``.

        Args:
            cfg: the config.
            model: the model.
            evaluators: one for each data set; by default those of `build_evaluator`.

        Returns:
            The figures by task, of several data sets by their names.

        Raises:
            LitepredError: there are not as many evaluators as data sets.
        """
        names = cfg.DATASETS.TEST
        given = [evaluators] if isinstance(evaluators, DatasetEvaluator) else evaluators
        if given is not None and len(given) != len(names):
            raise LitepredError(f"{len(given)} evaluators came for {len(names)} data sets: expected one for each")
        results: dict[str, Any] = OrderedDict()
        for i, name in enumerate(names):
            evaluator = cls.build_evaluator(cfg, name) if given is None else given[i]
            results[name] = inference_on_dataset(model, cls.build_test_loader(cfg, name), evaluator)
            _logger.info("Evaluation results for %s in csv format:", name)
            print_csv_format(results[name])
        return next(iter(results.values())) if len(results) == 1 else results
