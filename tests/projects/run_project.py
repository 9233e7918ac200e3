"""Build a model with a project's own code and predict a picture: ``run_project.py PROJECT WEIGHTS ANSWER [OTHER]``.

The project's folder is the working directory. With OTHER, a checkout of Detectron2 that is built, Detectron2 runs it;
otherwise litepred does. WEIGHTS are made where there are none, with the initial values of the model.
"""

from __future__ import annotations

import collections
import collections.abc
import os
import sys
import types
import warnings

import numpy as np
import PIL.Image
import torch

warnings.simplefilter("ignore")
name, weights, answer, *detectron2 = sys.argv[1:]
sys.path[:0] = [os.getcwd(), *detectron2]
# What these projects need of their own age, whatever runs them: names that Python, NumPy and Pillow have dropped, and
# modules that are compiled.
for old in ("Iterable", "Mapping", "Sequence"):
    setattr(collections, old, getattr(collections.abc, old))
np.int = int
PIL.Image.LINEAR = PIL.Image.BILINEAR
sys.modules["natten"] = types.ModuleType("natten")
if detectron2:
    sys.modules["MultiScaleDeformableAttention"] = types.ModuleType("MultiScaleDeformableAttention")
else:
    import litepred

    litepred.as_detectron2(replace=True)

from detectron2.config import get_cfg  # noqa: E402


def with_keys(*functions):
    cfg = get_cfg()
    for add in functions:
        add(cfg)
    return cfg


def mask2former():
    from detectron2.projects.deeplab import add_deeplab_config
    from mask2former import add_maskformer2_config

    return with_keys(add_deeplab_config, add_maskformer2_config)


def maskformer():
    from detectron2.projects.deeplab import add_deeplab_config
    from mask_former import add_mask_former_config

    return with_keys(add_deeplab_config, add_mask_former_config)


def maskdino():
    from detectron2.projects.deeplab import add_deeplab_config
    from maskdino import add_maskdino_config

    return with_keys(add_deeplab_config, add_maskdino_config)


def adelaidet():
    compiled = sys.modules["adet._C"] = types.ModuleType("adet._C")
    import adet
    from adet.config import get_cfg

    adet._C = compiled
    return get_cfg()


def centernet2():
    from centernet.config import add_centernet_config

    return with_keys(add_centernet_config)


def centermask2():
    from centermask.config import get_cfg

    return get_cfg()


def pointrend():
    sys.path.insert(0, os.path.join(os.getcwd(), "projects", "PointRend"))
    from point_rend import add_pointrend_config

    return with_keys(add_pointrend_config)


def tridentnet():
    sys.path.insert(0, os.path.join(os.getcwd(), "projects", "TridentNet"))
    from tridentnet import add_tridentnet_config

    return with_keys(add_tridentnet_config)


def deeplab():
    sys.path.insert(0, os.path.join(os.getcwd(), "projects", "DeepLab"))
    from deeplab import add_deeplab_config

    return with_keys(add_deeplab_config)


def lazy(path):
    """Return the model of a lazy config, and how it wants its pictures."""
    from detectron2.config import LazyConfig, instantiate

    cfg = LazyConfig.load(path)
    model = instantiate(cfg.model).eval()
    return model, (256, 400), model.input_format


kind, _, config = name.partition(":")
torch.manual_seed(0)
if kind == "lazy":
    model, (shortest, longest), image_format = lazy(config)
else:
    cfg = globals()[kind]()
    cfg.merge_from_file(config)
    cfg.MODEL.DEVICE = "cpu"
    (shortest, longest), image_format = (512, 1024) if kind == "deeplab" else (256, 400), cfg.INPUT.FORMAT
    from detectron2.modeling import build_model

    model = build_model(cfg).eval()

from detectron2.checkpoint import DetectionCheckpointer  # noqa: E402
from detectron2.data import detection_utils  # noqa: E402
from detectron2.data.transforms import AugInput, ResizeShortestEdge  # noqa: E402

if not os.path.exists(weights):
    torch.save({"model": model.state_dict()}, weights)
DetectionCheckpointer(model).load(weights)
picture = os.path.join(os.path.dirname(__file__), "..", "assets", "images", "coffee.png")
image = detection_utils.read_image(picture, image_format)
if kind == "deeplab":
    image = np.asarray(PIL.Image.fromarray(image).resize((1024, 512)))
resize = ResizeShortestEdge([shortest] * 2, longest)
resized = resize(AugInput(image)).apply_image(image)
inputs = {"image": torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))}
with torch.no_grad():
    found = model([{**inputs, "height": image.shape[0], "width": image.shape[1]}])[0]
arrays = {}
for key, value in found.items():
    if hasattr(value, "get_fields"):
        arrays.update({field: np.asarray(getattr(one, "tensor", one)) for field, one in value.get_fields().items()})
    else:
        arrays[key] = np.asarray(value[0] if isinstance(value, tuple) else value)
np.savez(answer, **arrays)
