"""The config object: merging, freezing, copying, and the errors that name the way out."""

import copy
import datetime
import io
import pickle

import pytest
import yaml

import litepred.config as config_package
from litepred.config import CN, CfgNode, get_cfg
from litepred.config.node import without_others
from litepred.errors import ConfigError


def get(cfg, key):
    for name in key.split("."):
        cfg = getattr(cfg, name)
    return cfg


def nested(key, value):
    for name in reversed(key.split(".")):
        value = {name: value}
    return value


def merge_list(cfg, key, value, folder):
    cfg.merge_from_list([key, value])


def merge_other(cfg, key, value, folder):
    cfg.merge_from_other_cfg(CfgNode(nested(key, value)))


def merge_file(cfg, key, value, folder):
    (folder / "c.yaml").write_text(yaml.safe_dump(nested(key, value)))
    cfg.merge_from_file(str(folder / "c.yaml"))


every_way = pytest.mark.parametrize("merge", [merge_list, merge_other, merge_file])


def test_public_names():
    assert config_package.__all__ == ["CN", "CfgNode", "configurable", "get_cfg", "unknown_settings"]
    assert CN is CfgNode


def test_get_cfg_is_new_each_time():
    first = get_cfg()
    first.MODEL.PIXEL_MEAN.append(1)
    first.MODEL.RPN.IN_FEATURES = ["p2"]
    assert get_cfg().MODEL.PIXEL_MEAN == [103.53, 116.28, 123.675]
    assert get_cfg().MODEL.RPN.IN_FEATURES == ["res4"]


@every_way
@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("MODEL.WEIGHTS", "", ""),
        ("DATASETS.TEST", [], ()),
        ("DATASETS.TEST", "()", ()),
        ("DATASETS.TEST", '("val",)', ("val",)),
        ("DATASETS.TEST", ["val"], ("val",)),
        ("MODEL.RPN.IN_FEATURES", "('p2', 'p3')", ["p2", "p3"]),
        ("MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS", [[1, 2], [3.0]], ([1, 2], [3.0])),
        ("MODEL.PIXEL_MEAN", [1, 2, 3], [1, 2, 3]),
        ("MODEL.WEIGHTS", "model.pth", "model.pth"),
        ("MODEL.WEIGHTS", "None", None),
        ("MODEL.WEIGHTS", "'123'", "123"),
        ("MODEL.WEIGHTS", "{1, 2}", "{1, 2}"),
        ("MODEL.WEIGHTS", "__import__('os').system('false')", "__import__('os').system('false')"),
        ("MODEL.WEIGHTS", "(" * 5000, "(" * 5000),
        ("MODEL.WEIGHTS", "1" + "+1" * 20_000, "1" + "+1" * 20_000),
        ("MODEL.MASK_ON", "True", True),
        ("MODEL.MASK_ON", None, None),
        ("SOLVER.WEIGHT_DECAY_BIAS", 0.5, 0.5),
        ("SOLVER.BASE_LR", "1e-3", 0.001),
        ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 1, 1.0),
        ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0", 0.0),
        ("MODEL.ROI_HEADS.NUM_CLASSES", "7", 7),
    ],
)
def test_merge_converts(merge, key, value, expected, tmp_path):
    cfg = get_cfg()
    merge(cfg, key, value, tmp_path)
    assert get(cfg, key) == expected
    assert type(get(cfg, key)) is type(expected)


@every_way
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.ROI_HEADS.NUM_CLASSES", "ten", r"MODEL\.ROI_HEADS\.NUM_CLASSES takes int \(now 80\), got str 'ten'"),
        ("MODEL.ROI_HEADS.NUM_CLASSES", 7.0, "takes int"),
        ("MODEL.ROI_HEADS.NUM_CLASSES", True, "takes int .* got bool True"),
        ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", True, "takes float"),
        ("MODEL.MASK_ON", 1, "takes bool"),
        ("MODEL.WEIGHTS", "123", "takes str .* quote it twice"),
        ("DATASETS.TEST", '("val")', r"takes tuple \(now \(\)\), got str 'val'"),
        ("MODEL.RPN", None, "MODEL.RPN is a section"),
        ("MODEL", 3, "MODEL is a section"),
        ("MODEL.WEIGHTS", {"A": 1}, "takes str .* got a section"),
        ("SOLVER.WEIGHT_DECAY_BIAS", {"A": 1}, "takes NoneType .* got a section"),
    ],
)
def test_merge_refuses_a_wrong_type(merge, key, value, message, tmp_path):
    cfg = get_cfg()
    with pytest.raises(ConfigError, match=message) as caught:
        merge(cfg, key, value, tmp_path)
    assert not isinstance(caught.value, KeyError)
    assert cfg == get_cfg()


@every_way
@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("", "No key of the config resembles it"),
        ("XYZZY", "No key of the config resembles it"),
        ("MODEL.ROI_HEADS.NUM_CLASES", r"Did you mean MODEL\.ROI_HEADS\.NUM_CLASSES\?"),
        ("model.weights", r"Did you mean MODEL\.WEIGHTS\?"),
        ("MODEL.ROI_HEAD.NUM_CLASSES", r"Did you mean MODEL\.ROI_HEADS\.NUM_CLASSES or "),
        ("NUM_CLASSES", r"Did you mean MODEL\.\w+\.NUM_CLASSES or MODEL\.\w+\.NUM_CLASSES\?"),
        ("MODEL.MIN_SIZE_TEST", r"Did you mean INPUT\.MIN_SIZE_TEST\?"),
        ("MODLE", r"Did you mean MODEL\?"),
        ("MODEL.ROI_HEADS.NMS", r"It is the old name of MODEL\.ROI_HEADS\.NMS_THRESH_TEST"),
        ("MODEL.RPN_HEAD.NAME", r"It is the old name of MODEL\.RPN\.HEAD_NAME"),
    ],
)
def test_unknown_key(merge, key, hint, tmp_path):
    cfg = get_cfg()
    with pytest.raises(ConfigError, match=hint) as caught:
        merge(cfg, key, 1, tmp_path)
    assert isinstance(caught.value, KeyError)
    message = str(caught.value)
    assert f"unknown config key {key}. " in message
    assert "cfg.set_new_allowed(True)" in message
    assert "\\n" not in message and not message.startswith("'")
    assert cfg == get_cfg()


@every_way
def test_new_keys_where_allowed(merge, tmp_path):
    cfg = get_cfg()
    cfg.set_new_allowed(True)
    merge(cfg, "MODEL.CONVNEXT.DEPTHS", [2, 2], tmp_path)
    merge(cfg, "MODEL.CONVNEXT.NAME", "tiny", tmp_path)
    merge(cfg, "MODEL.RPN.EXTRA", "(1, 2)", tmp_path)
    assert cfg.MODEL.CONVNEXT == {"DEPTHS": [2, 2], "NAME": "tiny"}
    assert isinstance(cfg.MODEL.CONVNEXT, CfgNode)
    assert cfg.MODEL.RPN.EXTRA == (1, 2)
    cfg.merge_from_other_cfg({"MODEL": {"MAPS": {16: {"NAME": "cat"}}}})
    assert cfg.MODEL.MAPS[16].NAME == "cat"
    cfg.set_new_allowed(False)
    with pytest.raises(KeyError):
        merge(cfg, "MODEL.RPN.MORE", 1, tmp_path)


def test_new_value_of_a_type_that_no_config_holds():
    cfg = CfgNode(new_allowed=True)
    with pytest.raises(ConfigError, match=r"WHEN got .* of type date"):
        cfg.merge_from_other_cfg({"A": 1, "WHEN": datetime.date(2020, 1, 1)})
    assert cfg == {}


@pytest.mark.parametrize(
    "pairs",
    [
        ["MODEL.WEIGHTS", "w", "MODEL.ROI_HEADS.NUM_CLASSES", "x"],
        ["MODEL.WEIGHTS", "w", "MODEL.NOTHING", 1],
        ["MODEL.WEIGHTS", "w", "GLOBAL.HACK", 10**400],
        ["MODEL.WEIGHTS", "w", "MODEL.WEIGHTS.X", 1],
        ["MODEL.WEIGHTS", "w", "_BASE_", "x"],
        ["MODEL.WEIGHTS", "w", 3, 4],
        ["MODEL.WEIGHTS"],
        "MODEL.WEIGHTS w",
        None,
    ],
)
def test_a_list_that_fails_changes_nothing(pairs):
    cfg = get_cfg()
    with pytest.raises(ConfigError):
        cfg.merge_from_list(pairs)
    assert cfg == get_cfg()


@pytest.mark.parametrize("text", ["MODEL: {WEIGHTS: w, NOTHING: 1}", "MODEL: {WEIGHTS: w, 3: 4}", "VERSION: 9"])
def test_a_file_that_fails_changes_nothing_and_is_named(text, tmp_path):
    cfg, file = get_cfg(), tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml: "):
        cfg.merge_from_file(file)
    assert cfg == get_cfg()


@pytest.mark.parametrize("other", [None, [], "MODEL", {"_BASE_": "x"}])
def test_other_must_be_a_config(other):
    with pytest.raises(ConfigError):
        get_cfg().merge_from_other_cfg(other)


def test_lists_later_pairs_win():
    cfg = get_cfg()
    cfg.merge_from_list([])
    cfg.merge_from_list(("MODEL.DEVICE", "cpu", "SEED", 3, "MODEL", {"DEVICE": "mps"}))
    assert (cfg.MODEL.DEVICE, cfg.SEED, cfg.MODEL.META_ARCHITECTURE) == ("mps", 3, "GeneralizedRCNN")


def test_merge_shares_nothing_with_its_source():
    source = CfgNode({"MODEL": {"PIXEL_MEAN": [1.0]}})
    cfg = get_cfg()
    cfg.merge_from_other_cfg(source)
    cfg.MODEL.PIXEL_MEAN.append(2.0)
    assert source.MODEL.PIXEL_MEAN == [1.0]


def test_sections_of_yacs():
    """Programs that make their sections of yacs' class bring yacs along."""
    yacs = pytest.importorskip("yacs.config")
    cfg = get_cfg()
    cfg.MODEL.MINE = yacs.CfgNode({"SIZE": 1})
    cfg.merge_from_list(["MODEL.MINE.SIZE", "2"])
    assert cfg.MODEL.MINE.SIZE == 2
    assert yaml.safe_load(cfg.dump())["MODEL"]["MINE"] == {"SIZE": 2}
    with pytest.raises(KeyError, match=r"MINE\.DEPTH"):
        cfg.merge_from_list(["MODEL.MINE.DEPTH", 2])
    cfg.set_new_allowed(True)
    cfg.merge_from_list(["MODEL.MINE.DEPTH", 2])
    cfg.freeze()
    with pytest.raises(AttributeError):
        cfg.MODEL.MINE.SIZE = 3
    assert not get_cfg().is_frozen() and cfg.clone().MODEL.MINE.is_frozen()
    cfg.defrost()
    cfg.MODEL.MINE.SIZE = 3
    assert CfgNode(cfg).MODEL.MINE == {"SIZE": 3, "DEPTH": 2}


@pytest.mark.parametrize(("content", "text"), [({}, "{}\n"), ({"A": {"B": (1, "x")}}, "A:\n  B:\n  - 1\n  - x\n")])
def test_text(content, text):
    assert str(CfgNode(content)) == text
    assert eval(repr(CfgNode(content)), {"CfgNode": CfgNode}) == CfgNode(content)


def test_file_with_base_and_upgrade(tmp_path):
    (tmp_path / "base.yaml").write_text("MODEL: {ROI_HEADS: {NMS: 0.4}, MASK_ON: true}\nTEST: {AUG_MAX_SIZE: 9}")
    (tmp_path / "child.yaml").write_text('_BASE_: base.yaml\nVERSION: 1\nMODEL: {WEIGHT: "w.pkl", MASK_ON: false}')
    cfg = get_cfg()
    cfg.merge_from_file(tmp_path / "child.yaml")
    assert (cfg.VERSION, cfg.MODEL.WEIGHTS, cfg.MODEL.MASK_ON) == (2, "w.pkl", False)
    assert (cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST, cfg.TEST.AUG.MAX_SIZE) == (0.4, 9)
    assert CfgNode.load_yaml_with_base(tmp_path / "base.yaml", allow_unsafe=True) == {
        "MODEL": {"ROI_HEADS": {"NMS": 0.4}, "MASK_ON": True},
        "TEST": {"AUG_MAX_SIZE": 9},
    }


def test_a_config_without_version_is_merged_as_it_is(tmp_path):
    (tmp_path / "c.yaml").write_text("MODEL: {WEIGHT: w}")
    cfg = CfgNode(new_allowed=True)
    cfg.merge_from_file(tmp_path / "c.yaml")
    assert cfg == {"MODEL": {"WEIGHT": "w"}}


def test_dump_reads_back(tmp_path):
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.TEST", ("val",), "MODEL.ROI_HEADS.NUM_CLASSES", 3])
    text = cfg.dump()
    assert text.startswith("CUDNN_BENCHMARK: false\nDATALOADER:\n  ASPECT_RATIO_GROUPING: true\n")
    assert "  TEST:\n  - val\n" in text
    # the two tuples that the defaults use twice, as Detectron2 writes them
    assert "    BBOX_REG_WEIGHTS:\n    - &id001\n      - 10.0\n" in text
    assert text.count("*id001") == text.count("*id002") == 1
    (tmp_path / "c.yaml").write_text(text)
    again = get_cfg()
    again.merge_from_file(tmp_path / "c.yaml")
    assert again.MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS[0] == [10.0, 10.0, 5.0, 5.0]  # a tuple of lists now
    again.MODEL.ROI_BOX_CASCADE_HEAD = cfg.MODEL.ROI_BOX_CASCADE_HEAD
    assert again == cfg


def test_pickled_yaml_reads_back(tmp_path):
    cfg = get_cfg()
    cfg.MODEL.MASK_ON = True
    cfg.freeze()
    (tmp_path / "c.yaml").write_text(yaml.dump(cfg))
    again = get_cfg()
    again.merge_from_file(tmp_path / "c.yaml")
    assert again == cfg
    assert again.MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS[0] == (10.0, 10.0, 5.0, 5.0)
    assert not again.is_frozen()


@pytest.mark.parametrize(
    "duplicate",
    [CfgNode.clone, copy.deepcopy, lambda cfg: pickle.loads(pickle.dumps(cfg))],
    ids=["clone", "deep", "pickle"],
)
def test_copies(duplicate):
    cfg = get_cfg()
    cfg.X = 1
    cfg.set_new_allowed(True)
    cfg.freeze()
    twin = duplicate(cfg)
    assert twin == cfg and type(twin) is CfgNode and type(twin.MODEL.RPN) is CfgNode
    assert twin.is_frozen() and twin.MODEL.RPN.is_frozen() and twin.MODEL.RPN.is_new_allowed()
    twin.defrost()
    twin.MODEL.PIXEL_STD[0] = 5.0
    assert twin != cfg and cfg.MODEL.PIXEL_STD == [1.0, 1.0, 1.0]


def test_freeze():
    cfg = get_cfg()
    cfg.freeze()
    for node, name in ((cfg, "SEED"), (cfg.MODEL, "WEIGHTS"), (cfg.MODEL.RPN, "NEW")):
        with pytest.raises(AttributeError):
            setattr(node, name, 1)
    cfg.merge_from_list(["MODEL.WEIGHTS", "w"])
    assert cfg.MODEL.WEIGHTS == "w"
    cfg.defrost()
    cfg.MODEL.WEIGHTS = "v"
    assert cfg.MODEL.WEIGHTS == "v"


@pytest.mark.parametrize("value", [{"A": 1}, {1}, 1j, datetime.date(2020, 1, 1)])
def test_values_that_no_config_holds(value):
    cfg = get_cfg()
    with pytest.raises(ConfigError, match="VALUE got"):
        cfg.VALUE = value
    if not isinstance(value, dict):
        with pytest.raises(ConfigError, match=r"A\.VALUE got"):
            CfgNode({"A": {"VALUE": value}})
    cfg.VALUE = CfgNode({"A": 1})
    assert cfg.VALUE.A == 1


@pytest.mark.parametrize(("name", "hint"), [("WEIGHT", "did you mean 'WEIGHTS'"), ("zzz", "it has")])
def test_missing_attribute(name, hint):
    cfg = get_cfg()
    assert not hasattr(cfg.MODEL, name)
    with pytest.raises(AttributeError, match=f"'{name}'; {hint}"):
        getattr(cfg.MODEL, name)


class Named(io.StringIO):
    name = "c.yaml"


@pytest.mark.parametrize(
    "source", ["A: {B: 1}", io.StringIO("A: {B: 1}"), io.BytesIO(b"A: {B: 1}"), Named("A: {B: 1}")]
)
def test_load_cfg(source):
    cfg = CfgNode.load_cfg(source)
    assert type(cfg.A) is CfgNode and cfg.A.B == 1


@pytest.mark.parametrize("source", ["", "- 1", "A: 2020-01-01", "A: !!python/name:os.system ''", io.BytesIO(b"\xff")])
def test_load_cfg_refuses(source):
    with pytest.raises(ConfigError):
        CfgNode.load_cfg(source)


def test_no_way_to_run_a_python_file(tmp_path):
    mark, script = tmp_path / "ran", tmp_path / "cfg.py"
    script.write_text(f"open({str(mark)!r}, 'w')\ncfg = {{'SEED': 1}}\n")
    cfg = get_cfg()
    with script.open() as file:
        for attempt in (
            lambda: cfg.merge_from_file(script),
            lambda: CfgNode.load_yaml_with_base(str(script)),
            lambda: CfgNode.load_cfg(file),
        ):
            with pytest.raises(ConfigError, match="is a Python file, and here a config is YAML"):
                attempt()
    assert not mark.exists()
    assert cfg == get_cfg()


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        ({}, []),
        ({"MINE": 1}, ["MINE"]),
        ({"MODEL": {"MINE": {"A": 1, "B": {"C": 2}}, "DEVICE": "cpu"}}, ["MODEL.MINE"]),
        ({"MODEL": {"RPN": {"MINE": 1}}, "MINE": {}}, ["MODEL.RPN.MINE", "MINE"]),
        ({"MODEL": {"SWIN": {"EMBED_DIM": 24}}}, []),
        ({"MODEL": {"SWIN": {"EMBED_DIM": 24, "MINE": 1}}}, ["MODEL.SWIN.MINE"]),
    ],
)
def test_what_is_left_out_so_that_a_config_can_be_merged(changes, left_out):
    cfg = get_cfg()
    cfg.set_new_allowed(True)
    cfg.merge_from_other_cfg(changes)
    cfg.freeze()
    before = cfg.clone()
    rest, found = without_others(cfg)
    assert (found, cfg) == (left_out, before)
    again = get_cfg()
    again.merge_from_other_cfg(rest)
    assert again == rest
