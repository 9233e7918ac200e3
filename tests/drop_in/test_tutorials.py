"""What tutorials show, as small scripts that know Detectron2 alone: ten ways of using it, and the numbers it gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_weights import fill_with_golden_weights
from tiny_models import FAMILIES, tiny_image

IMAGE = tiny_image().permute(1, 2, 0).numpy()


def config(family="fpn", **changes):
    from detectron2.config import get_cfg

    cfg = get_cfg()
    values = FAMILIES[family] | {"MODEL." + key: value for key, value in changes.items()}
    cfg.merge_from_list([item for pair in values.items() for item in pair])
    return cfg


def built(cfg):
    from detectron2.modeling import build_model

    model = build_model(cfg).eval()
    fill_with_golden_weights(model, cfg.MODEL.PIXEL_STD[0])
    return model


def of(instances):
    return [*instances.pred_boxes.tensor.sum(0).tolist(), float(instances.scores.sum())]


@torch.no_grad()
def a_model_in_parts():
    """Proposals, pooled boxes and their features, and what is read from them, step by step."""
    model = built(config(MASK_ON=True))
    images = model.preprocess_image([{"image": tiny_image()}])
    features = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, features, None)
    heads = model.roi_heads
    pooled = heads.box_pooler([features[name] for name in heads.in_features], [one.proposal_boxes for one in proposals])
    vectors = heads.box_head(pooled)
    found, kept = heads.box_predictor.inference(heads.box_predictor(vectors), proposals)
    with_masks = heads.forward_with_given_boxes(features, found)
    return [float(vectors[kept[0]].mean()), *of(found[0]), float(with_masks[0].pred_masks.mean())]


def panoptic_segments_drawn():
    """Segments that a program has drawn into a map; how they look is litepred's own."""
    from detectron2.data import MetadataCatalog
    from detectron2.utils.visualizer import Visualizer

    segments = torch.zeros(64, 96, dtype=torch.int32)
    segments[:32], segments[32:, :40] = 1, 2
    described = [{"id": 1, "isthing": False, "category_id": 3}, {"id": 2, "isthing": True, "category_id": 0}]
    metadata = MetadataCatalog.get("coco_2017_val_panoptic_separated")
    picture = Visualizer(IMAGE, metadata).draw_panoptic_seg_predictions(segments, described).get_image()
    assert not np.array_equal(picture[:32], IMAGE[:32])
    return list(picture.shape)


def metadata_of_panoptic_coco():
    """DETR's notebook colours its segments by these."""
    from detectron2.data import MetadataCatalog

    metadata = MetadataCatalog.get("coco_2017_val_panoptic_separated")
    things, stuff = metadata.thing_dataset_id_to_contiguous_id, metadata.stuff_dataset_id_to_contiguous_id
    return [len(metadata.thing_classes), len(metadata.stuff_classes), things[90], stuff[200], *metadata.thing_colors[7]]


def a_data_set_of_ones_own():
    """The balloons: records that a function makes, drawn on a gray picture."""
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.structures import BoxMode
    from detectron2.utils.visualizer import ColorMode, Visualizer

    polygon = [20.5, 10.5, 60.5, 10.5, 60.5, 50.5, 20.5, 50.5]
    one = {"bbox": [20, 10, 61, 51], "bbox_mode": BoxMode.XYXY_ABS, "segmentation": [polygon], "category_id": 0}
    DatasetCatalog.register("balloons", lambda: [{"file_name": "a.png", "image_id": 0, "annotations": [one]}])
    MetadataCatalog.get("balloons").set(thing_classes=["balloon"])
    try:
        (record,) = DatasetCatalog.get("balloons")
        drawn = Visualizer(IMAGE, MetadataCatalog.get("balloons"), scale=0.5, instance_mode=ColorMode.IMAGE_BW)
        picture = drawn.draw_dataset_dict(record).get_image()
    finally:
        DatasetCatalog.remove("balloons")
        MetadataCatalog.remove("balloons")
    return list(picture.shape)


def rotated_boxes():
    from detectron2.layers import nms_rotated
    from detectron2.structures import Instances, RotatedBoxes
    from detectron2.utils.visualizer import Visualizer

    rows = torch.tensor([[40.0, 30, 30, 20, 45], [41, 31, 30, 20, 50], [70, 30, 20, 10, 0]])
    kept = nms_rotated(rows, torch.tensor([0.5, 0.9, 0.7]), 0.5)
    instances = Instances((64, 96), pred_boxes=RotatedBoxes(rows[kept]), scores=torch.ones(len(kept)))
    Visualizer(IMAGE).overlay_rotated_instances(instances.pred_boxes.tensor.numpy(), labels=["a"] * len(kept))
    return [*kept.tolist(), *instances.pred_boxes.area().tolist()]


def evaluation_on_a_data_set():
    import json
    import tempfile
    from pathlib import Path

    from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_test_loader
    from detectron2.data.datasets import register_coco_instances
    from detectron2.evaluation import COCOEvaluator, inference_on_dataset
    from PIL import Image

    pytest.importorskip("pycocotools")
    cfg = config()
    cfg.INPUT.MIN_SIZE_TEST = 64
    model = built(cfg)
    found = model([{"image": tiny_image()}])[0]["instances"]
    annotations = []
    for i, (x0, y0, x1, y1) in enumerate(found.pred_boxes.tensor[::2].round().tolist()):
        box = [x0, y0, x1 - x0 + 1, y1 - y0]
        label = int(found.pred_classes[2 * i]) + 1
        annotations.append(
            {"id": i + 1, "image_id": 7, "category_id": label, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        )
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(IMAGE[:, :, ::-1]).save(Path(folder) / "a.png")
        image = {"id": 7, "file_name": "a.png", "height": 64, "width": 96}
        categories = [{"id": i + 1, "name": name} for i, name in enumerate("abc")]
        content = {"images": [image], "annotations": annotations, "categories": categories, "info": {}}
        (Path(folder) / "a.json").write_text(json.dumps(content))
        register_coco_instances("one_image", {}, str(Path(folder) / "a.json"), folder)
        try:
            loader = build_detection_test_loader(cfg, "one_image")
            results = inference_on_dataset(model, loader, COCOEvaluator("one_image", output_dir=folder))
        finally:
            DatasetCatalog.remove("one_image")
            MetadataCatalog.remove("one_image")
    return [results["bbox"][name] for name in ("AP", "AP50", "AP75")]


@torch.no_grad()
def augmentation_at_test_time():
    from detectron2.modeling import GeneralizedRCNNWithTTA

    cfg = config()
    cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.MAX_SIZE = (48, 80), 200
    model = GeneralizedRCNNWithTTA(cfg, built(cfg))
    return of(model([{"image": tiny_image(), "height": 64, "width": 96}])[0]["instances"])


def a_traced_model():
    from detectron2.export import TracingAdapter

    model = built(config("proposals"))
    adapter = TracingAdapter(model, tiny_image(), lambda model, image: model([{"image": image}])[0]["proposals"])
    traced = torch.jit.trace(adapter, adapter.flattened_inputs, check_trace=False)
    found = adapter.outputs_schema(traced(tiny_image(seed=3)))
    return found.proposal_boxes.tensor.sum(0).tolist()


def what_the_engine_exports():
    """Names that scripts take from where Detectron2 itself imports them."""
    from detectron2.engine.defaults import MetadataCatalog, T, build_model, default_setup  # noqa: F401

    resize = T.ResizeShortestEdge([32, 32], 40).get_transform(IMAGE)
    return [resize.new_h, resize.new_w, len(MetadataCatalog.get("coco_2017_val").thing_classes)]


@torch.no_grad()
def a_trainers_model():
    import tempfile
    from pathlib import Path

    from detectron2.checkpoint import DetectionCheckpointer
    from detectron2.engine import DefaultTrainer

    cfg = config(MASK_ON=True)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.pth")
        torch.save({"model": built(cfg).state_dict()}, path)
        model = DefaultTrainer.build_model(cfg)
        DetectionCheckpointer(model).load(path)
    return of(model.eval()([{"image": tiny_image()}])[0]["instances"])


EXPECTED = {
    "a_model_in_parts": [0.8382, 429.17612, 97.54865, 460.90625, 190.74637, 9.92124, 0.46906],
    "panoptic_segments_drawn": [64, 96, 3],
    "metadata_of_panoptic_coco": [80, 54, 79, 53, 0, 0, 70],
    "a_data_set_of_ones_own": [32, 48, 3],
    "rotated_boxes": [1, 2, 600, 200],
    "evaluation_on_a_data_set": [24.52145, 45.87459, 20.79208],
    "augmentation_at_test_time": [227.69801, 115.81871, 286.66235, 194.98695, 9.99969],
    "a_traced_model": [1508.90137, 980.92578, 1787.5199, 1285.2998],
    "what_the_engine_exports": [27, 40, 80],
    "a_trainers_model": [429.17612, 97.54865, 460.90625, 190.74637, 9.92124],
}
SCRIPTS = [
    a_model_in_parts,
    panoptic_segments_drawn,
    metadata_of_panoptic_coco,
    a_data_set_of_ones_own,
    rotated_boxes,
    evaluation_on_a_data_set,
    augmentation_at_test_time,
    a_traced_model,
    what_the_engine_exports,
    a_trainers_model,
]


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:To copy construct:UserWarning")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_script(script, drop_in):
    """The sums are over ten or thirty boxes, each within the goldens' 0.02 pixels and 5e-4 of a score."""
    assert script() == pytest.approx(EXPECTED[script.__name__], rel=1e-4, abs=5e-3)
