"""Write a component of your own and name it in the config: here a mask head that keeps the features it sees.

Detectron2's other way to reach an intermediate tensor, besides running the model step by step.
"""

import argparse

from litepred import Predictor, example_page
from litepred.default_model import default_config
from litepred.modeling import ROI_MASK_HEAD_REGISTRY, MaskRCNNConvUpsampleHead

argparse.ArgumentParser(description=__doc__).parse_args()


@ROI_MASK_HEAD_REGISTRY.register()
class FeatureKeepingMaskHead(MaskRCNNConvUpsampleHead):
    """The usual head; each instance also gets the mean of its pooled features, a vector to compare instances by."""

    def forward(self, x, instances):
        """Map pooled boxes (D, C, S, S) to masks and ``embedding`` (D, C)."""
        instances = super().forward(x, instances)
        for embedding, one in zip(x.mean(dim=(2, 3)).split([len(i) for i in instances]), instances):
            one.embedding = embedding
        return instances


cfg = default_config()
cfg.MODEL.ROI_MASK_HEAD.NAME = "FeatureKeepingMaskHead"
instances = Predictor(cfg)(example_page())["instances"]
print(instances.pred_masks.shape, instances.embedding.shape)
