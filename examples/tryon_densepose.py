"""The DensePose step of virtual try-on, as IDM-VTON needs it: the photo of a person in, the picture of its pose out.

Run it with a photo, ``python examples/tryon_densepose.py person.jpg``, which downloads the model and writes
``pose.png``. Without one, it shows what comes back where nobody is found: the grey photo.
"""

import argparse

import numpy as np
import torch
from PIL import Image, ImageOps

from litepred import Predictor, example_page, model_zoo
from litepred.densepose import draw


def pose_picture(person: Image.Image, predictor: Predictor) -> Image.Image:
    """Return the body parts of the person, opaque on black, RGB and 768 × 1024, whatever the size of the photo."""
    small = person.convert("RGB").resize((768, 1024)).resize((384, 512))
    bgr = np.asarray(ImageOps.exif_transpose(small))[:, :, ::-1]
    picture = draw(bgr, predictor(bgr)["instances"], "dp_segm", style="idm-vton")
    return Image.fromarray(picture[:, :, ::-1]).resize((768, 1024))


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("photo", nargs="?", help="image of a person")
photo = parser.parse_args().photo
cfg = model_zoo.get_config("DensePose/densepose_rcnn_R_50_FPN_s1x", trained=photo is not None)
cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.8 if photo else 1.0
if not photo:
    cfg.INPUT.MIN_SIZE_TEST = 256  # quick: without a checkpoint there is nothing to find
predictor = Predictor(cfg)  # once: it serves all photos

pose = pose_picture(Image.open(photo or example_page()), predictor)
if photo:
    pose.save("pose.png")
print("pose.png" if photo else "nobody found", pose.mode, pose.size)
