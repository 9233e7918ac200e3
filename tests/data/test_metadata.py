import copy
import enum
import json
import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from litepred import data
from litepred.data import Metadata, MetadataCatalog, as_metadata, class_name, dataset_ids
from litepred.data.datasets import BUILTIN_NAMES, builtin_facts
from litepred.errors import ConfigError


@pytest.fixture
def metadata_catalog():
    return type(MetadataCatalog)()


# (name, thing count, first, last, stuff count, first, last)
CLASSES = [
    ("keypoints_coco_2014_minival", 1, "person", "person", None, None, None),
    ("coco_2014_valminusminival", 80, "person", "toothbrush", None, None, None),
    ("coco_2017_val", 80, "person", "toothbrush", None, None, None),
    ("coco_2017_test-dev", 80, "person", "toothbrush", None, None, None),
    ("coco_2017_val_100_panoptic_separated", 80, "person", "toothbrush", 54, "things", "rug"),
    ("coco_2017_val_panoptic_stuffonly", 80, "person", "toothbrush", 54, "things", "rug"),
    ("coco_2017_val_panoptic", 133, "person", "rug-merged", 133, "person", "rug-merged"),
    ("torchvision_coco", 90, "person", "toothbrush", None, None, None),
    ("lvis_v1_val", 1203, "aerosol_can", "zucchini", None, None, None),
    ("lvis_v0.5_val_rand_100", 1230, "acorn", "zucchini", None, None, None),
    ("lvis_v0.5_val_cocofied", 80, "person", "toothbrush", None, None, None),
    ("cityscapes_fine_instance_seg_val", 8, "person", "bicycle", 19, "road", "bicycle"),
    ("cityscapes_fine_sem_seg_test", 8, "person", "bicycle", 19, "road", "bicycle"),
    ("cityscapes_fine_panoptic_val", 19, "road", "bicycle", 19, "road", "bicycle"),
    ("voc_2007_test", 20, "aeroplane", "tvmonitor", None, None, None),
    ("ade20k_sem_seg_val", None, None, None, 150, "wall", "flag"),
    ("page_layout_val", 5, "text", "figure", 3, "things", "surroundings"),
    ("page_layout_train", 5, "text", "figure", 3, "things", "surroundings"),
]


@pytest.mark.parametrize("name, things, first_thing, last_thing, stuff, first_stuff, last_stuff", CLASSES)
def test_classes(name, things, first_thing, last_thing, stuff, first_stuff, last_stuff):
    metadata = MetadataCatalog.get(name)
    assert metadata.name == name
    for kind, count, first, last in (
        ("thing", things, first_thing, last_thing),
        ("stuff", stuff, first_stuff, last_stuff),
    ):
        if count is None:
            with pytest.raises(AttributeError, match=f"{kind}_classes"):
                getattr(metadata, f"{kind}_classes")
        else:
            classes = getattr(metadata, f"{kind}_classes")
            assert type(classes) is list
            assert (len(classes), classes[0], classes[-1]) == (count, first, last)


# (name, kind, how many, first and last pair by id in the data set), None where there is no map
@pytest.mark.parametrize(
    "name, kind, count, first, last",
    [
        ("keypoints_coco_2017_val", "thing", None, None, None),
        ("lvis_v1_val", "thing", None, None, None),
        ("voc_2012_val", "thing", None, None, None),
        ("cityscapes_fine_instance_seg_val", "thing", None, None, None),
        ("coco_2017_val", "stuff", None, None, None),
        ("coco_2017_val", "thing", 80, (1, 0), (90, 79)),
        ("lvis_v0.5_train_cocofied", "thing", 80, (1, 0), (90, 79)),
        ("coco_2017_val_panoptic_separated", "thing", 80, (1, 0), (90, 79)),
        ("coco_2017_val_panoptic_separated", "stuff", 54, (0, 0), (200, 53)),
        ("coco_2017_val_panoptic", "thing", 80, (1, 0), (90, 79)),
        ("coco_2017_val_panoptic", "stuff", 53, (92, 80), (200, 132)),
        ("cityscapes_fine_panoptic_val", "thing", 8, (24, 11), (33, 18)),
        ("cityscapes_fine_panoptic_val", "stuff", 11, (7, 0), (23, 10)),
    ],
)
def test_id_maps(name, kind, count, first, last):
    ids = MetadataCatalog.get(name).get(f"{kind}_dataset_id_to_contiguous_id")
    if count is None:
        assert ids is None
    else:
        assert (len(ids), min(ids.items()), max(ids.items())) == (count, first, last)
        assert [*dict(sorted(ids.items())).values()] == [*range(first[1], last[1] + 1)]  # no gap, order kept


@pytest.mark.parametrize(
    "name, key, first, last",
    [
        ("coco_2017_val", "thing_colors", [220, 20, 60], [191, 162, 208]),
        ("coco_2017_val_panoptic_separated", "stuff_colors", [82, 18, 128], [250, 141, 255]),
        ("coco_2017_val_panoptic", "thing_colors", [220, 20, 60], [250, 141, 255]),
        ("cityscapes_fine_panoptic_val", "stuff_colors", (128, 64, 128), (119, 11, 32)),
        ("page_layout_val", "thing_colors", [72, 118, 214], [236, 164, 44]),
    ],
)
def test_colors(name, key, first, last):
    metadata = MetadataCatalog.get(name)
    colors = getattr(metadata, key)
    assert len(colors) == len(getattr(metadata, key.replace("colors", "classes")))
    assert (colors[0], colors[-1]) == (first, last)


@pytest.mark.parametrize(
    "name", ["lvis_v1_val", "voc_2007_val", "keypoints_coco_2017_val", "cityscapes_fine_sem_seg_val"]
)
def test_no_colors(name):
    assert MetadataCatalog.get(name).get("thing_colors") is None


@pytest.mark.parametrize(
    "name, evaluator_type, ignore_label, label_divisor",
    [
        ("page_layout_val", None, None, None),
        ("coco_2017_val", "coco", None, None),
        ("keypoints_coco_2017_val", "coco", None, None),
        ("coco_2017_val_panoptic_separated", "coco_panoptic_seg", 255, None),
        ("coco_2017_val_panoptic_stuffonly", "sem_seg", 255, None),
        ("coco_2017_val_panoptic", "coco_panoptic_seg", 255, 1000),
        ("lvis_v0.5_val_cocofied", "lvis", None, None),
        ("cityscapes_fine_instance_seg_val", "cityscapes_instance", None, None),
        ("cityscapes_fine_sem_seg_val", "cityscapes_sem_seg", 255, None),
        ("cityscapes_fine_panoptic_val", "cityscapes_panoptic_seg", 255, 1000),
        ("voc_2007_val", "pascal_voc", None, None),
        ("ade20k_sem_seg_val", "sem_seg", 255, None),
    ],
)
def test_evaluation_facts(name, evaluator_type, ignore_label, label_divisor):
    metadata = MetadataCatalog.get(name)
    facts = [metadata.get(key) for key in ("evaluator_type", "ignore_label", "label_divisor")]
    assert facts == [evaluator_type, ignore_label, label_divisor]


def test_keypoints():
    person = MetadataCatalog.get("keypoints_coco_2017_val")
    assert person.keypoint_names[:3] == ("nose", "left_eye", "right_eye")
    assert (len(person.keypoint_names), person.keypoint_names[-1]) == (17, "right_ankle")
    assert (len(person.keypoint_flip_map), person.keypoint_flip_map[1]) == (8, ("left_ear", "right_ear"))
    assert len(person.keypoint_connection_rules) == 14
    assert person.keypoint_connection_rules[0] == ("left_ear", "left_eye", (102, 204, 255))
    ends = {end for start, stop, _ in person.keypoint_connection_rules for end in (start, stop)}
    assert ends == set(person.keypoint_names)


def test_peculiar_names():
    assert MetadataCatalog.get("ade20k_sem_seg_val").stuff_classes[8] == "window "  # the space is the data set's own
    voc = MetadataCatalog.get("voc_2012_trainval")
    assert (voc.year, voc.split) == (2012, "trainval")
    assert "tree-merged" in MetadataCatalog.get("coco_2017_val_panoptic").stuff_classes
    assert "tree" in MetadataCatalog.get("coco_2017_val_panoptic_separated").stuff_classes


REPEATING = ("ade20k_sem_seg_train", "ade20k_sem_seg_val", "torchvision_coco")  # "screen" twice; "N/A" ten times


@pytest.mark.parametrize("name", BUILTIN_NAMES)
def test_every_builtin_name_is_whole(name):
    facts = builtin_facts(name)
    for kind in ("thing", "stuff"):
        classes = facts.get(f"{kind}_classes", [])
        assert len(facts.get(f"{kind}_colors", classes)) == len(classes)
        assert len(set(classes)) == len(classes) or name in REPEATING
    assert facts.get("thing_classes") or facts.get("stuff_classes")
    assert "evaluator_type" in facts or name.startswith("page_layout")


def test_names_do_not_share_containers():
    changed = builtin_facts("coco_2017_val")
    changed["thing_classes"].clear()
    changed["thing_colors"][0][0] = -1
    assert len(builtin_facts("coco_2017_val")["thing_classes"]) == 80
    assert builtin_facts("coco_2017_val")["thing_colors"][0] == [220, 20, 60]


def test_unknown_name(metadata_catalog):
    with pytest.raises(ValueError, match="empty"):
        metadata_catalog.get("")
    assert "my_pages" not in metadata_catalog
    metadata = metadata_catalog.get("my_pages")
    assert metadata.as_dict() == {"name": "my_pages"}
    assert metadata_catalog.get("my_pages") is metadata
    assert metadata_catalog.list()[-1] == "my_pages"
    with pytest.raises(
        AttributeError, match=r"'my_pages' have no 'thing_classes'; they have nothing.*set\(thing_classes"
    ):
        _ = metadata.thing_classes
    assert metadata.get("thing_classes") is None
    assert metadata.get("thing_classes", ["a"]) == ["a"]
    assert not hasattr(metadata, "thing_classes")


def test_catalog(metadata_catalog):
    assert len(metadata_catalog) == len(BUILTIN_NAMES) == 58
    assert metadata_catalog.list() == [*BUILTIN_NAMES] == [*metadata_catalog]
    assert "coco_2017_val" in metadata_catalog
    assert metadata_catalog.get("coco_2017_val") is metadata_catalog["coco_2017_val"]
    assert repr(metadata_catalog).startswith("MetadataCatalog(names: coco_2014_train, ")
    metadata_catalog.remove("coco_2017_val")
    assert "coco_2017_val" not in metadata_catalog
    assert metadata_catalog.get("coco_2017_val").as_dict() == {"name": "coco_2017_val"}
    assert metadata_catalog.pop("coco_2017_val").name == "coco_2017_val"
    assert metadata_catalog.pop("coco_2017_val", None) is None
    with pytest.raises(KeyError):
        metadata_catalog.remove("coco_2017_val")
    with pytest.raises(KeyError):
        metadata_catalog["never seen"]


def test_conflicts(metadata_catalog):
    assert metadata_catalog.get("mine").set(thing_classes=["a"], note=None) is metadata_catalog.get("mine")
    metadata = metadata_catalog.get("mine")
    metadata.thing_classes = ["a"]
    with pytest.raises(AssertionError, match=r"'thing_classes' of the metadata of 'mine'.*\['a'\].*\['b'\]"):
        metadata.thing_classes = ["b"]
    with pytest.raises(AssertionError):
        metadata.set(note=1)
    assert metadata.thing_classes == ["a"]
    with pytest.raises(AssertionError, match="coco_2017_val"):
        metadata_catalog.get("coco_2017_val").thing_classes = ["mine"]


@pytest.mark.parametrize("colors", [np.eye(3), [np.eye(3)[0], (0, 1, 0)], torch.eye(3)])
def test_arrays_are_kept_and_compared(colors):
    metadata = Metadata(thing_colors=colors)
    metadata.thing_colors = copy.deepcopy(colors)
    assert metadata.thing_colors is not None and type(metadata.thing_colors) is type(colors)
    with pytest.raises(AssertionError, match="is already"):
        metadata.thing_colors = [*colors[:1]]


@pytest.mark.parametrize(
    "old, new",
    [
        ("class_names", "thing_classes"),
        ("stuff_class_names", "stuff_classes"),
        ("dataset_id_to_contiguous_id", "thing_dataset_id_to_contiguous_id"),
    ],
)
def test_old_attribute_names(old, new):
    metadata = Metadata(name="mine")
    assert not hasattr(metadata, old)
    setattr(metadata, old, ["a"])
    assert metadata.as_dict() == {"name": "mine", new: ["a"]}
    assert getattr(metadata, old) == getattr(metadata, new) == metadata.get(old) == ["a"]
    with pytest.raises(AssertionError):
        metadata.set(**{old: ["b"]})


@pytest.mark.parametrize(
    "metadata", [Metadata(), Metadata(name="x", thing_classes=["a"]), MetadataCatalog.get("voc_2007_val")]
)
def test_copies(metadata):
    for twin in (pickle.loads(pickle.dumps(metadata)), copy.deepcopy(metadata), copy.copy(metadata)):
        assert type(twin) is Metadata and twin == metadata and twin is not metadata
        assert twin.as_dict() == metadata.as_dict()
    metadata.as_dict()["new"] = 1
    assert metadata.get("new") is None


@pytest.mark.parametrize(
    "metadata, index, kind, expected",
    [
        (Metadata(), 3, "thing", "class_3"),
        (Metadata(thing_classes=[]), 0, "thing", "class_0"),
        (Metadata(thing_classes=None), 0, "thing", "class_0"),
        (Metadata(thing_classes=["a", "b"]), 1, "thing", "b"),
        (Metadata(thing_classes=["a", "b"]), 2, "thing", "class_2"),
        (Metadata(thing_classes=["a", "b"]), -1, "thing", "class_-1"),
        (Metadata(thing_classes=["a"], stuff_classes=["sky"]), 0, "stuff", "sky"),
        (Metadata(thing_classes=["a"]), 0, "stuff", "class_0"),
        (SimpleNamespace(get={"thing_classes": np.array(["a", "b"])}.get), 1, "thing", "b"),  # another package's
    ],
)
def test_class_name(metadata, index, kind, expected):
    assert class_name(metadata, index, kind) == expected


@pytest.mark.parametrize(
    "metadata, kind, expected",
    [
        (None, "thing", {}),
        (Metadata(), "thing", {}),
        (Metadata(thing_dataset_id_to_contiguous_id=None), "thing", {}),
        (Metadata(thing_dataset_id_to_contiguous_id={7: 0, 3: 1}), "thing", {0: 7, 1: 3}),
        (Metadata(thing_dataset_id_to_contiguous_id={7: 0}), "stuff", {}),
        (Metadata(stuff_dataset_id_to_contiguous_id={92: 5}), "stuff", {5: 92}),
        (Metadata(thing_dataset_id_to_contiguous_id={np.int64(7): np.int64(0)}), "thing", {0: 7}),
    ],
)
def test_dataset_ids(metadata, kind, expected):
    found = dataset_ids(metadata, kind)
    assert found == expected
    assert {type(one) for pair in found.items() for one in pair} <= {int}


def test_exports():
    assert {"Metadata", "MetadataCatalog", "class_name", "dataset_ids"} <= set(data.__all__)


def test_names_are_read_when_asked_for():
    script = """
import json, os, sys
opened, steps = [], []
def note(event, arguments):
    if event == "open" and os.path.basename(os.path.dirname(str(arguments[0]))) == "names":
        opened.append(os.path.basename(str(arguments[0])))
sys.addaudithook(note)
from litepred.data import MetadataCatalog
def step(_):
    steps.append(opened[:])
    opened.clear()
step(None)
step((MetadataCatalog.list(), "lvis_v1_val" in MetadataCatalog, repr(MetadataCatalog), MetadataCatalog.get("mine")))
step(MetadataCatalog.get("page_layout_val"))
step(MetadataCatalog.get("coco_2017_val"))
step(MetadataCatalog.get("coco_2017_val"))
step(MetadataCatalog.get("lvis_v1_val"))
print(json.dumps(steps))
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert json.loads(out) == [[], [], ["page_layout.json"], ["coco.json"], [], ["lvis_v1.json"]]


class Kind(str, enum.Enum):
    FIRST = "a"
    SECOND = "b"


class Index:
    """As pandas has it: it has no truth value, and compares element by element."""

    def __init__(self, *names):
        self.names = np.array(names, object)

    def __iter__(self):
        return iter(self.names)

    def __eq__(self, other):
        return self.names == other

    __hash__ = None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], []),
        (["a", "b"], ["a", "b"]),
        (("a", "b"), ["a", "b"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (Index("a", "b"), ["a", "b"]),
        ([1, 2], ["1", "2"]),
        (np.array([1, 2]), ["1", "2"]),
        ([np.int64(1), "b"], ["1", "b"]),
        (np.array([["a"], ["b"]]), ["a", "b"]),
        (np.array([b"a", "ü".encode()]), ["a", "ü"]),
        (torch.tensor([7, 8]), ["7", "8"]),
        (Kind, ["a", "b"]),
        ([*Kind], ["a", "b"]),
        ({1: "b", 0: "a"}, ["a", "b"]),
        ({"0": "a", "1": "b"}, ["a", "b"]),
        ({"a": 1, "b": 2}.keys(), ["a", "b"]),
        ({3: "a", 5: "b"}.values(), ["a", "b"]),
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", ["thing_classes", "stuff_classes", "class_names"])
def test_names_of_other_types(kind, names, expected):
    metadata = Metadata(**{kind: names})
    found = metadata.get(kind)
    assert found == expected
    assert {type(name) for name in found} <= {str}
    metadata.set(**{kind: names})  # once more, the same
    with pytest.raises(AssertionError, match="is already"):
        metadata.set(**{kind: ["other"]})


@pytest.mark.parametrize("given", [{0: "a", 1: "b"}, {"thing_classes": ["a", "b"], "name": "x"}, ["a", "b"]], ids=repr)
def test_a_dict_or_list_as_metadata(given):
    assert as_metadata(given).thing_classes == ["a", "b"]


@pytest.mark.parametrize(
    "names",
    [
        "abc",
        b"abc",
        {"a": 1},
        {1: "a", 2: "b"},
        np.array([["a", "b"]]),
        {"a", "b"},
        3,
        [None],
        ["a", float("nan")],
        [["a"]],
    ],
)
def test_names_that_are_none(names):
    with pytest.raises(ConfigError, match=r"thing_classes is .*: expected a"):
        Metadata(thing_classes=names)
