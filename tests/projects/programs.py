"""Programs of projects that are built on Detectron2, and how they are called: data for the test beside it.

A program is a script of a project, unchanged, or some lines that call the project's own functions, where it has no
script or one with fixed paths. ``{picture}``, ``{weights}`` and ``{out}``, a folder, stand for what the test gives.
"""

from __future__ import annotations

from typing import Any, NamedTuple

SMALL = ["MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "256", "INPUT.MAX_SIZE_TEST", "400"]
FEW = ["TEST.DETECTIONS_PER_IMAGE", "10"]
WEIGHTS = ["MODEL.WEIGHTS", "{weights}"]
OPTS = [*WEIGHTS, *SMALL, *FEW]
SEEN = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"]
EVALUATED_OPTS = [
    *(*OPTS, *SEEN, "OUTPUT_DIR", "{out}"),
    *("DATASETS.TEST", "('coco_2017_val',)", "DATALOADER.NUM_WORKERS", "0"),
]


class Program(NamedTuple):
    """What is run: in the folder of a checkout, ``arguments`` of Python, or ``code``.

    A checkout that begins with a slash is a folder of Detectron2. ``more`` are further folders with modules.
    """

    checkout: str
    arguments: list[str]
    code: str = ""
    more: tuple[str, ...] = ()


def demo(
    checkout: str,
    config: str,
    *before: str,
    script: str = "demo/demo.py",
    picture: str = "{picture}",
    opts: Any = (),
    more: tuple[str, ...] = (),
) -> Program:
    """Return a demo.py as most projects have it."""
    given = [script, "--config-file", config, "--input", picture, "--output", "{out}/picture.png"]
    return Program(checkout, [*given, "--confidence-threshold", "0.0", *before, "--opts", *OPTS, *opts], "", more)


def predicted(checkout: str, imports: str, config: str, opts: Any = (), more: tuple[str, ...] = ()) -> Program:
    """Return what a project's README says: its keys, a config of its own, and `DefaultPredictor`.

    ``imports`` are lines that make ``cfg``.
    """
    code = f"""
from detectron2.config import get_cfg
{imports}
from detectron2.data.detection_utils import read_image
from detectron2.engine import DefaultPredictor

cfg.merge_from_file({config!r})
cfg.merge_from_list({[*OPTS, *opts]!r})
DefaultPredictor(cfg)(read_image("{{picture}}", cfg.INPUT.FORMAT))
"""
    return Program(checkout, [], code, more)


def lazy(checkout: str, config: str) -> Program:
    """Return a model of a lazy config, which predicts by itself."""
    code = f"""
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyConfig, instantiate
from detectron2.data.detection_utils import read_image
from detectron2.data.transforms import AugInput, ResizeShortestEdge

cfg = LazyConfig.load({config!r})
cfg.model.roi_heads.box_predictor.test_score_thresh = 0.0
model = instantiate(cfg.model).eval()
DetectionCheckpointer(model).load("{{weights}}")
image = read_image("{{picture}}", model.input_format)
resized = ResizeShortestEdge([256, 256], 400)(AugInput(image)).apply_image(image)
inputs = {{{{"image": torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))}}}}
with torch.no_grad():
    model([{{{{**inputs, "height": image.shape[0], "width": image.shape[1]}}}}])
"""
    return Program(checkout, [], code)


def video(
    checkout: str, config: str, frames: str, opts: Any = (), more: tuple[str, ...] = (), script: str = "demo.py"
) -> Program:
    """Return a demo of videos, which takes three parts of the picture for frames; ``frames`` is how it names them."""
    code = FRAMES.replace("SCRIPT", script).replace("CONFIG", config).replace("NAMED", frames)
    return Program(checkout, [], code.replace("*OPTS", repr([*OPTS, *opts])[1:-1]), more)


def evaluated(
    checkout: str, script: str, config: str, opts: Any = EVALUATED_OPTS, more: tuple[str, ...] = ()
) -> Program:
    """Return a train_net.py with --eval-only, on a data set of one image; its figures count as an answer."""
    code = EVALUATED.replace("SCRIPT", script).replace("CONFIG", config).replace("*OPTS", repr([*opts])[1:-1])
    return Program(checkout, [], code, more)


def keys(module: str, function: str) -> str:
    """Return the lines that make a config with the keys of a project."""
    return f"from {module} import {function}\ncfg = get_cfg()\n{function}(cfg)"


ADELAI = ["MODEL.BASIS_MODULE.NORM", "BN"]
COCO = "configs/coco"
M2F = "maskformer2_R50_bs16"
DENSE = "configs/densepose_rcnn_R_50_FPN_s1x.yaml"
DENSEPOSE = ["{weights}", "{picture}"]

INTERFACE = "import sys\nsys.path.insert(0, 'projects/{}')\n"  # of a project of Detectron2's

DETECTRON2_DEMO = """
import runpy, sys, types
sys.path.insert(0, "demo")
import predictor
for name in ("vision", "vision.fair", "vision.fair.detectron2", "vision.fair.detectron2.demo"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["vision.fair.detectron2.demo.predictor"] = predictor  # where the demo looks for the file beside it
sys.argv = ["demo.py", "--config-file", "configs/COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml", "--input",
            "{picture}", "--output", "{out}/picture.png", "--confidence-threshold", "0.0", "--opts", *OPTS]
runpy.run_path("demo/demo.py", run_name="__main__")
""".replace("*OPTS", repr(OPTS)[1:-1])

DETECTOR = """
import cv2
from PACKAGE.utils.utils_detectron2 import DefaultPredictor_Lazy
from detectron2.config import LazyConfig
from detectron2 import model_zoo

if "KIND" == "vitdet":
    cfg = LazyConfig.load("PACKAGE/configs/cascade_mask_rcnn_vitdet_h_75ep.py")
    cfg.model.backbone.net.embed_dim, cfg.model.backbone.net.depth, cfg.model.backbone.net.num_heads = 64, 2, 2
    cfg.model.backbone.net.window_block_indexes = [0]
    for i in range(3):
        cfg.model.roi_heads.box_predictors[i].test_score_thresh = 0.0
else:
    cfg = model_zoo.get_config("new_baselines/mask_rcnn_regnety_4gf_dds_FPN_400ep_LSJ.py", trained=True)
    cfg.model.roi_heads.box_predictor.test_score_thresh = 0.0
    cfg.model.roi_heads.box_predictor.test_nms_thresh = 0.4
cfg.train.init_checkpoint = "{weights}"
cfg.dataloader.test.mapper.augmentations[0].short_edge_length = 256
cfg.dataloader.test.mapper.augmentations[0].max_size = 256
DefaultPredictor_Lazy(cfg)(cv2.imread("{picture}"))
"""

SAM_3D_BODY = """
import cv2, detectron2.checkpoint, detectron2.config, detectron2.data.transforms
import build_detector

load = detectron2.config.LazyConfig.load
def small(path, *keys):
    cfg = load(path, *keys)
    if path.endswith("vitdet_h_75ep.py"):  # and not a file that it reads
        cfg.model.backbone.net.embed_dim, cfg.model.backbone.net.depth, cfg.model.backbone.net.num_heads = 64, 2, 2
        cfg.model.backbone.net.window_block_indexes = [0]
    return cfg
detectron2.config.LazyConfig.load = small
checkpointer = detectron2.checkpoint.DetectionCheckpointer.load
detectron2.checkpoint.DetectionCheckpointer.load = lambda self, path: checkpointer(self, "{weights}")
resize = detectron2.data.transforms.ResizeShortestEdge
detectron2.data.transforms.ResizeShortestEdge = lambda short_edge_length, max_size: resize(256, 256)
detector = build_detector.HumanDetector("vitdet", "cpu")
for predictor in detector.detector.roi_heads.box_predictor:
    predictor.test_score_thresh = 0.0
print(detector.run_human_detection(cv2.imread("{picture}"), bbox_thr=0.0))
"""

IDM_VTON = """
from PIL import Image
import apply_net
from detectron2.data.detection_utils import _apply_exif_orientation, convert_PIL_to_numpy

human_img = Image.open("{picture}").convert("RGB")
human_img_arg = _apply_exif_orientation(human_img.resize((384, 512)))
human_img_arg = convert_PIL_to_numpy(human_img_arg, format="BGR")
args = apply_net.create_argument_parser().parse_args(
    ("show", "../configs/densepose_rcnn_R_50_FPN_s1x.yaml", "{weights}", "dp_segm", "-v", "--opts", *OPTS)
)
pose_img = args.func(args, human_img_arg)[:, :, ::-1]
Image.fromarray(pose_img).resize((768, 1024)).save("{out}/equal.png")
""".replace("*OPTS", repr(["MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "256", *FEW, *SEEN])[1:-1])

CATVTON = """
import shutil
import detectron2.config.defaults
detectron2.config.defaults._C.MODEL.DEVICE = "cpu"
shutil.copytree("{checkout}/../IDM-VTON/configs", "{out}/model")
from model.DensePose import DensePose

setup = DensePose.setup_config
def on_these_weights(self):
    self.model_path, self.min_score = "{weights}", 0.0
    return setup(self)
DensePose.setup_config = on_these_weights
DensePose("{out}/model", device="cpu")("{picture}").save("{out}/equal.png")
"""

VID2DENSEPOSE = """
import os, sys
import cv2
import main
os.chdir("{out}")
os.symlink("{detectron2}", "detectron2")
writer = cv2.VideoWriter("film.mp4", cv2.VideoWriter_fourcc(*"mp4v"), 10, (320, 240))
writer.write(cv2.resize(cv2.imread("{picture}"), (320, 240)))
writer.release()
predictor = main.DefaultPredictor
def on_these_weights(cfg):
    cfg.MODEL.WEIGHTS = "{weights}"
    cfg.merge_from_list(OPTS)
    return predictor(cfg)
main.DefaultPredictor = on_these_weights
main.main("film.mp4", "found.mp4")
cv2.imwrite("equal.png", cv2.VideoCapture("found.mp4").read()[1])
""".replace("OPTS", repr([*SMALL, *FEW, *SEEN]))

DETECTREE2 = """
import shutil
from detectree2.models.predict import predict_on_data
from detectree2.models.train import setup_cfg
from detectron2.engine import DefaultPredictor

cfg = setup_cfg(update_model="{weights}")
cfg.MODEL.WEIGHTS = "{weights}"
cfg.merge_from_list(OPTS)
predict_on_data("{pictures}", "{out}/found", DefaultPredictor(cfg))
""".replace("OPTS", repr([*SMALL, *FEW, *SEEN]))

OCRD = """
import logging
from ocrd_detectron2.segment import Detectron2Segment
import cv2

Detectron2Segment.logger = logging.getLogger()
Detectron2Segment.parameter = dict(device="cpu", model_config="CONFIG", model_weights="{weights}", min_confidence=0.0,
                                   categories=[str(i) for i in range(80)])
Detectron2Segment.resolve_resource = lambda self, path: path
segment = Detectron2Segment.__new__(Detectron2Segment)
segment.setup()
segment.predictor(cv2.resize(cv2.imread("{picture}"), (256, 256)))
"""

LAYOUT_PARSER = """
import cv2, layoutparser
model = layoutparser.models.Detectron2LayoutModel(
    "configs/COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml", "{weights}", device="cpu", extra_config=OPTS)
print(model.detect(cv2.imread("{picture}")))
""".replace("OPTS", repr([*SMALL[2:], *FEW, *SEEN]))

SAHI = """
from sahi import AutoDetectionModel
from sahi.predict import get_sliced_prediction
model = AutoDetectionModel.from_pretrained("detectron2", model_path="{weights}", device="cpu", image_size=256,
    config_path="configs/COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml", confidence_threshold=0.0)
get_sliced_prediction("{picture}", model, 200, 200)
"""

# Not by its demo, as DefaultPredictor's rounding decides which of the boxes that it draws are drawn again.
DIFFUSION_DET = """
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.data.detection_utils import read_image
from detectron2.modeling import build_model
from diffusiondet import add_diffusiondet_config
from diffusiondet.util.model_ema import add_model_ema_configs

cfg = get_cfg()
add_diffusiondet_config(cfg)
add_model_ema_configs(cfg)
cfg.merge_from_file("configs/diffdet.coco.res50.yaml")
cfg.MODEL.DEVICE = "cpu"
model = build_model(cfg)
model.eval()
DetectionCheckpointer(model).load("{weights}")
image = torch.as_tensor(read_image("{picture}", "RGB")[:256, :320].transpose(2, 0, 1).copy())
with torch.no_grad():
    model([dict(image=image, height=256, width=320)])
"""

SEMANTIC_SAM = """
import sitecustomize
import semantic_sam  # and no more, as its models need a fork of Detectron2
sitecustomize.answers.append(dict(imported=len(dir(semantic_sam))))
"""

OV_SEG = """
import runpy, sys
import clip, clip.model
clip.load = lambda name, mask_prompt_depth, device: (
    clip.model.CLIP(768, 224, 2, 64, 16, mask_prompt_depth, 77, 49408, 64, 2, 2).eval(), None)
sys.argv = ["demo.py", "--config-file", "configs/ovseg_swinB_vitL_demo.yaml", "--input", "{picture}", "--class-names",
            "cup", "table", "--output", "{out}/picture.png", "--opts", *OPTS]
runpy.run_path("demo.py", run_name="__main__")
""".replace("*OPTS", repr(OPTS)[1:-1])

PUBLAYNET = """
import json, runpy, sys
import cv2, numpy, utils
from detectron2.data.datasets.register_coco import register_coco_instances

image = cv2.imread("{picture}")
facts = dict(id=1, file_name="{picture}", width=image.shape[1], height=image.shape[0])
box = dict(id=1, image_id=1, category_id=1, bbox=[9, 9, 90, 90], area=8100, iscrowd=0)
box["segmentation"] = [[9, 9, 99, 9, 99, 99, 9, 99]]
kinds = [dict(id=i + 1, name=one) for i, one in enumerate(["text", "title", "list", "table", "figure"])]
with open("{out}/data.json", "w") as file:
    json.dump(dict(info=dict(), images=[facts], annotations=[box], categories=kinds), file)
build = utils.build_config
def on_these_weights(*args):
    cfg = build(*args)
    cfg.MODEL.WEIGHTS = "{weights}"
    cfg.merge_from_list(OPTS)
    return cfg
utils.build_config = on_these_weights
utils.register_coco_instances = lambda name, metadata, *_: register_coco_instances(
    name, metadata, "{out}/data.json", "/")
utils.open_image_pil = lambda path, of=utils.open_image_pil: of("{picture}")
utils.debug_image_cv = lambda image: None
runpy.run_path("mask_rcnn_R_50_FPN_3x/PART.py")
""".replace("OPTS", repr([*SMALL, *FEW, *SEEN]))

FRAMES = """
import os, runpy, sys
import cv2
os.makedirs("{out}/frames")
image = cv2.resize(cv2.imread("{picture}"), (320, 240))
for i in range(3):
    cv2.imwrite(f"{out}/frames/{{i}}.jpg", image[4 * i : 200 + 4 * i])
sys.path.insert(0, os.path.dirname(os.path.abspath("SCRIPT")))
sys.argv = ["SCRIPT", "--config-file", "CONFIG", "--input", "{out}/frames/NAMED", "--output", "{out}/found",
            "--confidence-threshold", "0.0", "--opts", *OPTS]
runpy.run_path("SCRIPT", run_name="__main__")
"""

EVALUATED = """
import json, os, runpy, sys
import cv2, sitecustomize
os.environ["DETECTRON2_DATASETS"] = "{out}/data"
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator

os.makedirs("{out}/data/coco/annotations")
os.makedirs("{out}/data/coco/val2017")
cv2.imwrite("{out}/data/coco/val2017/1.png", cv2.resize(cv2.imread("{picture}"), (320, 240)))
known = MetadataCatalog.get("coco_2017_val")
kinds = [dict(id=one, name=known.thing_classes[i]) for one, i in known.thing_dataset_id_to_contiguous_id.items()]
boxes = [dict(id=i + 1, image_id=1, category_id=kind["id"], bbox=[3 * i, 2 * i, 70, 60], area=4200, iscrowd=0,
              segmentation=[[3 * i, 2 * i, 3 * i + 70, 2 * i, 3 * i + 70, 2 * i + 60, 3 * i, 2 * i + 60]])
         for i, kind in enumerate(kinds)]
image = dict(id=1, file_name="1.png", width=320, height=240)
with open("{out}/data/coco/annotations/instances_val2017.json", "w") as file:
    json.dump(dict(info=dict(), images=[image], annotations=boxes, categories=kinds), file)
evaluate = COCOEvaluator.evaluate
def noted(self, *args):
    found = evaluate(self, *args)
    sitecustomize.answers.append(sitecustomize.flat(found))
    return found
COCOEvaluator.evaluate = noted
sys.argv = ["SCRIPT", "--eval-only", "--config-file", "CONFIG", *OPTS]
sys.path.insert(0, os.path.dirname(os.path.abspath("SCRIPT")))
runpy.run_path("SCRIPT", run_name="__main__")
assert len(sitecustomize.answers) == 2, "a model's answer, and the figures"
"""

HANDS = """
import cv2
import demo
predictor, read = demo.DefaultPredictor, cv2.imread
def on_these_weights(cfg):
    cfg.MODEL.WEIGHTS = "{weights}"
    cfg.merge_from_list(OPTS)
    return predictor(cfg)
demo.DefaultPredictor = on_these_weights
cv2.imread, cv2.imwrite = lambda path: read("{picture}"), lambda path, image: True  # whose paths are fixed
demo.os.makedirs = lambda path, exist_ok: None
demo.main()
""".replace("OPTS", repr([*SMALL, *FEW, *SEEN, "MODEL.ROI_HEADS.NUM_CLASSES", "1"]))

NAVIGATION = """
import argparse
import cv2
from agents.utils import semantic_prediction
parser = semantic_prediction.get_seg_parser()
class Parser:
    def parse_args(self, args):
        args[args.index("MODEL.WEIGHTS") + 1] = "{weights}"
        args[args.index("--config-file") + 1] = "{detectron2}/configs/COCO-InstanceSegmentation/MODEL.yaml"
        return parser.parse_args(args + OPTS)
semantic_prediction.get_seg_parser = Parser
args = argparse.Namespace(sem_pred_prob_thr=0.0, sem_gpu_id=-2, visualize=2)
semantic_prediction.SemanticPredMaskRCNN(args).get_prediction(cv2.imread("{picture}"))
""".replace("OPTS", repr([*SMALL, *FEW])).replace("MODEL.yaml", "mask_rcnn_R_50_FPN_1x.yaml")

VIDEO_POSE = """
import types
import cv2, numpy
import infer_video_d2
infer_video_d2.read_video = lambda path: iter([cv2.resize(cv2.imread("{picture}"), (320, 240))] * 2)
predictor = infer_video_d2.DefaultPredictor
def on_these_weights(cfg):
    cfg.MODEL.WEIGHTS = "{weights}"
    cfg.merge_from_list(OPTS)
    return predictor(cfg)
infer_video_d2.DefaultPredictor = on_these_weights
infer_video_d2.model_zoo.get_checkpoint_url = lambda name: ""
numpy.savez_compressed = lambda *args, **kwargs: None  # refuses its lists of different lengths since NumPy 1.24
infer_video_d2.main(types.SimpleNamespace(
    cfg="COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml", im_or_folder="film.mp4", output_dir="{out}"))
""".replace("OPTS", repr([*SMALL, *FEW, *SEEN]))

PHALP = """
import importlib.util, sys
import cv2, sitecustomize, torch
from detectron2 import model_zoo
from detectron2.config import get_cfg
from detectron2.structures import Boxes, Instances

spec = importlib.util.spec_from_file_location("predictors", "phalp/utils/utils_detectron2.py")
predictors = importlib.util.module_from_spec(spec)
spec.loader.exec_module(predictors)
cfg = get_cfg()
cfg.merge_from_file(model_zoo.get_config_file("COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x.yaml"))
cfg.merge_from_list(OPTS)
cfg.MODEL.WEIGHTS = "{weights}"
cfg.MODEL.META_ARCHITECTURE = "GeneralizedRCNN_with_proposals"
image = cv2.resize(cv2.imread("{picture}"), (320, 240))
given = Instances(image.shape[:2], pred_boxes=Boxes(torch.tensor([[10.0, 20, 200, 220], [5, 5, 90, 100]])))
given.pred_classes, given.scores = torch.tensor([0, 0]), torch.ones(2)
found = predictors.DefaultPredictor_with_RPN(cfg).predict_with_bbox(image, given)
sitecustomize.answers.append(sitecustomize.flat(found))
""".replace("OPTS", repr([*SMALL, *FEW, *SEEN]))


def _detector(checkout: str, package: str, kind: str) -> Program:
    return Program(checkout, [], DETECTOR.replace("PACKAGE", package).replace("KIND", kind))


PROGRAMS = {
    "Mask2Former instances": demo("Mask2Former", f"{COCO}/instance-segmentation/{M2F}_50ep.yaml"),
    "Mask2Former panoptic": demo("Mask2Former", f"{COCO}/panoptic-segmentation/{M2F}_50ep.yaml"),
    "Mask2Former Swin": demo("Mask2Former", f"{COCO}/instance-segmentation/swin/maskformer2_swin_tiny_bs16_50ep.yaml"),
    "Mask2Former semantic": demo("Mask2Former", f"configs/ade20k/semantic-segmentation/{M2F}_160k.yaml"),
    "MaskFormer": demo("MaskFormer", "configs/ade20k-150/maskformer_R50_bs16_160k.yaml"),
    "MaskDINO": demo("MaskDINO", f"{COCO}/instance-segmentation/maskdino_R50_bs16_50ep_3s.yaml"),
    "OneFormer": demo("OneFormer", "configs/ade20k/oneformer_R50_bs16_160k.yaml", "--task", "panoptic"),
    "Detic": demo(
        "Detic",
        "configs/BoxSup-C2_L_CLIP_R5021k_640b64_4x.yaml",
        "--vocabulary",
        "lvis",
        script="demo.py",
        more=("../CenterNet2", "../timm-0.5.4", "../ov-seg/third_party/CLIP"),
    ),
    "CenterNet2": demo("CenterNet2", "configs/CenterNet2_R50_1x.yaml", script="demo.py", picture="{pictures}/"),
    "centermask2": demo("centermask2", "configs/centermask/centermask_V_39_eSE_FPN_ms_3x.yaml"),
    "AdelaiDet FCOS": demo("AdelaiDet", "configs/FCOS-Detection/R_50_1x.yaml"),
    "AdelaiDet BlendMask": demo("AdelaiDet", "configs/BlendMask/R_50_1x.yaml", opts=ADELAI),
    "AdelaiDet SOLOv2": demo("AdelaiDet", "configs/SOLOv2/R50_3x.yaml"),
    "SparseInst": demo("SparseInst", "configs/sparse_inst_r50_giam.yaml", script="demo.py"),
    "hpanwar08": demo("hpanwar08-detectron2", "configs/DLA_mask_rcnn_X_101_32x8d_FPN_3x.yaml"),
    "Detectron2 demo": Program("/", [], DETECTRON2_DEMO),
    **{
        f"DiT {kind}": Program(
            "unilm/dit/object_detection",
            [
                *("inference.py", "--image_path", "{picture}", "--output_file_name", "{out}/picture.png"),
                *("--config-file", f"publaynet_configs/{kind}/{kind}_dit_base.yaml", "--opts", *OPTS, *SEEN),
            ],
        )
        for kind in ("maskrcnn", "cascade")
    },
    "VoVNet": predicted("vovnet-detectron2", keys("vovnet", "add_vovnet_config"), "configs/mask_rcnn_V_39_FPN_3x.yaml"),
    "DETR": predicted("detr", keys("d2.detr", "add_detr_config"), "d2/configs/detr_256_6_6_torchvision.yaml"),
    "DETR masks": predicted(
        "detr", keys("d2.detr", "add_detr_config"), "d2/configs/detr_segm_256_6_6_torchvision.yaml"
    ),
    "DensePose show": Program(
        "/projects/DensePose",
        [
            *("apply_net.py", "show", DENSE, *DENSEPOSE, "dp_u,dp_v,dp_segm,bbox"),
            *("--output", "{out}/picture.png", "--opts", *SMALL, *FEW, *SEEN),
        ],
    ),
    "DensePose dump": Program(
        "/projects/DensePose",
        ["apply_net.py", "dump", DENSE, *DENSEPOSE, "--output", "{out}/found.pkl", "--opts", *SMALL, *FEW, *SEEN],
    ),
    "IDM-VTON": Program("IDM-VTON/gradio_demo", [], IDM_VTON),
    "CatVTON": Program("CatVTON", [], CATVTON),
    "vid2densepose": Program("vid2densepose", [], VID2DENSEPOSE, ("{detectron2}/projects/DensePose",)),
    "detectree2": Program("detectree2", [], DETECTREE2),
    "ocrd_detectron2": Program(
        "ocrd_detectron2",
        [],
        OCRD.replace("CONFIG", "{detectron2}/configs/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"),
    ),
    "layoutparser": Program("/", [], LAYOUT_PARSER),
    "sahi": Program("/", [], SAHI),
    "PointRend instances": predicted(
        "/",
        INTERFACE.format("PointRend") + keys("point_rend", "add_pointrend_config"),
        "projects/PointRend/configs/InstanceSegmentation/pointrend_rcnn_R_50_FPN_3x_coco.yaml",
    ),
    "PointRend semantic": predicted(
        "/",
        INTERFACE.format("PointRend") + keys("point_rend", "add_pointrend_config"),
        "projects/PointRend/configs/SemanticSegmentation/pointrend_semantic_R_101_FPN_1x_cityscapes.yaml",
    ),
    "PointSup": predicted(
        "/",
        "from detectron2.projects.point_rend import add_pointrend_config\n"
        + INTERFACE.format("PointSup")
        + keys("point_sup", "add_point_sup_config")
        + "\nadd_pointrend_config(cfg)",
        "projects/PointSup/configs/implicit_pointrend_R_50_FPN_3x_point_sup_point_aug_coco.yaml",
    ),
    "DeepLab": predicted(
        "/",
        INTERFACE.format("DeepLab") + keys("deeplab", "add_deeplab_config"),
        "projects/DeepLab/configs/Cityscapes-SemanticSegmentation/deeplab_v3_plus_R_103_os16_mg124_poly_90k_bs16.yaml",
        ["INPUT.CROP.SIZE", "[256, 384]"],  # the padded picture, which it pools as a whole
    ),
    "TridentNet": predicted(
        "/",
        INTERFACE.format("TridentNet") + keys("tridentnet", "add_tridentnet_config"),
        "projects/TridentNet/configs/tridentnet_fast_R_50_C4_1x.yaml",
    ),
    "MViTv2": lazy("/", "projects/MViTv2/configs/mask_rcnn_mvitv2_t_3x.py"),
    "Rethinking-BatchNorm": lazy("/", "projects/Rethinking-BatchNorm/configs/mask_rcnn_BNhead.py"),
    "4D-Humans vitdet": _detector("4D-Humans", "hmr2", "vitdet"),
    "4D-Humans regnety": _detector("4D-Humans", "hmr2", "regnety"),
    "HaMeR vitdet": _detector("hamer", "hamer", "vitdet"),
    "HaMeR regnety": _detector("hamer", "hamer", "regnety"),
    "sam-3d-body": Program("sam-3d-body", [], SAM_3D_BODY, ("tools",)),
    "CutLER": demo(
        "CutLER/cutler/demo",
        "../model_zoo/configs/CutLER-ImageNet/cascade_mask_rcnn_R_50_FPN_demo.yaml",
        script="demo.py",
        more=("..",),
    ),
    "DiffusionDet": Program("DiffusionDet", [], DIFFUSION_DET),
    "Semantic-SAM": Program("Semantic-SAM", [], SEMANTIC_SAM),
    "YOLOF": predicted(
        "YOLOF",
        "from yolof.config import get_cfg\nfrom yolof import *\ncfg = get_cfg()",
        "configs/yolof_R_50_C5_1x.yaml",
    ),
    "ov-seg": Program("ov-seg", [], OV_SEG, ("third_party/CLIP",)),
    "publaynet test": Program("detectron2-publaynet", [], PUBLAYNET.replace("PART", "test")),
    "publaynet eval": Program("detectron2-publaynet", [], PUBLAYNET.replace("PART", "eval")),
    "hand_detector": Program("hand_detector.d2", [], HANDS),
    "Object-Goal-Navigation": Program("Object-Goal-Navigation", [], NAVIGATION, (".",)),
    "VideoPose3D": Program("VideoPose3D", [], VIDEO_POSE, ("inference",)),
    "PHALP": Program("PHALP", [], PHALP),
    "UniDet": demo("UniDet", "configs/Unified_learned_OCI_R50_2x.yaml", script="demo.py"),
    "AdelaiDet CondInst": demo("AdelaiDet", "configs/CondInst/MS_R_50_1x.yaml"),
    "DeFRCN": predicted(
        "DeFRCN",
        "from defrcn.config import get_cfg\nimport defrcn.modeling\ncfg = get_cfg()",
        "configs/coco/defrcn_det_r101_base.yaml",
    ),
    "MinVIS": video(
        "MinVIS",
        "configs/youtubevis_2019/video_maskformer2_R50_bs32_8ep_frame.yaml",
        "",
        script="demo_video/demo.py",
    ),
    "PanopticFCN": predicted(
        "PanopticFCN",
        keys("panopticfcn", "add_panopticfcn_config"),
        "configs/PanopticFCN-R50-1x.yaml",
        ["MODEL.POSITION_HEAD.DEFORM", "False"],  # which Detectron2 computes with CUDA alone
    ),
    "FsDet": Program(
        "few-shot-object-detection",
        [
            *("-m", "demo.demo", "--config-file", "configs/COCO-detection/faster_rcnn_R_101_FPN_ft_all_1shot.yaml"),
            *(
                "--input",
                "{picture}",
                "--output",
                "{out}/picture.png",
                "--confidence-threshold",
                "0.0",
                "--opts",
                *OPTS,
            ),
        ],
    ),
    "GTR": video(
        "GTR",
        "configs/GTR_TAO_DR2101.yaml",
        "*.jpg",
        [
            *("INPUT.TEST_SIZE", "256", "MODEL.CENTERNET.USE_DEFORMABLE", "False"),
            *("MODEL.RESNETS.DEFORM_ON_PER_STAGE", "[False, False, False, False]"),
        ],
        ("../CenterNet2",),
    ),
    "UnSAM": Program(
        "UnSAM/whole_image_segmentation",
        [
            *("demo_whole_image.py", "--input", "{picture}", "--output", "{out}/picture.png"),
            *("--confidence_thresh", "0.0", "--config-file", "configs/maskformer2_R50_bs16_50ep.yaml"),
            *("--opts", *OPTS, "OUTPUT_DIR", "{out}"),
        ],
    ),
    "Detectron2 evaluated": evaluated(
        "/", "tools/train_net.py", "configs/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"
    ),
    "Detectron2 evaluated, lazy": evaluated(
        "/",
        "tools/lazyconfig_train_net.py",
        "configs/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py",
        [
            *("train.init_checkpoint={weights}", "train.device=cpu", "train.output_dir={out}"),
            *("dataloader.test.num_workers=0", "dataloader.evaluator.output_dir={out}"),
            "dataloader.test.mapper.augmentations.0.short_edge_length=256",
            "model.roi_heads.box_predictor.test_score_thresh=0.0",
            "model.roi_heads.box_predictor.test_topk_per_image=10",
        ],
    ),
    "YOLOF evaluated": evaluated("YOLOF", "tools/train_net.py", "configs/yolof_R_50_C5_1x.yaml"),
    "CenterNet2 evaluated": evaluated("CenterNet2", "train_net.py", "configs/CenterNet2_R50_1x.yaml"),
}
