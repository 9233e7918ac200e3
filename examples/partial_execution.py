"""Run a model step by step, to get at what lies between the steps: here the features that the mask head sees."""

import argparse

from litepred import Predictor, example_page

argparse.ArgumentParser(description=__doc__).parse_args()
predictor = Predictor()
model = predictor.model

images = model.preprocess_image([predictor.prepare(example_page())])  # resized, normalised, padded
features = model.backbone(images.tensor)
proposals, _ = model.proposal_generator(images, features)
instances = model.roi_heads._forward_box(features, proposals)
mask_features = [features[f] for f in model.roi_heads.in_features]
mask_features = model.roi_heads.mask_pooler(mask_features, [x.pred_boxes for x in instances])

print("features:", {name: tuple(feature.shape) for name, feature in features.items()})
print("instances:", len(instances[0]), "mask features:", tuple(mask_features.shape))
