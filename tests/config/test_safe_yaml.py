"""YAML as data: the tags that are read, the tags that are refused, and files built to do harm."""

import time

import pytest

from litepred.config import get_cfg, safe_yaml
from litepred.config.safe_yaml import parse_yaml, read_yaml_with_base
from litepred.errors import ConfigError

RETINANET_SIZES = [[s, s * 2 ** (1.0 / 3), s * 2 ** (2.0 / 3)] for s in [32, 64, 128, 256, 512]]
NODE = "!!python/object/new:detectron2.config.config.CfgNode"
DUMPED = f"""\
{NODE}
dictitems:
  DATASETS: {NODE}
    dictitems:
      TEST: !!python/tuple [val]
      TRAIN: &id001 !!python/tuple []
    state: &id002
      __deprecated_keys__: !!set {{}}
      __immutable__: true
      __new_allowed__: false
      __renamed_keys__: {{}}
  EMPTY: !!python/object:fvcore.common.config.CfgNode
    __immutable__: false
    __deprecated_keys__: !!set {{}}
  OTHER: !!python/object/new:yacs.config.CfgNode
    dictitems: {{TRAIN: *id001}}
    state: *id002
state: *id002
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", {}),
        ("A: 1\nB: [x, 2.5, true, null]", {"A": 1, "B": ["x", 2.5, True, None]}),
        (b"\xef\xbb\xbfA: \xc3\xa9", {"A": "é"}),
        ("A: !!python/tuple []", {"A": ()}),
        ("A: !!python/tuple [1, !!python/tuple [2, [3]]]", {"A": (1, (2, [3]))}),
        ("A: !!set {x}", {"A": {"x"}}),
        ("A: &a {k: 1}\nB: *a\nC: {<<: *a, j: 2}", {"A": {"k": 1}, "B": {"k": 1}, "C": {"k": 1, "j": 2}}),
        (DUMPED, {"DATASETS": {"TEST": ("val",), "TRAIN": ()}, "EMPTY": {}, "OTHER": {"TRAIN": ()}}),
        (
            "S: !!python/object/apply:eval\n"
            '  ["[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]"]',
            {"S": RETINANET_SIZES},
        ),
        (
            "S: !!python/object/apply:eval ['[[x,x*2**(1.0/3),x*2**(2.0/3)] for x in [32,64,128,256,512]]']",
            {"S": RETINANET_SIZES},
        ),
    ],
)
def test_reads(text, expected):
    assert parse_yaml(text, "t") == expected


EXPRESSION = "!!python/object/apply:eval ['[1 for x in range(999)]']"
HOSTILE = [
    "A: !!python/object/apply:os.system ['touch {mark}']",
    "A: [1, [!!python/object/apply:os.system ['touch {mark}']]]",
    "? !!python/object/apply:os.system ['touch {mark}']\n: 1",
    "A: !!python/object/apply:subprocess.check_call [[touch, {mark}]]",
    'A: !!python/object/apply:eval [\'open("{mark}", "w")\']',
    "A: !!python/object/apply:eval ['[x for x in range(10 ** 9)]']",
    f"A: [{', '.join(60 * [EXPRESSION])}]",
    "A: !!python/object/apply:eval ['[1]', {{}}]",
    "A: !!python/object/apply:eval []",
    'A: !!python/object/apply:eval {{args: [\'open("{mark}", "w")\']}}',
    'A: !!python/object/apply:builtins.exec [\'open("{mark}", "w")\']',
    "A: !!python/object/new:os.system ['touch {mark}']",
    "A: !!python/object/new:pathlib.PosixPath {{args: [{mark}]}}",
    "A: !!python/object:detectron2.layers.shape_spec.ShapeSpec {{channels: 1}}",
    "A: !!python/object/new:x.CfgNode ['touch {mark}']",
    "A: !!python/object/new:x.CfgNode {{args: [1], dictitems: {{}}}}",
    "A: !!python/object/new:x.CfgNode {{dictitems: [1]}}",
    "A: !!python/object/new:x.CfgNode {{state: !!python/object/apply:os.system ['touch {mark}']}}",
    "A: !!python/object:x.CfgNode {{KEY: 1}}",
    "A: !!python/name:os.system ''",
    "A: !!python/module:os ''",
    "A: !!python/tuple 3",
    "A: !!python/none ''",
    "A: !local x",
    "_BASE_: !!python/object/apply:os.system ['touch {mark}']",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_tag_is_refused_and_nothing_runs(text, tmp_path):
    mark, file = tmp_path / "ran", tmp_path / "hostile.yaml"
    file.write_text("# a comment\n" + text.format(mark=mark))
    cfg = get_cfg()
    with pytest.raises(ConfigError, match=r"hostile\.yaml, line [23]: "):
        cfg.merge_from_file(file, allow_unsafe=True)
    assert not mark.exists()
    assert cfg == get_cfg()


def test_refused_tag_is_named():
    with pytest.raises(ConfigError, match=r"t, line 2: the tag !!python/object/apply:os\.system is refused"):
        parse_yaml("A: 1\nB: !!python/object/apply:os.system [ls]", "t")


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 30))
CHAIN = "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 300))
DEEP = "a0: &a0 1\n" + "".join(f"a{i}: &a{i} {'[' * 40}*a{i - 1}{']' * 40}\n" for i in range(1, 20))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file is empty"),
        ("# only a comment", "the file is empty"),
        ("null", "the file is empty"),
        ("- 1", "expected a YAML mapping"),
        ("text", "expected a YAML mapping"),
        ("A: [1", "line 1"),
        ("A: 1\n---\nB: 2", "single document"),
        ("A: *nothing", "undefined alias"),
        ("A: \0", "not a YAML config"),
        ("A: !!int x", "not a YAML config"),
        ("A: !!bool x", "not a YAML config"),
        ("A: !!timestamp x", "not a YAML config"),
        ("A: 2024-13-45", "not a YAML config"),
        ("? [1]\n: 2", "unhashable"),
        (b"\x80\x02}q\x00.", "not a text file"),
        ("A: &a [*a]", "an alias of this value stands inside it"),
        ("&a {A: {B: *a}}", "an alias of this value stands inside it"),
        (LAUGHS, "aliases expand"),
        (MERGES, "aliases expand"),
        (CHAIN, "nested deeper than 64 levels once its aliases expand"),
        (DEEP, "nested deeper than 64 levels once its aliases expand"),
        ("A: " + "[" * 50_000, "nested deeper"),
        ("{" * 50_000, "nested deeper"),
        ("? " * 5000, "nested deeper"),
        ("A: " + "9" * 10_000, "a number of 10000 characters"),
        ("A: 1" + ":59" * 10_000, "a number of 30001 characters"),
        ("#" * 1_000_001, "larger than"),
    ],
)
def test_bad_text_ends_quickly(text, problem):
    start_s = time.process_time()
    with pytest.raises(ConfigError, match=f"^t.*{problem}"):
        parse_yaml(text, "t")
    assert time.process_time() - start_s < 5


@pytest.mark.parametrize("text", ["A: [1, 2, 3, 4, 5, 6, 7, 8]", "A: &a 1\nB: [*a, *a, *a, *a, *a, *a]"])
def test_number_of_values_is_bounded(text, monkeypatch):
    assert parse_yaml(text, "t")
    monkeypatch.setattr(safe_yaml, "_MAX_NODES", 8)
    with pytest.raises(ConfigError, match="more than 8 values"):
        parse_yaml(text, "t")


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def test_base_is_looked_up_beside_the_file_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub", child="_BASE_: ../mid.yaml\nM: {a: 3}\nL: [3]")
    write(tmp_path, mid="_BASE_: sub/root.yaml\nM: {a: 2, b: 2}")
    write(tmp_path / "sub", root="M: {a: 1, b: 1, c: {d: 1}}\nL: [1, 1]")
    monkeypatch.chdir("/")
    assert read_yaml_with_base(tmp_path / "sub/child.yaml") == {"M": {"a": 3, "b": 2, "c": {"d": 1}}, "L": [3]}


@pytest.mark.parametrize(
    ("bases", "expected"),
    [
        ("[]", {"C": 1}),
        ("a.yaml", {"A": 1, "X": {"p": "a"}, "C": 1}),
        ("[a.yaml, b.yaml]", {"A": 1, "B": 1, "X": {"p": "b", "q": "b"}, "C": 1}),
        ("!!python/tuple [b.yaml, a.yaml]", {"A": 1, "B": 1, "X": {"p": "a", "q": "b"}, "C": 1}),
        ("{folder}/a.yaml", {"A": 1, "X": {"p": "a"}, "C": 1}),
        ("~/a.yaml", {"A": 1, "X": {"p": "a"}, "C": 1}),
    ],
)
def test_base_forms(bases, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write(tmp_path, a="A: 1\nX: {p: a}", b="B: 1\nX: {p: b, q: b}")
    write(tmp_path, child=f"_BASE_: {bases.format(folder=tmp_path)}\nC: 1")
    assert read_yaml_with_base("~/child.yaml") == expected


@pytest.mark.parametrize(
    ("bases", "problem"),
    [
        ("", "_BASE_ takes a path"),
        ("3", "_BASE_ takes a path"),
        ("[leaf.yaml, {x: 1}]", "_BASE_ takes a path"),
        ("child.yaml", r"circle: \S*child\.yaml -> \S*child\.yaml$"),
        ("loop.yaml", r"circle: \S*child\.yaml -> \S*loop\.yaml -> \S*child\.yaml$"),
        ("missing.yaml", r"missing\.yaml does not exist"),
        ("folder", "folder is not a file"),
        ("empty.yaml", r"empty\.yaml: the file is empty"),
        ("https://example.com/a.yaml", "download it"),
        ("http://example.com/a.yaml", "download it"),
        ("detectron2://a.yaml", "download it"),
        ("script.py", "is a Python file, and here a config is YAML"),
        ("twice.yaml", "more than 100 files"),
        ("plain.yaml", "'SECTION' is a section here"),
        ("chain0.yaml", "more than 100 files"),
        ("../outside.txt", r"outside\.txt, line 1: "),
        ("../../../../../../../../../../dev/zero", "is not a file"),
        ("/dev/zero", "is not a file"),
        ("/proc/self/mem", "proc/self/mem"),
    ],
)
def test_bad_base(bases, problem, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "script.py").write_text("cfg = {}")
    write(tmp_path, child=f"_BASE_: {bases}\nSECTION: {{a: 1}}", loop="_BASE_: child.yaml", empty="", leaf="A: 1")
    write(tmp_path, plain="SECTION: 1", twice=f"_BASE_: [{', '.join(['leaf.yaml'] * 200)}]")
    write(tmp_path, **{f"chain{i}": f"_BASE_: chain{i + 1}.yaml" for i in range(150)})
    (tmp_path.parent / "outside.txt").write_text("password: [secret, *nothing]")
    with pytest.raises(ConfigError, match=problem) as refused:
        read_yaml_with_base(tmp_path / "child.yaml")
    assert "secret" not in str(refused.value)  # what a file outside holds is not told


@pytest.mark.parametrize("path", ["", "a\0b", "/no/such/file.yaml", "https://example.com/a.yaml"])
def test_bad_path(path):
    with pytest.raises(ConfigError):
        read_yaml_with_base(path)
