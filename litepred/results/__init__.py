"""Turn what a model found into plain Python, into other packages' types, and into files.

A file is written whole or not at all. Lists are written entry by entry, so that a run over any number of images needs
the memory of one.
"""

from .convert import crops, filter, to_dataframe, to_supervision
from .files import CSV_COLUMNS, TRACKED_COLUMNS, csv_table, json_list, plain, write_json
from .formats import (
    FORMATS,
    Format,
    Picture,
    to_fiftyone,
    write_cvat,
    write_geojson,
    write_label_studio,
    write_labelme,
    write_yolo,
)
from .instances import csv_rows, describe, instances_to_coco_json, to_coco, to_dicts, write_coco, write_csv
from .segments import id_to_rgb, panoptic_annotation, panoptic_categories, rgb_to_id, write_labels, write_panoptic

__all__ = [
    "CSV_COLUMNS",
    "FORMATS",
    "TRACKED_COLUMNS",
    "Format",
    "Picture",
    "crops",
    "csv_rows",
    "csv_table",
    "describe",
    "filter",
    "id_to_rgb",
    "instances_to_coco_json",
    "json_list",
    "panoptic_annotation",
    "panoptic_categories",
    "plain",
    "rgb_to_id",
    "to_coco",
    "to_dataframe",
    "to_dicts",
    "to_fiftyone",
    "to_supervision",
    "write_coco",
    "write_csv",
    "write_cvat",
    "write_geojson",
    "write_json",
    "write_label_studio",
    "write_labelme",
    "write_labels",
    "write_panoptic",
    "write_yolo",
]
