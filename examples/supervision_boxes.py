"""Hand the result to the supervision package, for its annotators, trackers and zones (pip install supervision)."""

import argparse

import supervision as sv

from litepred import Predictor, example_page, read_image

argparse.ArgumentParser(description=__doc__).parse_args()
predictor = Predictor()
image = read_image(example_page())  # BGR, as supervision's annotators want it
detections = sv.Detections.from_detectron2(predictor(image))
detections = detections[detections.confidence > 0.5]

names = [predictor.metadata.thing_classes[label] for label in detections.class_id]
picture = sv.MaskAnnotator().annotate(image.copy(), detections)
picture = sv.BoxAnnotator().annotate(picture, detections)
picture = sv.LabelAnnotator().annotate(picture, detections, labels=names)
print(len(detections), "detections:", ", ".join(sorted(set(names))))
print("picture:", picture.shape, picture.dtype)
