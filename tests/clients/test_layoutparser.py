"""layoutparser's Detectron2LayoutModel."""

from __future__ import annotations

import pytest

from .conftest import client

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def lp():
    return client("layoutparser")


def test_it_sees_detectron2(lp):
    assert lp.file_utils.is_detectron2_available()


@pytest.mark.parametrize("threshold", [1.0, 0.3])
def test_layout(lp, trained, threshold):
    opts = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", threshold]
    ours = trained.predictor(*opts)(trained.image)["instances"]
    model = lp.Detectron2LayoutModel(
        trained.config, trained.checkpoint, label_map={0: "first"}, extra_config=opts, device="cpu"
    )
    layout = model.detect(trained.image)
    assert bool(layout) == bool(len(ours)) == (threshold < 1)
    assert [list(block.coordinates) for block in layout] == ours.pred_boxes.tensor.tolist()
    assert [block.score for block in layout] == ours.scores.tolist()
    assert [block.type for block in layout] == [{0: "first"}.get(i, i) for i in ours.pred_classes.tolist()]
