"""The table: every module of Detectron2 that a script may import, and where litepred has each of its names.

A module's entry is a tuple of lines. ``HOME: NAME OTHER=NAME_THERE`` says that a module of litepred (with a leading
dot) or another one has the names, where need be under another name; ``+ MODULE …`` that these modules of the same
package are re-exported; ``! REASON: NAME …`` that the names only exist for imports to succeed, and why (`ABSENT`).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

__all__ = ["ABSENT", "MODULES", "VERSION", "Names", "names_of"]

VERSION = "0.6"  # of the Detectron2 whose API this is

ABSENT = {
    "training": "litepred only infers. Train with Detectron2 and load the checkpoint here, through cfg.MODEL.WEIGHTS",
    "evaluation": "it scores results on Detectron2's data sets. Score a model with `litepred evaluate`, or with "
    "litepred.evaluation",
    "lazy": "it runs a Python file as a config. Write the model's config as YAML and load it with get_cfg() and "
    "merge_from_file()",
    "export": "litepred's models are not traced or scripted. Export with Detectron2, or run the model as it is",
    "old": "it serves Detectron1's code or configs. Paste masks with paste_masks_in_image(), load weights with "
    "DetectionCheckpointer, and bring old configs to today's format with upgrade_config()",
    "model": "it belongs to a kind of model that litepred does not run. Run that model with Detectron2",
    "unknown": "If Detectron2 has it, a script that needs it needs Detectron2 itself",
}

_TABLE: dict[str, tuple[str, ...]] = {
    "": (),
    "config": ("+ config.compat config.config config.instantiate config.lazy",),
    "config.config": (".config: CfgNode configurable get_cfg", ".drop_in.configs: global_cfg set_global_cfg"),
    "config.compat": (".drop_in.configs: upgrade_config", "! old: downgrade_config"),
    "config.defaults": (".drop_in.configs: _C",),
    "config.instantiate": ("! lazy: instantiate",),
    "config.lazy": ("! lazy: LazyCall LazyConfig",),
    "model_zoo": ("+ model_zoo.model_zoo",),
    "model_zoo.model_zoo": (".model_zoo: get get_checkpoint_url get_config get_config_file",),
    "checkpoint": ("+ checkpoint.detection_checkpoint", "! training: Checkpointer PeriodicCheckpointer"),
    "checkpoint.detection_checkpoint": (".checkpoint: DetectionCheckpointer",),
    "checkpoint.c2_model_loading": (
        ".drop_in.adapters: align_and_update_state_dicts",
        "! old: convert_c2_detectron_names _longest_common_prefix_str",
    ),
    "engine": ("+ engine.defaults engine.hooks engine.launch engine.train_loop",),
    "engine.defaults": (
        ".predictor: DefaultPredictor",
        ".drop_in.process: default_argument_parser default_setup",
        "! training: DefaultTrainer create_ddp_model default_writers",
    ),
    "engine.hooks": (
        "! training: AutogradProfiler BestCheckpointer CallbackHook EvalHook IterationTimer LRScheduler "
        "PeriodicCheckpointer PeriodicWriter PreciseBN TorchMemoryStats TorchProfiler HookBase",
    ),
    "engine.launch": (".drop_in.process: launch", "! training: DEFAULT_TIMEOUT"),
    "engine.train_loop": ("! training: AMPTrainer HookBase SimpleTrainer TrainerBase",),
    "structures": (
        "+ structures.boxes structures.image_list structures.instances structures.keypoints structures.masks",
        ".drop_in.rotated: RotatedBoxes pairwise_iou_rotated",
    ),
    "structures.boxes": (
        ".structures: BoxMode Boxes pairwise_intersection pairwise_ioa pairwise_iou",
        "! training: matched_pairwise_iou pairwise_point_box_distance",
    ),
    "structures.image_list": (".structures: ImageList",),
    "structures.instances": (".structures: Instances",),
    "structures.keypoints": (".structures: Keypoints heatmaps_to_keypoints",),
    "structures.masks": (".structures: BitMasks PolygonMasks ROIMasks polygons_to_bitmask",),
    "structures.rotated_boxes": (".drop_in.rotated: RotatedBoxes pairwise_iou=pairwise_iou_rotated",),
    "layers": (
        "+ layers.batch_norm layers.blocks layers.deform_conv layers.nms layers.roi_align layers.roi_align_rotated",
        "+ layers.losses layers.shape_spec layers.wrappers",
        ".layers: paste_masks_in_image",
        "! model: ASPP",
    ),
    "layers.batch_norm": (
        ".layers: FrozenBatchNorm2d LayerNorm=LayerNorm2d get_norm",
        "torch.nn: BatchNorm2d NaiveSyncBatchNorm=BatchNorm2d",
    ),
    "layers.blocks": (".drop_in.layers: CNNBlockBase DepthwiseSeparableConv2d",),
    "layers.deform_conv": (".layers: DeformConv ModulatedDeformConv",),
    "layers.losses": ("! training: ciou_loss diou_loss",),
    "layers.mask_ops": (
        ".layers: paste_masks_in_image",
        "! old: pad_masks paste_mask_in_image_old scale_boxes",
    ),
    "layers.nms": (
        ".drop_in.layers: batched_nms",
        ".drop_in.rotated: batched_nms_rotated nms_rotated",
        "torchvision.ops: nms",
    ),
    "layers.roi_align": (".drop_in.layers: ROIAlign", "torchvision.ops: roi_align"),
    "layers.roi_align_rotated": (".drop_in.rotated: ROIAlignRotated roi_align_rotated",),
    "layers.rotated_boxes": (".drop_in.rotated: pairwise_iou_rotated=rotated_iou",),
    "layers.shape_spec": (".layers: ShapeSpec",),
    "layers.wrappers": (
        ".layers: Conv2d",
        ".drop_in.layers: move_device_like nonzero_tuple shapes_to_tensor",
        "torch: cat",
        "torch.nn: BatchNorm2d ConvTranspose2d Linear",
        "torch.nn.functional: interpolate",
        "! training: cross_entropy empty_input_loss_func_wrapper",
    ),
    "modeling": (
        "+ modeling.meta_arch modeling.roi_heads modeling.proposal_generator modeling.backbone",
        "+ modeling.postprocessing modeling.test_time_augmentation",
        ".modeling: ANCHOR_GENERATOR_REGISTRY build_anchor_generator",
        "! model: MMDetBackbone MMDetDetector",
    ),
    "modeling.anchor_generator": (
        ".modeling: ANCHOR_GENERATOR_REGISTRY DefaultAnchorGenerator build_anchor_generator",
        "! model: RotatedAnchorGenerator",
    ),
    "modeling.backbone": (
        ".modeling: BACKBONE_REGISTRY build_backbone",
        "+ modeling.backbone.backbone modeling.backbone.fpn modeling.backbone.mvit modeling.backbone.regnet",
        "+ modeling.backbone.resnet modeling.backbone.swin modeling.backbone.vit",
    ),
    "modeling.backbone.backbone": (".modeling: Backbone",),
    "modeling.backbone.build": (".modeling: BACKBONE_REGISTRY build_backbone",),
    "modeling.backbone.fpn": (
        ".modeling.backbone.fpn: FPN LastLevelMaxPool LastLevelP6P7 build_resnet_fpn_backbone "
        "build_retinanet_resnet_fpn_backbone",
    ),
    "modeling.backbone.mvit": ("! model: MViT",),
    "modeling.backbone.regnet": (".modeling.backbone: RegNet",),
    "modeling.backbone.resnet": (
        ".modeling.backbone.resnet: BasicBlock BasicStem BottleneckBlock ResNet build_resnet_backbone",
        ".drop_in.adapters: make_stage",
        "! model: DeformBottleneckBlock",
        ".drop_in.layers: ResNetBlockBase=CNNBlockBase",
    ),
    "modeling.backbone.swin": ("! model: SwinTransformer",),
    "modeling.backbone.vit": ("! model: SimpleFeaturePyramid ViT get_vit_lr_decay_rate",),
    "modeling.box_regression": (
        ".modeling: Box2BoxTransform",
        ".drop_in.rotated: Box2BoxTransformRotated",
        "! model: Box2BoxTransformLinear",
    ),
    "modeling.matcher": (".drop_in.adapters: Matcher",),
    "modeling.meta_arch": (
        "+ modeling.meta_arch.build modeling.meta_arch.panoptic_fpn modeling.meta_arch.rcnn",
        "+ modeling.meta_arch.retinanet modeling.meta_arch.semantic_seg",
        "! model: DenseDetector FCOS",
    ),
    "modeling.meta_arch.build": (".modeling: META_ARCH_REGISTRY build_model",),
    "modeling.meta_arch.panoptic_fpn": (".modeling: PanopticFPN combine_semantic_and_instance_outputs",),
    "modeling.meta_arch.rcnn": (".modeling: GeneralizedRCNN ProposalNetwork",),
    "modeling.meta_arch.retinanet": (".modeling: RetinaNet", ".modeling.retinanet: RetinaNetHead"),
    "modeling.meta_arch.semantic_seg": (
        ".modeling: SEM_SEG_HEADS_REGISTRY SemSegFPNHead SemanticSegmentor build_sem_seg_head",
    ),
    "modeling.mmdet_wrapper": ("! model: MMDetBackbone MMDetDetector",),
    "modeling.poolers": (".modeling: ROIPooler",),
    "modeling.postprocessing": (".modeling: detector_postprocess sem_seg_postprocess",),
    "modeling.proposal_generator": ("+ modeling.proposal_generator.build modeling.proposal_generator.rpn",),
    "modeling.proposal_generator.build": (".modeling: PROPOSAL_GENERATOR_REGISTRY build_proposal_generator",),
    "modeling.proposal_generator.proposal_utils": (
        ".drop_in.adapters: find_top_rpn_proposals",
        "! training: add_ground_truth_to_proposals",
    ),
    "modeling.proposal_generator.rpn": (".modeling: RPN RPN_HEAD_REGISTRY StandardRPNHead build_rpn_head",),
    "modeling.roi_heads": (
        "+ modeling.roi_heads.box_head modeling.roi_heads.cascade_rcnn modeling.roi_heads.keypoint_head",
        "+ modeling.roi_heads.mask_head modeling.roi_heads.roi_heads",
        ".modeling: FastRCNNOutputLayers",
        "! model: RROIHeads",
    ),
    "modeling.roi_heads.box_head": (".modeling: FastRCNNConvFCHead ROI_BOX_HEAD_REGISTRY build_box_head",),
    "modeling.roi_heads.cascade_rcnn": (".modeling: CascadeROIHeads",),
    "modeling.roi_heads.fast_rcnn": (
        ".modeling.roi_heads: FastRCNNOutputLayers fast_rcnn_inference fast_rcnn_inference_single_image",
    ),
    "modeling.roi_heads.keypoint_head": (
        ".modeling: BaseKeypointRCNNHead KRCNNConvDeconvUpsampleHead ROI_KEYPOINT_HEAD_REGISTRY build_keypoint_head",
        ".modeling.roi_heads: keypoint_rcnn_inference",
        "! training: keypoint_rcnn_loss",
    ),
    "modeling.roi_heads.mask_head": (
        ".modeling: BaseMaskRCNNHead MaskRCNNConvUpsampleHead ROI_MASK_HEAD_REGISTRY build_mask_head",
        ".modeling.roi_heads: mask_rcnn_inference",
        "! training: mask_rcnn_loss",
    ),
    "modeling.roi_heads.roi_heads": (
        ".modeling: ROIHeads ROI_HEADS_REGISTRY Res5ROIHeads StandardROIHeads build_roi_heads",
        "! training: select_foreground_proposals",
    ),
    "modeling.roi_heads.rotated_fast_rcnn": ("! model: RROIHeads RotatedFastRCNNOutputLayers",),
    "modeling.sampling": ("! training: subsample_labels",),
    "modeling.test_time_augmentation": ("! model: DatasetMapperTTA GeneralizedRCNNWithTTA",),
    "data": ("+ data.catalog data.build data.common data.dataset_mapper",),
    "data.build": (
        ".drop_in.datasets: build_detection_test_loader get_detection_dataset_dicts trivial_batch_collator",
        "! training: build_batch_data_loader build_detection_train_loader filter_images_with_few_keypoints "
        "load_proposals_into_dataset print_instances_class_histogram worker_init_reset_seed",
    ),
    "data.catalog": (".data: Metadata MetadataCatalog", ".drop_in.datasets: DatasetCatalog"),
    "data.common": (
        ".drop_in.datasets: DatasetFromList MapDataset",
        "! training: AspectRatioGroupedDataset ToIterableDataset set_default_dataset_from_list_serialize_method",
    ),
    "data.dataset_mapper": (".drop_in.datasets: DatasetMapper",),
    "data.benchmark": ("! training: DataLoaderBenchmark",),
    "data.datasets": (
        "+ data.datasets.coco data.datasets.lvis",
        "! evaluation: load_voc_instances register_coco_panoptic register_coco_panoptic_separated register_pascal_voc",
    ),
    "data.datasets.lvis": ("! evaluation: get_lvis_instances_meta load_lvis_json register_lvis_instances",),
    "data.datasets.coco": (
        ".drop_in.datasets: load_coco_json register_coco_instances",
        "! evaluation: convert_to_coco_dict convert_to_coco_json load_sem_seg",
    ),
    "data.detection_utils": (
        ".drop_in.datasets: SizeMismatchError build_augmentation check_image_size",
        ".drop_in.images: convert_PIL_to_numpy convert_image_to_rgb read_image",
        "PIL.ImageOps: _apply_exif_orientation=exif_transpose",
        "! training: annotations_to_instances annotations_to_instances_rotated create_keypoint_hflip_indices "
        "filter_empty_instances gen_crop_transform_with_instance transform_instance_annotations "
        "transform_keypoint_annotations",
    ),
    "data.samplers": (
        ".drop_in.datasets: InferenceSampler",
        "! training: GroupedBatchSampler RandomSubsetTrainingSampler RepeatFactorTrainingSampler TrainingSampler",
    ),
    "data.transforms": ("+ data.transforms.augmentation data.transforms.augmentation_impl data.transforms.transform",),
    "data.transforms.augmentation": (
        ".drop_in.transforms: AugInput Augmentation AugmentationList apply_augmentations "
        "StandardAugInput=AugInput TransformGen=Augmentation apply_transform_gens=apply_augmentations",
    ),
    "data.transforms.augmentation_impl": (
        ".data: ResizeShortestEdge",
        ".drop_in.transforms: RandomFlip Resize",
        "! training: FixedSizeCrop MinIoURandomCrop RandomApply RandomBrightness RandomContrast RandomCrop "
        "RandomCrop_CategoryAreaConstraint RandomExtent RandomLighting RandomResize RandomRotation RandomSaturation "
        "ResizeScale",
    ),
    "data.transforms.transform": (
        ".data: ResizeTransform",
        ".drop_in.transforms: HFlipTransform NoOpTransform Transform TransformList VFlipTransform",
        "! training: BlendTransform ColorTransform CropTransform ExtentTransform PILColorTransform PadTransform "
        "RotationTransform ScaleTransform",
    ),
    "evaluation": (
        "+ evaluation.coco_evaluation evaluation.evaluator evaluation.lvis_evaluation evaluation.testing",
        "! evaluation: COCOPanopticEvaluator CityscapesInstanceEvaluator CityscapesSemSegEvaluator "
        "PascalVOCDetectionEvaluator RotatedCOCOEvaluator SemSegEvaluator",
    ),
    "evaluation.coco_evaluation": (".results: instances_to_coco_json", "! evaluation: COCOEvaluator"),
    "evaluation.evaluator": (
        "! evaluation: DatasetEvaluator DatasetEvaluators inference_context inference_on_dataset",
    ),
    "evaluation.fast_eval_api": ("! evaluation: COCOeval_opt",),
    "evaluation.lvis_evaluation": ("! evaluation: LVISEvaluator",),
    "evaluation.testing": ("! evaluation: flatten_results_dict print_csv_format verify_results",),
    "export": (
        "! export: Caffe2Tracer STABLE_ONNX_OPSET_VERSION TracingAdapter add_export_config dump_torchscript_IR "
        "export_caffe2_model export_onnx_model scripting_with_instances",
    ),
    "export.torchscript": ("! export: dump_torchscript_IR scripting_with_instances patch_instances",),
    "export.torchscript_patch": ("! export: freeze_training_mode patch_builtin_len patch_instances",),
    "projects": (),
    "projects.deeplab": ("! model: add_deeplab_config",),
    "projects.panoptic_deeplab": ("! model: add_panoptic_deeplab_config",),
    "projects.point_rend": ("! model: ColorAugSSDTransform add_pointrend_config",),
    "solver": (
        "! training: LRScheduler WarmupCosineLR WarmupMultiStepLR WarmupParamScheduler build_lr_scheduler "
        "build_optimizer get_default_optimizer_params",
    ),
    "solver.build": (
        "! training: build_lr_scheduler build_optimizer get_default_optimizer_params maybe_add_gradient_clipping",
    ),
    "utils": (),
    "utils.analysis": ("! training: FlopCountAnalysis activation_count_operators parameter_count_table",),
    "utils.collect_env": (".drop_in.process: collect_env_info",),
    "utils.colormap": (".visualizer: colormap random_color random_colors",),
    "utils.comm": (
        ".drop_in.comm: all_gather gather get_local_rank=get_rank get_local_size=get_world_size get_rank "
        "get_world_size is_main_process synchronize",
        "! training: reduce_dict shared_random_seed",
    ),
    "utils.env": (".drop_in.process: TORCH_VERSION seed_all_rng setup_environment",),
    "utils.events": (
        "! training: CommonMetricPrinter EventStorage EventWriter JSONWriter TensorboardXWriter get_event_storage",
    ),
    "utils.file_io": (".drop_in.files: PathHandler PathManager",),
    "utils.logger": (".drop_in.logs: create_small_table log_every_n log_every_n_seconds log_first_n setup_logger",),
    "utils.memory": (".drop_in.process: retry_if_cuda_oom",),
    "utils.registry": (".modeling: Registry", "! lazy: _convert_target_to_string locate"),
    "utils.video_visualizer": (".visualizer: VideoVisualizer",),
    "utils.visualizer": (".visualizer: ColorMode GenericMask VisImage", ".drop_in.visualizer: Visualizer"),
}
_DENSEPOSE: dict[str, tuple[str, ...]] = {
    "densepose": (
        "+ densepose.config densepose.structures",
        ".densepose: DensePoseROIHeads",
        "! model: add_bootstrap_config add_dataset_category_config add_hrnet_config build_hrfpn_backbone",
    ),
    "densepose.config": (".densepose.config: add_densepose_config",),
    "densepose.modeling": ("+ densepose.modeling.predictors densepose.modeling.roi_heads",),
    "densepose.modeling.predictors": (
        ".densepose.predictors: DensePoseChartPredictor DensePoseChartWithConfidencePredictor",
    ),
    "densepose.modeling.roi_heads": ("+ densepose.modeling.roi_heads.roi_head densepose.modeling.roi_heads.v1convx",),
    "densepose.modeling.roi_heads.deeplab": (".densepose.heads: DensePoseDeepLabHead",),
    "densepose.modeling.roi_heads.roi_head": (".densepose.roi_heads: Decoder DensePoseROIHeads",),
    "densepose.modeling.roi_heads.v1convx": (".densepose.heads: DensePoseV1ConvXHead",),
    "densepose.converters": (
        ".densepose.converters: ToChartResultConverter ToChartResultConverterWithConfidences ToMaskConverter",
    ),
    "densepose.structures": (
        ".densepose.structures: DensePoseChartPredictorOutput DensePoseChartResult DensePoseChartResultQuantized "
        "DensePoseChartResultWithConfidences quantize_densepose_chart_result",
        "! model: DensePoseEmbeddingPredictorOutput",
        "! evaluation: DensePoseChartResultCompressed compress_quantized_densepose_chart_result "
        "decompress_compressed_densepose_chart_result",
    ),
    "densepose.structures.chart": (".densepose.structures: DensePoseChartPredictorOutput",),
    "densepose.structures.chart_confidence": (".densepose.structures: DensePoseChartPredictorOutputWithConfidences",),
    "densepose.structures.chart_result": ("+ densepose.structures",),
    "densepose.utils": (),
    "densepose.utils.logger": (".densepose.apply_net: verbosity_to_level",),
    "densepose.vis": (),
    "densepose.vis.base": (".densepose.vis: CompoundVisualizer",),
    "densepose.vis.bounding_box": (
        ".densepose.vis: ScoredBoundingBoxVisualizer",
        "! model: BoundingBoxVisualizer",
    ),
    "densepose.vis.densepose_outputs_vertex": (
        ".densepose.vis: get_texture_atlases=get_texture_atlas",
        "! model: DensePoseOutputsTextureVisualizer DensePoseOutputsVertexVisualizer",
    ),
    "densepose.vis.densepose_results": (
        ".densepose.vis: DensePoseResultsFineSegmentationVisualizer DensePoseResultsUVisualizer "
        "DensePoseResultsVVisualizer",
        "! model: DensePoseResultsContourVisualizer",
    ),
    "densepose.vis.densepose_results_textures": (
        ".densepose.vis: get_texture_atlas",
        "! model: DensePoseResultsVisualizerWithTexture",
    ),
    "densepose.vis.extractor": (
        ".densepose.extractor: CompoundExtractor DensePoseOutputsExtractor DensePoseResultExtractor create_extractor "
        "extract_boxes_xywh_from_instances extract_scores_from_instances",
        "! model: BoundingBoxExtractor ScoredBoundingBoxExtractor",
    ),
    "apply_net": (".densepose.apply_net: create_argument_parser main",),
}
MODULES: dict[str, tuple[str, ...]] = {
    **{f"detectron2.{name}".removesuffix("."): lines for name, lines in _TABLE.items()},
    **_DENSEPOSE,
}
"""The table by full module name."""


class Names(NamedTuple):
    """What a module of the table has."""

    homes: dict[str, str]
    """``module:name`` by name."""
    absent: dict[str, str]
    """A key of `ABSENT` by name."""


@functools.cache
def names_of(module: str) -> Names:
    """Read a module's entry of the table.

    Raises:
        KeyError: the table has no such module.
    """
    homes: dict[str, str] = {}
    absent: dict[str, str] = {}
    for line in MODULES[module]:
        if line.startswith("+"):
            for other in line[1:].split():
                names = names_of(other if other in MODULES else f"detectron2.{other}")
                homes.update(names.homes)
                absent.update(names.absent)
            continue
        home, _, listed = line.partition(":")
        for entry in listed.split():
            name, _, original = entry.partition("=")
            if home.startswith("!"):
                absent[name] = home[1:].strip()
            else:
                homes[name] = f"{'litepred' if home.startswith('.') else ''}{home}:{original or name}"
    return Names(homes, absent)
