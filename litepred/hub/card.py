"""The model card of a repository: what the model is, its classes, and how to run it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .places import Address

if TYPE_CHECKING:
    from ..config import CfgNode

__all__ = ["model_card"]

_HEAD = """\
---
library_name: litepred
pipeline_tag: {task}
tags:
- detectron2
- {task}
{license}---

# {title}

A {architecture} of {backbone}, trained with Detectron2, in one file with its config and class names.

```bash
pip install "litepred[hub]"
litepred predict --config {address} photo.jpg
```

```python
from litepred import Predictor, draw, read_image

predictor = Predictor("{address}")
image = read_image("photo.jpg")
outputs = predictor(image)
picture = draw(image, outputs, predictor.metadata)
```

## Classes

{classes}

## Config

| | |
|---|---|
{facts}

`config.yaml` has all of it. Detectron2 loads the weights after `litepred convert model.safetensors model_final.pth`.
"""


def model_card(
    cfg: CfgNode,
    class_names: Sequence[str] | None,
    number_of_classes: int,
    address: Address,
    license: str | None = None,
) -> str:
    """Return a model card as the hub shows it: Markdown, with YAML before it.

    Args:
        cfg: the model's config.
        class_names: in order, ``None`` where they are not known.
        number_of_classes: that the model has.
        address: where the card is to lie.
        license: of the weights, by the hub's name for it, such as "apache-2.0".
    """
    model = cfg.MODEL
    segments = model.MASK_ON or model.META_ARCHITECTURE in ("PanopticFPN", "SemanticSegmentor")
    place = f"hf://{address.repo}" + (f"@{address.revision}" if address.revision else "")
    names = class_names or [f"class {number}, without a name" for number in range(number_of_classes)]
    facts = {
        "model": model.META_ARCHITECTURE,
        "backbone": model.BACKBONE.NAME,
        "masks": "yes" if segments else "no",
        "keypoints": "yes" if model.KEYPOINT_ON else "no",
        "order of channels": cfg.INPUT.FORMAT,
        "shorter side": f"{cfg.INPUT.MIN_SIZE_TEST} pixels, the longer one {cfg.INPUT.MAX_SIZE_TEST} at most",
        "least score": model.RETINANET.SCORE_THRESH_TEST
        if model.META_ARCHITECTURE == "RetinaNet"
        else model.ROI_HEADS.SCORE_THRESH_TEST,
    }
    return _HEAD.format(
        task="image-segmentation" if segments else "object-detection",
        license=f"license: {license}\n" if license else "",
        title=(address.path or address.repo).rpartition("/")[2],
        architecture=model.META_ARCHITECTURE,
        backbone=model.BACKBONE.NAME,
        address=f"{place}/{address.path}" if address.path else place,
        classes="\n".join(f"{number}. {name}" for number, name in enumerate(names)),
        facts="\n".join(f"| {name} | {value} |" for name, value in facts.items()),
    )
