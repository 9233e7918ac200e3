"""A stranger's ONNX file reads no other files and runs nothing: it is refused before an engine sees it."""

from __future__ import annotations

import io
import os
import pickle
import random
import re
import sys
import zipfile

import pytest
from tiny_models import tiny_cfg

from litepred import CheckpointError, ConfigError, LitepredError, Predictor

onnx = pytest.importorskip("onnx")
from litepred.export import engine_model  # noqa: E402
from litepred.export.metadata import EXPORTED_BY, header_texts, read_header, read_onnx  # noqa: E402

make = onnx.helper
FLOAT, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL
SECRET = "the secret of another file"


def value(name, kind=FLOAT, shape=(1,)):
    return make.make_tensor_value_info(name, kind, shape)


def tensor(name="x", of=(1.0,)):
    return make.make_tensor(name, FLOAT, [len(of)], of)


def elsewhere(name="w", location="secret.txt"):
    """A tensor whose values are in another file."""
    one = onnx.TensorProto(name=name, data_type=FLOAT, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    one.external_data.add(key="location", value=location)
    return one


def sparse(values, indices=None):
    indices = indices or make.make_tensor("i", onnx.TensorProto.INT64, [1], [0])
    return onnx.SparseTensorProto(values=values, indices=indices, dims=[1])


def graph_of(*nodes, initializers=(), **fields):
    graph = make.make_graph(list(nodes), "inner", [], [value("y")], initializers)
    for name, content in fields.items():
        getattr(graph, name).extend(content)
    return graph


def model_of(*nodes, functions=(), texts=None, **fields):
    """A model that is in order, as far as its parts are."""
    plain = make.make_node("Identity", ["x"], ["y"])
    initializers = [tensor(), *fields.pop("initializers", ())]
    graph = graph_of(plain, *nodes, initializers=initializers, **fields)
    opsets = [make.make_opsetid("", 18)]
    model = make.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=10)
    for key, text in (header_texts(tiny_cfg(), ["a", "b", "c"]) if texts is None else texts).items():
        model.metadata_props.add(key=key, value=text)
    return model


def constant(attribute):
    node = make.make_node("Constant", [], ["w"])
    node.attribute.append(attribute)
    return node


def attribute(**fields):
    return onnx.AttributeProto(name="value", **fields)


def branch(*nodes, **fields):
    """A node with a subgraph."""
    return make.make_node("If", ["c"], ["z"], then_branch=graph_of(*nodes, **fields), else_branch=graph_of())


def function(*nodes, name="F", domain="local"):
    return make.make_function(domain, name, ["x"], ["y"], list(nodes), [make.make_opsetid("", 18)])


def training(graph):
    model = model_of()
    model.training_info.add().algorithm.CopyFrom(graph)
    return model


IN_OTHER_FILES = {
    "initializer": lambda: model_of(initializers=[elsewhere()]),
    "an absolute path": lambda: model_of(initializers=[elsewhere(location="/etc/passwd")]),
    "a path upwards": lambda: model_of(initializers=[elsewhere(location="../secret.txt")]),
    "without saying so": lambda: model_of(initializers=[undeclared()]),
    "without saying where": lambda: model_of(initializers=[onnx.TensorProto(name="w", data_location=1)]),
    "sparse values": lambda: model_of(sparse_initializer=[sparse(elsewhere())]),
    "sparse indices": lambda: model_of(sparse_initializer=[sparse(tensor("w"), elsewhere("i"))]),
    "attribute": lambda: model_of(constant(attribute(t=elsewhere(), type=4))),
    "attributes": lambda: model_of(constant(attribute(tensors=[tensor("a"), elsewhere()], type=9))),
    "sparse attribute": lambda: model_of(constant(attribute(sparse_tensor=sparse(elsewhere()), type=11))),
    "sparse attributes": lambda: model_of(constant(attribute(sparse_tensors=[sparse(elsewhere())], type=12))),
    "attribute of another type": lambda: model_of(constant(attribute(t=elsewhere(), i=1, type=2))),
    "subgraph": lambda: model_of(branch(initializers=[elsewhere()])),
    "subgraph in a subgraph": lambda: model_of(branch(branch(initializers=[elsewhere()]))),
    "attribute in a subgraph": lambda: model_of(branch(constant(attribute(t=elsewhere(), type=4)))),
    "list of subgraphs": lambda: model_of(
        constant(attribute(graphs=[graph_of(), graph_of(initializers=[elsewhere()])], type=10))
    ),
    "function": lambda: model_of(functions=[function(constant(attribute(t=elsewhere(), type=4)))]),
    "subgraph in a function": lambda: model_of(functions=[function(branch(initializers=[elsewhere()]))]),
    "default of a function": lambda: model_of(functions=[with_default(elsewhere())]),
    "training": lambda: training(graph_of(initializers=[elsewhere()])),
}
FOREIGN = make.make_node("Run", ["x"], ["z"], domain="com.stranger")
COMPILED = make.make_node("EPContext", [], ["z"], domain="com.microsoft")
FOREIGN_OPERATORS = {
    "graph": lambda: model_of(FOREIGN),
    "subgraph": lambda: model_of(branch(FOREIGN)),
    "function": lambda: model_of(functions=[function(FOREIGN)]),
    "subgraph in a function": lambda: model_of(functions=[function(branch(branch(FOREIGN)))]),
    "a function's domain, without the function": lambda: model_of(
        FOREIGN, functions=[function(domain="com.stranger", name="Other")]
    ),
    "extensions": lambda: model_of(make.make_node("PyOp", ["x"], ["z"], domain="ai.onnx.contrib")),
    "compiled code": lambda: model_of(COMPILED),
    "compiled code in a function": lambda: model_of(functions=[function(COMPILED)]),
    "compiled code that a function stands for": lambda: model_of(
        COMPILED, functions=[function(name="EPContext", domain="com.microsoft")]
    ),
    "compiled code of another domain": lambda: model_of(
        make.make_node("EPContext", [], ["z"], domain="local"), functions=[function(name="EPContext")]
    ),
}


def undeclared():
    one = tensor("w")
    one.external_data.add(key="location", value="secret.txt")
    return one


def with_default(default):
    one = function()
    one.attribute_proto.append(attribute(t=default, type=4))
    return one


def written(folder, model, name="model.onnx"):
    path = folder / name
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return str(path)


@pytest.fixture(scope="module")
def opened():
    """The list of the files, of those that no model may name, that Python opens."""
    found: list[str] = []
    watching = [True]

    def watch(event, arguments):
        if watching[0] and event == "open" and str(arguments[0]).endswith(("secret.txt", "passwd", "marker")):
            found.append(str(arguments[0]))

    sys.addaudithook(watch)  # which stays for good, and rests after these tests
    yield found
    watching[0] = False


@pytest.fixture
def refused(tmp_path, monkeypatch, opened):
    """Return a function that has a file refused everywhere: no engine sees it, no other file is opened."""
    (tmp_path / "secret.txt").write_text(SECRET)
    opened.clear()
    monkeypatch.setattr(engine_model, "make_engine", lambda *_, **__: pytest.fail("an engine got the file"))

    def refuse(content, match, error=LitepredError):
        path = written(tmp_path, content)
        for engine in (None, "openvino"):
            with pytest.raises(error, match=match) as caught:
                Predictor(path, engine=engine)
            assert type(caught.value) in (CheckpointError, ConfigError)
            assert path in str(caught.value) or "class_names has" in str(caught.value)
            assert SECRET not in str(caught.value) and len(str(caught.value)) < 2000
        assert opened == []

    return refuse


def test_what_is_in_order_is_read(tmp_path):
    fine = model_of(
        branch(branch(constant(attribute(t=tensor("w"), type=4)))),
        make.make_node("F", ["x"], ["z"], domain="local"),
        make.make_node("Gelu", ["x"], ["g"], domain="com.microsoft"),
        functions=[function(make.make_node("Relu", ["x"], ["y"], domain="ai.onnx"))],
    )
    path = written(tmp_path, fine, "MODEL.ONNX")
    assert read_onnx(path) == fine
    header = read_header(path)
    assert (header.name, header.model) == (path, {})
    assert header.header == header_texts(tiny_cfg(), ["a", "b", "c"])


@pytest.mark.parametrize("place", IN_OTHER_FILES)
def test_tensors_in_other_files(refused, place):
    refused(IN_OTHER_FILES[place](), r"keeps the tensor '\w' in another file.*: expected a file of one piece")


@pytest.mark.parametrize("place", FOREIGN_OPERATORS)
def test_operators_of_others(refused, place):
    refused(
        FOREIGN_OPERATORS[place](), r"needs the operator '\w+' of '[\w.]+', which would be code .*: expected ONNX's"
    )


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model.onnx", model_of().SerializeToString())
    return file.getvalue()


class Marker:
    """Unpickled, it makes a file."""

    def __reduce__(self):
        return open, ("marker", "w")


OTHER_CONTENT = {
    "empty": b"",
    "a zip": zipped(),
    "a pickle": pickle.dumps({"model": Marker()}),
    "an old pickle": pickle.dumps([Marker()], protocol=0),
    "text": b"this is no model\n",
    "zeros": bytes(1000),
    "text of ONNX": b'ir_version: 10\ngraph { name: "g" output { name: "y" } }\nopset_import { version: 18 }',
    "JSON of ONNX": b'{"irVersion": "10", "graph": {"output": [{"name": "y"}]}, "opsetImport": [{"version": "18"}]}',
    "a checkpoint of safetensors": b'\x10\0\0\0\0\0\0\0{"a": {}       }',
    "another message": tensor("a").SerializeToString(),
    "nothing in it": onnx.ModelProto(ir_version=10).SerializeToString(),
}


@pytest.mark.parametrize("kind", OTHER_CONTENT)
def test_files_of_other_kinds(refused, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    refused(OTHER_CONTENT[kind], "holds no ONNX model|cannot be read as an ONNX model", CheckpointError)
    assert not (tmp_path / "marker").exists()


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.onnx does not exist: expected an ONNX file"):
        read_header(str(tmp_path / "none.onnx"))
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(CheckpointError, match=r"folder\.onnx is a folder or a device: expected an ONNX file"):
        Predictor(tmp_path / "folder.onnx")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(CheckpointError, match="is a folder or a device"):
        Predictor(tmp_path / "pipe.onnx")


def test_too_large(tmp_path):
    with (tmp_path / "large.onnx").open("wb") as file:
        try:
            file.truncate(2**31 + 1)
        except OSError:
            pytest.skip("no such files here")
    with pytest.raises(CheckpointError, match="more than 2 GB"):
        Predictor(tmp_path / "large.onnx")


def test_cut_short_at_every_byte(tmp_path):
    content = model_of(branch(), texts={"litepred.config": "MODEL: {}", EXPORTED_BY: "0"}).SerializeToString()
    read_header(written(tmp_path, content))
    for length in range(len(content)):
        with pytest.raises(CheckpointError, match=r": expected .* export"):
            read_header(written(tmp_path, content[:length]))


def test_damaged_bytes(tmp_path):
    """One to three bytes are others: the file is read, or refused in our own words."""
    content = model_of(branch(FOREIGN), functions=[function(branch())], initializers=[elsewhere()])
    generator = random.Random(0)
    fine = model_of(branch(), texts={"litepred.config": "MODEL: {}", EXPORTED_BY: "0"}).SerializeToString()
    refusals = 0
    for whole in (content.SerializeToString(), fine):
        for _ in range(400):
            damaged = bytearray(whole)
            for _ in range(generator.randint(1, 3)):
                damaged[generator.randrange(min(600, len(damaged)))] = generator.randrange(256)
            try:
                read_header(written(tmp_path, bytes(damaged)))
            except CheckpointError as error:
                refusals += 1
                assert "model.onnx" in str(error)
    assert refusals > 400


@pytest.mark.parametrize("text", [b"the config", b"litepred.config", b"other", b"local"])
def test_texts_that_are_not_utf8(refused, text):
    texts = {"litepred.config": "the config", EXPORTED_BY: "0", "other": ""}
    content = model_of(make.make_node("F", ["x"], ["z"], domain="local"), texts=texts).SerializeToString()
    refused(content.replace(text, b"\xff" * len(text)), "metadata that are no text|needs the operator 'F' of|cannot be")


def within(field, content):
    """Put a protobuf message into a field of another one, which is returned."""
    length, size = len(content), bytearray()
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    return bytes([field << 3 | 2, *size, length]) + content


@pytest.mark.parametrize("levels", [40, 20_000])
def test_nested_without_end(refused, levels):
    node = make.make_node("If", ["c"], ["z"]).SerializeToString()
    graph = b""
    for _ in range(levels):
        graph = within(1, node + within(5, within(6, graph)))
    refused(within(7, graph), "cannot be read as an ONNX model")


def texts_with(config, **others):
    return {**header_texts(tiny_cfg(), None), **({"litepred.config": config} if config is not None else {}), **others}


TEXTS = {
    "none": ({}, r"no litepred\.config and no litepred\.version in its metadata"),
    "no version": ({"litepred.config": "MODEL: {}"}, r"no litepred\.version in its metadata"),
    "no config": ({EXPORTED_BY: "1"}, r"no litepred\.config in its metadata"),
    "a huge config": (texts_with("A" * 2_000_000), "larger than 1000000 characters"),
    "more than huge": (texts_with("A" * 11_000_000), "more than 10,000,000 bytes of texts"),
    "a huge other text": (texts_with(None, other="A" * 11_000_000), "more than 10,000,000 bytes of texts"),
    "an empty config": (texts_with(""), "the config embedded in .* the file is empty"),
    "a list": (texts_with("[1, 2]"), "the config embedded in .*expected a YAML mapping"),
    "no YAML": (texts_with("a: b: c: {"), "the config embedded in"),
    "an unknown key": (texts_with("MODEL: {STRANGE: 1}"), "the config embedded in .*STRANGE"),
    "a value that is none": (texts_with("MODEL: {ROI_HEADS: 3}"), "the config embedded in"),
    "an object": (
        texts_with("MODEL: !!python/object/apply:builtins.open [marker, w]"),
        "tag !!python/object/apply:builtins.open is refused",
    ),
    "an object's kind": (texts_with("MODEL: !!python/object:os.system {}"), "is refused"),
    "a new object": (texts_with("MODEL: !!python/object/new:subprocess.Popen [[touch, marker]]"), "is refused"),
    "an expression": (
        texts_with('A: !!python/object/apply:eval [\'open("marker", "w")\']'),
        "is refused|not a YAML config",
    ),
    "a module": (texts_with("A: !!python/module:antigravity"), "is refused"),
    "a name": (texts_with("A: !!python/name:os.system"), "is refused"),
    "another file": (texts_with("_BASE_: secret.txt"), "_BASE_"),
    "aliases": (
        texts_with(
            "a: &a [1,1,1,1,1,1,1,1]\n"
            + "".join(f"{y}: &{y} [{', '.join([f'*{x}'] * 8)}]\n" for x, y in zip("abcdefgh", "bcdefghi"))
        ),
        "values once its aliases expand",
    ),
    "nested": (texts_with("A: " + "[" * 3000 + "]" * 3000), "nested|levels"),
    "names that are no list": (texts_with(None, **{"litepred.class_names": '{"a": 1}'}), "expected a JSON list"),
    "names that are no JSON": (texts_with(None, **{"litepred.class_names": "a, b"}), "expected a JSON list"),
    "names without end": (texts_with(None, **{"litepred.class_names": "[" * 100_000}), "expected a JSON list"),
    "too many names": (texts_with(None, **{"litepred.class_names": '["a", "b", "c", "d"]'}), "4 names"),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_texts(refused, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    texts, match = TEXTS[kind]
    refused(model_of(texts=texts), match)
    assert not (tmp_path / "marker").exists()


def test_a_config_cannot_name_the_weights(tmp_path, monkeypatch):
    cfg = tiny_cfg()
    texts = {**header_texts(cfg, None)}
    cfg.MODEL.WEIGHTS = "https://example.com/model.pth"
    texts["litepred.config"] = cfg.dump()
    path = written(tmp_path, model_of(texts=texts))

    def make_engine(name, seen, **options):
        raise CheckpointError(f"the engine gets {seen}")

    monkeypatch.setattr(engine_model, "make_engine", make_engine)
    with pytest.raises(CheckpointError, match=f"the engine gets {re.escape(path)}$"):
        Predictor(path)
