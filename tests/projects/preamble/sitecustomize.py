"""What a project's program finds when it starts, whatever runs it: help for its age, and a record of its answers.

Python imports this file by its name, as its folder is on PYTHONPATH. The answers of the models go to the file that
LITEPRED_ANSWERS names. Where LITEPRED_MAKES_WEIGHTS names a file, the first model's random weights go there.
"""

import atexit
import collections
import collections.abc
import os
import pickle
import sys
import types

import numpy as np
import PIL.Image
import torch

KINDS = {"instances", "sem_seg", "panoptic_seg", "proposals"}
PARTS = {"backbone", "detr"}  # which a model has, one or the other
VIDEO = {"pred_scores", "pred_labels", "pred_masks", "image_size"}
answers = []


def anything(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


for old in ("Callable", "Iterable", "Mapping", "MutableMapping", "Sequence"):
    setattr(collections, old, getattr(collections.abc, old))
for old, new in {"int": int, "float": float, "bool": bool, "object": object}.items():
    if old not in np.__dict__:
        setattr(np, old, new)
PIL.Image.LINEAR = PIL.Image.BILINEAR
torch.manual_seed(0)
torch.set_num_threads(1)
for absent in os.environ.get("LITEPRED_ABSENT", "").split():  # what they import and do not call here
    sys.modules[absent] = types.ModuleType(absent)
    if absent != "MultiScaleDeformableAttention":  # whose users have another way where it lacks a function
        sys.modules[absent].__getattr__ = anything
if not torch.cuda.is_available():
    torch.nn.Module.cuda = lambda self, *args: self
    torch.Tensor.cuda = lambda self, *args, **kwargs: self


def flat(value, name=""):
    """Return the arrays, numbers and texts in an answer by their places."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return {name: np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)}
    if isinstance(value, (bool, int, float, str)):
        return {name: value}
    if hasattr(value, "get_fields"):
        value = value.get_fields()
    elif hasattr(value, "tensor"):
        value = {"": value.tensor}
    elif isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    elif not isinstance(value, dict):
        value = {key: one for key, one in getattr(value, "__dict__", {}).items() if not key.startswith("_")}
    return {key: one for part, inner in value.items() for key, one in flat(inner, f"{name}.{part}".strip(".")).items()}


def record(module, inputs, output):
    if isinstance(output, dict) and set(output) >= VIDEO:
        output = [output]
    elif not isinstance(output, list) or not all(isinstance(one, dict) and KINDS & set(one) for one in output):
        return
    answers.extend(flat(one) for one in output)


def evaluating(module):
    """Put a model into evaluation mode; the first one, which has a backbone or is a DETR, is written to a file."""
    path = os.environ["LITEPRED_MAKES_WEIGHTS"]
    if PARTS & set(module._modules) and not os.path.exists(path):
        with torch.no_grad():
            for value in module.parameters():  # so that random scores and boxes differ from one another
                if value.dim() > 1 and 0 < value.std() < 0.015:
                    value *= 0.02 / value.std()
                if value.dim() == 4:  # features behind a ReLU have a mean, which would add up
                    value -= value.mean(dim=(1, 2, 3), keepdim=True)
            for key, value in module.state_dict().items():
                if key.endswith("conv3.norm.weight"):  # a trained ResNet's features do not grow from block to block
                    value *= 0.2
        torch.save({"model": module.state_dict()}, path)
    return module.train(False)


def seed(module, inputs):
    if PARTS & set(module._modules):
        torch.manual_seed(0)


torch.nn.modules.module.register_module_forward_pre_hook(seed)  # for models that draw boxes
torch.nn.modules.module.register_module_forward_hook(record)
if os.environ.get("LITEPRED_MAKES_WEIGHTS"):
    torch.nn.Module.eval = evaluating


@atexit.register
def write():
    if answers and os.environ.get("LITEPRED_ANSWERS"):
        with open(os.environ["LITEPRED_ANSWERS"], "wb") as file:
            pickle.dump(answers, file)
