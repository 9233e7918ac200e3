"""Constructors and functions called with a config or with plain arguments."""

import pytest

from litepred.config import CfgNode, configurable


@pytest.fixture
def cfg():
    return CfgNode({"A": 1, "B": 2})


class Plain:
    @configurable
    def __init__(self, a, b=0, *, c=0):
        """Hold three values."""
        self.values = (a, b, c)

    @classmethod
    def from_config(cls, cfg):
        return {"a": cfg.A, "b": cfg.B}


class Shaped(Plain):
    @configurable()
    def __init__(self, input_shape, **kwargs):
        super().__init__(**kwargs)
        self.input_shape = input_shape

    @classmethod
    def from_config(cls, cfg, input_shape):
        return {**super().from_config(cfg), "input_shape": input_shape}


class Legacy(Shaped):
    def __init__(self, cfg, input_shape):
        super().__init__(cfg, input_shape)


class LegacyOtherName(Shaped):
    def __init__(self, config, shape):
        super().__init__(config, shape)


class Greedy(Plain):
    @classmethod
    def from_config(cls, cfg, **kwargs):
        return {"a": cfg.A, "b": sorted(kwargs)}


@pytest.mark.parametrize(
    ("build", "values"),
    [
        (lambda cfg: Plain(5), (5, 0, 0)),
        (lambda cfg: Plain(a=5, b=6, c=7), (5, 6, 7)),
        (lambda cfg: Plain(cfg), (1, 2, 0)),
        (lambda cfg: Plain(cfg=cfg), (1, 2, 0)),
        (lambda cfg: Plain(cfg, b=9, c=3), (1, 9, 3)),
        (lambda cfg: Shaped("s", a=5), (5, 0, 0)),
        (lambda cfg: Shaped(cfg, "s"), (1, 2, 0)),
        (lambda cfg: Shaped(cfg=cfg, input_shape="s", c=4), (1, 2, 4)),
        (lambda cfg: Legacy(cfg, "s"), (1, 2, 0)),
        (lambda cfg: Legacy(cfg=cfg, input_shape="s"), (1, 2, 0)),
        (lambda cfg: LegacyOtherName(cfg, "s"), (1, 2, 0)),
        (lambda cfg: Greedy(cfg, x=1, y=2), (1, ["x", "y"], 0)),
    ],
)
def test_init(build, values, cfg):
    built = build(cfg)
    assert built.values == values
    assert getattr(built, "input_shape", "s") == "s"


def test_docstring_is_kept():
    assert Plain.__init__.__doc__ == "Hold three values."


@configurable(from_config=lambda cfg, b: {"a": cfg.A, "b": b})
def function(a, b=2, c=3):
    return a, b, c


@pytest.mark.parametrize(
    ("call", "values"),
    [
        (lambda cfg: function(5), (5, 2, 3)),
        (lambda cfg: function(cfg, b=6), (1, 6, 3)),
        (lambda cfg: function(cfg, 6, c=7), (1, 6, 7)),
        (lambda cfg: function(cfg=cfg, b=6, a=5), (5, 6, 3)),
        (lambda cfg: function.from_config(cfg, b=6), {"a": 1, "b": 6}),
    ],
)
def test_function(call, values, cfg):
    assert call(cfg) == values


def class_with(from_config=None):
    members = {} if from_config is None else {"from_config": from_config}
    return type("Bad", (), {"__init__": configurable(lambda_init), **members})


def lambda_init(self, a=1):
    pass


lambda_init.__name__ = "__init__"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda cfg: class_with()(), AttributeError, "Bad.*no attribute .from_config"),
        (lambda cfg: class_with(lambda self, cfg: {})(cfg), TypeError, r"takes \(self, cfg\): .* be a classmethod"),
        (lambda cfg: class_with(classmethod(lambda cls, config: {}))(cfg), TypeError, "must take 'cfg' first"),
        (lambda cfg: class_with(classmethod(lambda cls: {}))(cfg), TypeError, "must take 'cfg' first"),
        (lambda cfg: class_with(classmethod(lambda cls, cfg: None))(cfg), TypeError, "not a mapping"),
        (lambda cfg: Plain(cfg, nonsense=1), TypeError, "nonsense"),
        (lambda cfg: Plain(cfg, 3), TypeError, "positional"),
        (lambda cfg: function(cfg), TypeError, "'b'"),
        (lambda cfg: configurable(function), TypeError, "decorates an __init__"),
    ],
)
def test_misuse(call, error, message, cfg):
    with pytest.raises(error, match=message):
        call(cfg)


def test_a_config_of_omegaconf():
    omegaconf = pytest.importorskip("omegaconf")
    cfg = omegaconf.OmegaConf.create({"A": [1, {"x": 2}], "B": {"C": 3}})
    for made in (Plain(cfg), Plain(cfg=cfg)):
        first, second, _ = made.values
        assert (first, second.C) == ([1, {"x": 2}], 3)
        assert type(second) is CfgNode
    assert isinstance(Plain(1, cfg).values[1], omegaconf.DictConfig)  # an argument like others
