"""The language of lazy configs: what it computes, and what it refuses."""

from __future__ import annotations

import functools
import os
import time

import pytest

pytest.importorskip("omegaconf")
from torch import nn

from litepred import ConfigError
from litepred.drop_in.lazy import LazyConfig
from litepred.modeling import FastRCNNConvFCHead

HEAD = """
from functools import partial
import copy, math
import torch.nn as nn
from detectron2.config import LazyCall as L, LazyConfig
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import FastRCNNConvFCHead
from omegaconf import OmegaConf
from elsewhere.models import Head, heads
"""


def load(folder, text, name="config.py", head=HEAD):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + text, encoding="utf-8")
    return LazyConfig.load(str(path))


def test_an_empty_file_is_an_empty_config(tmp_path):
    assert load(tmp_path, "", head="") == {}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3 - 4 / 2", 5.0),
        ("-7 // 2 % 3", 2),
        ("2 ** 10", 1024),
        ("2 ** 0.5", 2**0.5),
        ("not 1 or 0 and 1", 0),
        ("1 < 2 <= 2 != 3", True),
        ("3 in [1, 2] or 'a' not in 'bc'", True),
        ("'yes' if [] else None", None),
        ("f'{0.125:.2f}-{\"x\"!r}-{3:03d}'", "0.12-'x'-003"),
        ("'ab' 'c' + 'd' * 2", "abcdd"),
        ("'a.b'.split('.')", ["a", "b"]),
        ("[*range(3), 7][1:-1]", [1, 2]),
        ("[0] * 3 + [x * y for x in range(3) for y in (1, 2) if x]", [0, 0, 0, 1, 2, 2, 4]),
        ("{**{'a': 1}, 'b': [2]}", {"a": 1, "b": [2]}),
        ("{f'p{i}': 2**i for i in (2, 3)}", {"p2": 4, "p3": 8}),
        ("dict([('a', 1)], b=dict())", {"a": 1, "b": {}}),
        ("dict(scope=1, value=2)", {"scope": 1, "value": 2}),
        ("sum(i for i in range(4)) + len('abc')", 9),
        ("sum([[1], [2]], [])", [1, 2]),
        ("[max(1, 3), min([2, 1]), abs(-2), round(2.6), int('4'), str(5)]", [3, 1, 2, 3, 4, "5"]),
        ("[list(pair) for pair in zip('ab', [1, 2])]", [["a", 1], ["b", 2]]),
        ("[i for i, _ in enumerate('a', 1)] + list(reversed([1, 2])) + sorted([2, 1])", [1, 2, 1, 1, 2]),
        ("list((1, 2))", [1, 2]),
        ("math.ceil(2.1) + math.sqrt(4)", 5.0),
        ("(lambda a, b=2: a + b)(1)", 3),
        ("copy.deepcopy({'a': [1]})", {"a": [1]}),
        ("OmegaConf.create({'a': 1})", {"a": 1}),
        ("dict(a=1).get('b', 5)", 5),
        ("[k for k, v in dict(a=1).items()]", ["a"]),
    ],
)
def test_values(tmp_path, expression, value):
    found = load(tmp_path, f"made = dict(value={expression})").made.value
    assert found == value
    assert isinstance(found, type(value)) or isinstance(value, (list, dict))


def test_statements(tmp_path):
    cfg = load(
        tmp_path,
        """
def scaled(n, *, by=2):
    "A docstring."
    assert n
    if n > 1:
        total = n * by
    else:
        total = 0
    return total

base = dict(a=1, b=[1, 2], c=dict(d=0))
base["a"] += 1
base["b"][0] = base["b"][1] = 9
made = OmegaConf.create(base)
made.c.d = scaled(3)
made.c.e: int = scaled(1)
made.list = []
for i, name in enumerate(["x", "y"]):
    made.list.append(f"{name}{i}")
del made.a, base
low, (high, *_) = 1, (2,)
""".replace("(high, *_)", "(high,)"),
    )
    assert cfg == {"made": {"b": [9, 9], "c": {"d": 6, "e": 0}, "list": ["x0", "y1"]}}


def test_calls_are_described_and_names_are_data(tmp_path):
    cfg = load(
        tmp_path,
        """
model = L(FastRCNNConvFCHead)(
    input_shape=ShapeSpec(channels=8, height=7, width=7), conv_dims=[], fc_dims=[4], norm=partial(nn.LayerNorm, eps=1)
)
model.other = L(Head)(x="${..conv_dims}", y=heads.Small, z=partial(Head, 1))
model.update(more=L("a.b")(), conv_norm=lambda c: nn.GroupNorm(1, c))
model.pop("norm")
_hidden = dict(a=1)
number = 3
""",
    )
    assert list(cfg) == ["model"]
    model = cfg.model
    assert model._target_ is FastRCNNConvFCHead
    assert model.other.x == []
    assert repr(model.other._target_) == "<elsewhere.models.Head>"
    assert (model.other.y, model.other.z.func.path) == (model.other.y, "elsewhere.models.Head")
    assert model.more._target_ == "a.b"
    assert isinstance(model.conv_norm(3), nn.GroupNorm)
    with pytest.raises(ConfigError, match=r"a config names elsewhere\.models\.Head, which it may not call"):
        model.other._target_()


def test_partials_hold_the_object(tmp_path):
    norm = load(tmp_path, "a = dict(norm=partial(nn.LayerNorm, eps=1e-6))").a.norm
    assert isinstance(norm, functools.partial)
    assert (norm.func, norm.keywords) == (nn.LayerNorm, {"eps": 1e-6})


def test_files_import_each_other(tmp_path):
    load(tmp_path, "model = {'a': 1, 'b': {'c': 2}}\nname = 'x'", "configs/common/base.py")
    load(tmp_path, "from ..common.base import model, name as title\nmodel.a = title", "configs/mine/one.py")
    load(tmp_path, "from configs.common.base import model\nmodel.b.c = 3", "configs/mine/two.py")
    load(tmp_path, "model, = LazyConfig.load_rel('../common/base.py', ['model'])", "configs/mine/three.py")
    found = {name: LazyConfig.load(tmp_path / f"configs/mine/{name}.py").model for name in ("one", "two", "three")}
    assert found == {
        "one": {"a": "x", "b": {"c": 2}},
        "two": {"a": 1, "b": {"c": 3}},
        "three": {"a": 1, "b": {"c": 2}},
    }
    assert LazyConfig.load(tmp_path / "configs/common/base.py", "name") == "x"
    assert LazyConfig.load(tmp_path / "configs/common/base.py", ("name", "model"))[1].b.c == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (", "line 1: not Python"),
        ("x = y", "line 1: 'y' is not defined"),
        ("x = 1\n\ny = x.real", "line 3: a config may not read 'real' of a int"),
        ("from .nothing import x", "cannot import from nothing: .*nothing.py does not exist"),
        ("from . import x", "relative import of a directory"),
        ("from .config import x", "import each other in a circle"),
        ("class A: pass", "a ClassDef is not part of the language of configs"),
        ("x = {}['a']", "there is no key 'a'"),
        ("x = dict(a=1)\nx.a.b = 2", "a config may not change a int|may not read"),
        ("assert 1 > 2", "assertion '1 > 2' does not hold"),
        ("def f(a): return a\nx = f()", "f was called without a"),
    ],
)
def test_mistakes(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text, head="")


# Each would run code, read what is no config, or never end, if the file were run.
HOSTILE = {
    "import": "import os\nos.system('touch ran')",
    "from import": "from os import system\nsystem('touch ran')",
    "import star": "from os import *",
    "__import__": "__import__('os').system('touch ran')",
    "eval": "eval('1')",
    "exec": "exec('x = 1')",
    "open": "x = dict(a=open('/etc/passwd').read())",
    "getattr": "getattr(dict, '__class__')",
    "class chain": "x = ().__class__.__base__.__subclasses__()",
    "class of text": "x = ''.__class__",
    "method of a function": "def f(): pass\nx = f.__globals__",
    "format": "x = '{0.__class__}'.format(1)",
    "wide format": "x = f'{1:>1000000000}'",
    "percent": "x = '%1000000000d' % 1",
    "globals": "globals()['x'] = 1",
    "decorator": "import os\n@os.system\ndef f(): pass",
    "class": "class A:\n    import os",
    "while": "while True: pass",
    "recursion": "def f(): return f()\nf()",
    "exponential calls": "def f(n): return f(n - 1) + f(n - 1) if n else 1\nf(50)",
    "comprehension bomb": "x = [0 for a in range(10**5) for b in range(10**5)]",
    "long range": "x = list(range(10**12))",
    "list times": "x = [0] * 10**12",
    "text times": "x = 'a' * 10**12",
    "doubling": "x = [0]\nfor i in range(64): x = x + x",
    "doubling text": "x = 'a'\nfor i in range(64): x = x + x",
    "doubling tree": "x = 0\nfor i in range(64): x = [x, x]\nimport omegaconf\ny = omegaconf.OmegaConf.create(x)",
    "doubling config": "from omegaconf import OmegaConf\nx = OmegaConf.create({'a': 1})\nfor i in range(64): x.b = x",
    "extending": "x = [0]\nfor i in range(64): x.extend(x)",
    "huge power": "x = 9 ** 9 ** 9",
    "growing number": "x = 3\nfor i in range(99): x = x * x",
    "shift": "x = 1 << 10**9",
    "sum of lists": "x = sum([[0] * 1000 for i in range(10**4)], [])",
    "nested too deep": "x = " + "[" * 90 + "]" * 90,
    "parser": "x = " + "(" * 100_000,
    "unary": "x = " + "-" * 50_000 + "1",
    "attributes": "import a\nx = a" + ".b" * 50_000,
    "environment": "x = dict(a='${oc.env:HOME}')",
    "hidden environment": "x = dict(a='$' + '{oc.env:HOME}')",
    "interpolation bomb": "x = dict(a='${b}${b}')",
    "calls what it imports": "import torch\ntorch.save(1, 'ran')",
    "load by path": "import torch\nfrom functools import partial\nx = partial(torch.load, 'ran')()",
    "absolute path": "from detectron2.config import LazyConfig\nx = LazyConfig.load('/etc/passwd')",
    "builds a layer": "import torch\nx = torch.nn.Linear(10**6, 10**6)",
    "try": "try:\n    pass\nexcept Exception: pass",
    "walrus": "x = (y := 1)",
    "yield": "def f():\n    yield 1\nx = list(f())",
    "with": "with open('ran', 'w'): pass",
    "global": "def f():\n    global x\nf()",
    "slice assignment": "x = [0]\nx[:] = [1]",
    "text that grows in place": "d = dict(a='$')\nd['a'] += '{oc.env:HOME}'",
    "number that grows in place": "d = dict(a=3)\nfor i in range(40): d['a'] *= d['a']",
    "doubling in the result": "a = [0]\nfor i in range(40): a = [a, a]\nx = dict(a=a)",
    "wide result": "x = dict(a=[0] * 900000)",
    "comparing doubled lists": "a = b = [0]\nfor i in range(40):\n    a = [a, a]\n    b = [b, b]\nx = a == b",
    "looking up a doubled tuple": "a = (0,)\nfor i in range(40): a = (a, a)\nx = {}[a]",
    "doubled target": "import litepred.drop_in.lazy as l\na = 0\nfor i in range(40): a = {1: a, 2: a}\nl.LazyCall(a)()",
    "doubled partial": "from functools import partial as p\nb = 0\nfor i in range(40): b = p(p, b, b)\nx = dict(y=b)",
    "itself in itself": "a = [0]\na.append(a)\nx = dict(a=a)",
    "mapping in itself": "a = {}\na['b'] = a",
    "five thousand levels": "a = y = {}\nfor i in range(5000):\n    y['a'] = {}\n    y = y['a']",
    "changed while iterated": "d = {'a': 1}\nfor k in d: d[k + 'x'] = 1",
    "statements for nothing": "for i in range(900000):\n" + "    pass\n" * 9000,
    "extending by ranges": "def f():\n    y = []\n    y.extend(range(999999))\nfor i in range(400): f()",
    "a fraction among numbers": "for i in range(300): 0.5 in range(999999)",
    "a fraction in a config": "import omegaconf as o\nx = o.ListConfig([0] * 9000)\nfor i in range(9000): 0.5 in x",
    "comparing views": "a = b = [0]\nfor i in range(40):\n    a = [a, a]; b = [b, b]\n{1: a}.items() == {1: b}.items()",
    "key of nothing": "d = {}\nd.setdefault(None, 1)",
    "round": "x = round(5, -(10 ** 9))",
    "shape of text": "from detectron2.layers import ShapeSpec\nx = dict(a=ShapeSpec(channels='${oc.env:HOME}'))",
    "long path": f"from .{'a' * 300} import x",
    "long name": "import a\nx = a" + ".bcdefghijk" * 60 + "\ny = x" + ".b" * 60,
    "deleting one by one": "import omegaconf as o\nx = o.ListConfig([0] * 19000)\nfor i in range(19000): del x[0]",
    "null byte": "x = 1\0",
    "not text": "x = '\ud800'",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_run_nothing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.py").write_bytes(HOSTILE[name].encode("utf-8", "surrogatepass"))
    start = time.process_time()
    with pytest.raises(ConfigError) as caught:
        LazyConfig.load("config.py")
    assert "config.py" in str(caught.value)
    assert os.listdir() == ["config.py"]
    assert time.process_time() - start < 30  # seconds; it is below 3 unless something never ends


def test_ten_thousand_files(tmp_path):
    load(tmp_path, "x = dict(a=1)", "b.py")
    with pytest.raises(ConfigError, match="more than 100 files"):
        load(tmp_path, "from .b import x\n" * 5_000, head="")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("from .config import x", "config.py"),
        ("from .b import x", "(?s)b.py|config.py"),
        ("from .chain0 import x", "config.py|more than 100 files|nested"),
        ("from ..outside import secret", "outside"),
        ("from detectron2.config import LazyConfig\nx = LazyConfig.load('../outside.txt')", "is refused"),
        ("from detectron2.config import LazyConfig\nx = LazyConfig.load('/dev/zero.py')", "is refused"),
    ],
)
def test_circles_chains_and_ways_out(tmp_path, text, message):
    (tmp_path / "b.py").write_text("from .config import x")
    for i in range(150):
        (tmp_path / f"chain{i}.py").write_text(f"from .chain{i + 1} import x")
    (tmp_path.parent / "outside.txt").write_text("secret")
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text, head="")


@pytest.mark.parametrize(
    "text",
    [
        "x: !!python/object/apply:os.system ['touch ran']",
        "x: !!python/object:detectron2.layers.ShapeSpec {channels: '${oc.env:HOME}'}",
        "x: '${oc.env:HOME}'",
        "null: 1",
        "? [a, b]\n: 1",
        "2001-01-01: 1",
        "x: !!python/name:" + "a." * 400 + "b ''",
        "_BASE_: config.yaml",
        "x: [" + "1, " * 30_000 + "]",
    ],
)
def test_hostile_yaml(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError):
        LazyConfig.load("config.yaml")
    assert os.listdir() == ["config.yaml"]


def test_what_a_pickle_or_yaml_would_run(tmp_path):
    (tmp_path / "a.yaml").write_text("x: !!python/object/apply:os.system ['touch ran']")
    with pytest.raises(ConfigError, match=r"!!python/object/apply:os\.system is refused"):
        LazyConfig.load(str(tmp_path / "a.yaml"))
    with pytest.raises(ConfigError, match=r"expected a Python or YAML file"):
        LazyConfig.load(str(tmp_path / "a.pkl"))
