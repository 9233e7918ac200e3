"""Turn what a model found into plain Python and into files: COCO's formats, CSV, label pictures."""

from .plain import instances_to_coco_json, to_dicts
from .segments import id_to_rgb, panoptic_annotation, panoptic_categories, rgb_to_id, write_labels, write_panoptic
from .tables import CSV_COLUMNS, csv_rows, csv_table, json_list, write_coco, write_csv, write_json

__all__ = [
    "CSV_COLUMNS",
    "csv_rows",
    "csv_table",
    "id_to_rgb",
    "instances_to_coco_json",
    "json_list",
    "panoptic_annotation",
    "panoptic_categories",
    "rgb_to_id",
    "to_dicts",
    "write_coco",
    "write_csv",
    "write_json",
    "write_labels",
    "write_panoptic",
]
