"""The package as a whole: what importing it costs, what it exports, and that README and examples are true."""

from __future__ import annotations

import csv
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import litepred

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_importing_costs_nothing():
    heavy = run(
        "import sys, litepred; print([m for m in ('torch', 'torchvision', 'cv2', 'numpy', 'PIL') if m in sys.modules])"
    )
    assert heavy.strip() == "[]"


def test_the_predictor_needs_no_opencv_and_no_drawing():
    code = (
        "import sys; from litepred import Predictor; Predictor()('weights/example_page.png');"
        "print([m for m in ('cv2', 'matplotlib', 'litepred.visualizer', 'pycocotools') if m in sys.modules])"
    )
    assert run(code).strip() == "[]"


@pytest.mark.parametrize("name", litepred.__all__)
def test_exports(name):
    assert getattr(litepred, name) is not None
    assert name in dir(litepred)


def test_an_unknown_name():
    with pytest.raises(AttributeError, match=r"no attribute 'Trainer'; it has .*Predictor.*model_zoo"):
        litepred.Trainer  # noqa: B018


def test_dir_shows_public_names_only():
    shown = dir(litepred)
    assert {
        *litepred.__all__,
        "__version__",
        "choices",
        "densepose",
        "evaluation",
        "export",
        "model_zoo",
        "results",
    } == {*shown}
    assert run("import litepred; print(*dir(litepred))").split() == shown


@pytest.mark.parametrize(
    "expression",
    [
        "results.to_dicts",
        "densepose",
        "evaluation.COCOEvaluator",
        "model_zoo.list",
        "data.VideoReader",
        "default_model.default_config",
        "environment",
        "modeling.build_model",
        "structures.Boxes",
        "visualizer.draw",
    ],
)
def test_modules_load_when_touched(expression):
    assert run(f"import litepred; print(litepred.{expression})").startswith("<")


def test_drawing_needs_no_checkpoints():
    code = "import sys, litepred.visualizer; print('litepred.checkpoint' in sys.modules)"
    assert run(code).strip() == "False"


def test_readme_python_runs_anywhere_and_prints_what_it_should(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    blocks = [code for language, code in BLOCKS if language == "python"]
    assert len(blocks[0].strip().splitlines()) <= 6  # five lines and a blank one
    expected = [
        r"tensor\(\[\[ *\d+\.\d+, .*\]\) tensor\(\[.*0\.\d+.*\]\)\n",  # boxes and scores
        r"\['text', .*'title'.*\]\n\d+\n\d+\n",
        rf"https://dl\.fbaipublicfiles\.com/.*\.pkl\n{len(litepred.model_zoo.list())} models\n",
        "",
        r"(text|title|list|table|figure)\n",
    ]
    for code, pattern in zip(blocks, expected, strict=True):
        exec(compile(code, "README.md", "exec"), namespace)
        assert re.fullmatch(pattern, capsys.readouterr().out, re.DOTALL)
    assert namespace["sure"].scores.min() > 0.7
    assert namespace["picture"].shape == namespace["image"].shape
    assert (namespace["picture"] != namespace["image"]).any()


def test_readme_counts_models_as_the_zoo_lists_them():
    names = litepred.model_zoo.list()
    starts = {start: sum(name.startswith(start) for name in names) for start in ("DensePose/", "torchvision/")}
    transformers = sum(name.startswith(("ViTDet/", "MViTv2/")) for name in names)
    points = sum(name.startswith(("PointRend/", "DeepLab/")) for name in names)
    rest = len(names) - sum(starts.values()) - transformers - points
    assert f"zoo, downloaded: {rest} models, and DensePose's {starts['DensePose/']} |" in README
    assert f"its {transformers} models on ViT" in README
    assert f"its {points} models of PointRend and DeepLab" in README
    assert f"({starts['torchvision/']} models), with torchvision's own answers" in README
    assert f"(all {len(names)} without words)" in README


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == litepred.__version__
    assert citation["license"] == "Apache-2.0"


def test_workflows_run_what_is_there():
    """Only a script of .ci, or a tool that is installed for it, is run."""
    steps = []
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values():
            assert job["timeout-minutes"] <= 90
            steps += [step["run"] for step in job["steps"] if "run" in step]
    scripts = {name for step in steps for name in re.findall(r"\.ci/\w+", step)}
    assert scripts == {f".ci/{path.name}" for path in (ROOT / ".ci").iterdir()}


def test_metadata():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for version in range(10, 15):
        assert f'"Programming Language :: Python :: 3.{version}"' in text
    assert len(set(re.findall(r'"supervision>=([\d.]+)"', text))) == 1
    imported = {"numpy", "pillow", "opencv-python", "pyyaml", "safetensors", "torch", "torchvision", "tqdm"}
    assert set(re.findall(r'"([\w-]+)>=', text[text.index("dependencies") : text.index("[project.opt")])) == imported
    listed = re.findall(
        r'"([^"]+)"', text[text.index("sdist]\ninclude") : text.index("[tool.hatch.build.targets.sdist.hooks")]
    )
    assert {"benchmarks", "examples", "docs", "tests", ".ci", "hatch_build.py"} <= {*listed}
    assert all((ROOT / name).exists() for name in listed)


def test_the_long_description_has_no_picture_of_the_repository(monkeypatch):
    interface = pytest.importorskip("hatchling.metadata.plugin.interface")
    assert interface
    built = runpy.run_path(str(ROOT / "hatch_build.py"))
    metadata: dict = {}
    built["ReadmeWithoutPictures"](str(ROOT), {}).update(metadata)
    assert "![" in README
    assert "![" not in metadata["readme"]["text"]
    assert len(metadata["readme"]["text"]) > len(README) - 200
    forced = {"force_include": {"/a/.gitignore": ".gitignore", "/a/b": "b"}}
    built["WithoutGitignore"].initialize(None, "standard", forced)
    assert forced == {"force_include": {"/a/b": "b"}}


@pytest.mark.skipif(sys.platform == "win32", reason="bash of Windows runs in another system")
def test_readme_commands_are_what_ci_runs():
    """.ci/run executes README's bash blocks themselves; each must be one."""
    commands = [code.strip() for language, code in BLOCKS if language == "bash"]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for number in range(1, len(commands) + 1):
        assert f'eval "$(readme_command {number})"' in ci
    assert {language for language, _ in BLOCKS} == {"python", "bash"}
    assert len(commands) == 2
    printed = subprocess.run(
        [
            "bash",
            "-c",
            ci[ci.index("readme_command()") : ci.index("python3 -m venv")] + "readme_command 1; readme_command 2",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert printed.stdout.strip().splitlines() == commands


def test_readme_speeds_are_those_of_the_benchmark():
    totals = []
    for path in (ROOT / "benchmarks" / "results").glob("*.csv"):  # of a processor each; roofline_… has no measures
        with path.open(newline="", encoding="utf-8") as file:
            totals += [row for row in csv.DictReader(file) if row.get("measure") == "total s"]
    measured = {(f"{float(row['median']):.2f}", f"{float(row['ratio']):.2f}") for row in totals}
    rows = re.findall(r"^\| .* s.* \| (\d+\.\d\d) s \| (\d+\.\d\d) \|$", README, flags=re.MULTILINE)
    assert len(rows) > 8
    assert set(rows) <= measured


def test_images_per_second_in_the_docs_are_those_of_the_benchmark():
    (path,) = (ROOT / "benchmarks" / "results").glob("throughput_*.csv")
    with path.open(newline="", encoding="utf-8") as file:
        measured = {f"{float(row['images/s']):.2f}" for row in csv.DictReader(file) if row["images"] == "1000"}
    table = (ROOT / "docs" / "machines.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| .* \| (\d\.\d\d) \|$", table, flags=re.MULTILINE)) == measured


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the script needs Python 3.11")
@pytest.mark.parametrize(("which", "pinned"), [("oldest", "{}=={}.*{}"), ("newest", "{}>={}{}")])
def test_versions_installs_all_that_the_suite_needs(which, pinned):
    """.ci/versions reads the requirements out of pyproject.toml, those of extras within extras, too."""
    requirements = runpy.run_path(str(ROOT / ".ci" / "versions"))["requirements"](which)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lists = re.findall(
        r"^(?:dependencies|coco|heif|hub|lazy|onnx|openvino|serve|test|tiff|video)"
        r" = (.*?[^\w]\])$",
        text,
        re.DOTALL | re.MULTILINE,
    )
    assert len(lists) == 11
    declared = re.findall(r'"([\w-]+)>=([\d.]+)((?:;[^"]*)?)"', "".join(lists))
    assert sorted(requirements) == sorted(pinned.format(*one) for one in declared)
    assert {name for name, *_ in declared} >= {"torch", "pytest", "hypothesis", "pycocotools"}


@pytest.mark.parametrize("name", ["custom_head.py", "partial_execution.py"])  # the others: tests/examples
def test_examples_run(name):
    path = ROOT / "examples" / name
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
