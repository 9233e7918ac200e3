"""``import detectron2`` with the drop-in in place, and when it refuses."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.resources
import importlib.util
import subprocess
import sys

import pytest

import litepred
from litepred.drop_in.names import ABSENT, MODULES, names_of


def python(code: str, cwd=None) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nothing_happens_before_it_is_asked_for():
    code = (
        "import importlib.util, sys; before = list(sys.meta_path); import litepred;"
        "print(before == sys.meta_path, importlib.util.find_spec('detectron2'), 'litepred.drop_in' in sys.modules)"
    )
    assert python(code) == "True None False"


def test_it_costs_nothing():
    code = (
        "import sys, litepred; litepred.as_detectron2(); import detectron2.engine, detectron2.structures.boxes;"
        "print([m for m in ('torch', 'cv2', 'numpy') if m in sys.modules])"
    )
    assert python(code) == "[]"


@pytest.mark.usefixtures("drop_in")
class TestInPlace:
    def test_calling_it_again_changes_nothing(self):
        finders = list(sys.meta_path)
        litepred.as_detectron2()
        assert sys.meta_path == finders

    def test_names(self):
        count = 0
        for module in MODULES:
            imported = importlib.import_module(module)
            for name in names_of(module).homes:
                found: dict = {}
                exec(f"from {module} import {name}", found)
                assert found[name] is getattr(imported, name), f"{module}.{name}"
                assert name in dir(imported), f"{module}.{name}"
                count += 1
        assert count > 300

    def test_names_that_only_import(self):
        count = 0
        for module in MODULES:
            for name in names_of(module).absent:
                if name.endswith("_REGISTRY"):
                    continue
                value = getattr(importlib.import_module(module), name)
                with pytest.raises(
                    litepred.LitepredError, match=rf"^(detectron2|densepose).*\.{name} is not in litepred: "
                ):
                    value("anything", key=1)
                with pytest.raises(NotImplementedError, match="is not in litepred"):
                    value.build_model({})
                assert not hasattr(value, "train"), f"{module}.{name}"
                count += 1
        assert count > 200

    def test_a_class_derived_from_a_trainer(self):
        from detectron2.engine import DefaultTrainer

        class Trainer(DefaultTrainer):
            @classmethod
            def build_evaluator(cls, cfg, name):
                return name

        assert Trainer.build_evaluator(None, "coco") == "coco"
        with pytest.raises(
            litepred.LitepredError, match=r"only infers\. Train with Detectron2 and load the checkpoint"
        ):
            Trainer({})

    def test_a_class_derived_from_a_stand_in_and_another_class(self):
        from detectron2.data.transforms import Augmentation, HFlipTransform, RandomCrop

        class Crop(RandomCrop, Augmentation):
            pass

        assert issubclass(Crop, RandomCrop)
        assert not isinstance(HFlipTransform(3), RandomCrop)
        with pytest.raises(litepred.LitepredError, match=r"transforms\.RandomCrop is not in litepred"):
            Crop()

    def test_the_same_objects_under_every_name(self):
        from detectron2.engine import DefaultPredictor
        from detectron2.engine.defaults import DefaultPredictor as SamePredictor
        from detectron2.model_zoo import get_config_file, model_zoo
        from detectron2.structures import Boxes
        from detectron2.structures.boxes import Boxes as SameBoxes

        assert DefaultPredictor is SamePredictor is litepred.DefaultPredictor
        assert Boxes is SameBoxes is litepred.Boxes
        assert model_zoo.get_config_file is get_config_file

    def test_what_clients_ask_before_they_import(self):
        assert importlib.util.find_spec("detectron2") is not None
        assert importlib.metadata.version("detectron2") == importlib.import_module("detectron2").__version__ == "0.6"
        assert importlib.metadata.distribution("detectron2").metadata["Name"] == "detectron2"
        assert importlib.metadata.packages_distributions()["detectron2"] == ["detectron2"]
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version("detectron3")

    def test_resources(self):
        configs = importlib.resources.files("detectron2.model_zoo") / "configs"
        assert (configs / "COCO-Detection" / "retinanet_R_50_FPN_3x.yaml").is_file()
        assert (importlib.resources.files("detectron2") / "model_zoo" / "configs").is_dir()

    @pytest.mark.parametrize(
        ("statement", "message"),
        [
            (
                "from detectron2.structures import Boxen",
                r"^Detectron2 has no 'Boxen' in .*: did you mean Boxes",
            ),
            ("from detectron2 import engines", r"^Detectron2 has no 'engines' in detectron2: did you mean engine\?$"),
            ("import detectron2.structures.boxen", "no 'boxen' in detectron2.structures"),
            ("import detectron2.resolve", "no 'resolve' in detectron2"),  # a file of litepred's
            ("import detectron2.structures.boxes.deeper", "no 'deeper' in detectron2.structures.boxes"),
        ],
    )
    def test_what_there_is_not(self, statement, message):
        with pytest.raises(ImportError, match=message):
            exec(statement)

    def test_an_attribute_that_there_is_not(self):
        structures = importlib.import_module("detectron2.structures")
        assert not hasattr(structures, "Boxen")
        with pytest.raises(AttributeError, match=r"no 'Boxen' in detectron2\.structures: did you mean Boxes"):
            structures.Boxen  # noqa: B018

    def test_a_function_that_is_called_like_its_module(self):
        from detectron2.engine.launch import launch

        engine = importlib.import_module("detectron2.engine")
        assert engine.launch is launch
        assert importlib.import_module("detectron2.engine.launch").launch is launch

    def test_submodules_by_attribute(self):
        detectron2 = importlib.import_module("detectron2")
        assert detectron2.engine.DefaultPredictor is litepred.DefaultPredictor

    def test_a_star(self):
        found: dict = {}
        exec("from detectron2.structures import *", found)
        assert found["Boxes"] is litepred.Boxes


def test_reasons_are_all_in_use():
    used = {reason for module in MODULES for reason in names_of(module).absent.values()}
    assert used == set(ABSENT)


@pytest.fixture
def other(tmp_path):
    """A folder with something else that is called detectron2."""
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").write_text("__version__ = 'other'")
    return tmp_path


CALL = "import litepred\ntry: litepred.as_detectron2({})\nexcept litepred.LitepredError as error: print(error)\n"


def test_it_refuses_where_detectron2_is(other):
    told = python(CALL.format(""), other)
    assert "Detectron2 itself can be imported, from " in told
    assert "litepred.as_detectron2(replace=True)" in told


def test_replacing(other):
    code = "import detectron2, importlib.metadata as m; print(detectron2.__version__, m.version('detectron2'))"
    assert python(CALL.format("replace=True") + code, other) == "0.6 0.6"


def test_it_refuses_after_the_import(other):
    assert "detectron2 is already imported from " in python("import detectron2\n" + CALL.format("True"), other)


def test_a_mere_folder_is_no_detectron2(tmp_path):
    """That of a clone, seen from the folder above."""
    (tmp_path / "detectron2").mkdir()
    assert python(CALL.format("") + "import detectron2; print(detectron2.__version__)", tmp_path) == "0.6"


def test_a_densepose_of_the_programs_own_keeps_its_modules(tmp_path):
    (tmp_path / "densepose" / "data").mkdir(parents=True)
    (tmp_path / "densepose" / "__init__.py").write_text("from .data import x\n")
    (tmp_path / "densepose" / "data" / "__init__.py").write_text("x = 1\n")
    code = "import litepred; litepred.as_detectron2({})\nimport densepose\nprint(hasattr(densepose, 'x'))"
    assert python(code.format(""), tmp_path).strip() == "True"
    assert python(code.format("replace=True"), tmp_path).strip() == "False"
