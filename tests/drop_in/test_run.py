"""``litepred run`` against Python itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SHOW = """\
import sys, os
print(__name__, os.path.basename(__file__), sys.argv[1:], os.path.basename(sys.argv[0]), repr(__package__), sys.path[0])
print(sys.modules["__main__"].__dict__ is globals(), __doc__)
def annotated(x: int): pass
print(annotated.__annotations__)
"""
USE = "from detectron2.config import get_cfg\nprint(type(get_cfg()).__module__)\n"


def run(*words, cwd, environment=(), module="litepred"):
    prefix = ["-m", "litepred", "run"] if module else []
    return subprocess.run(
        [sys.executable, *prefix, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **dict(environment)},
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "scripts" / "package").mkdir(parents=True)
    (tmp_path / "scripts" / "script.py").write_text('"""The docstring."""\n' + SHOW)
    (tmp_path / "scripts" / "helper.py").write_text("number = 3")
    (tmp_path / "scripts" / "package" / "__init__.py").write_text("")
    (tmp_path / "scripts" / "package" / "__main__.py").write_text(SHOW)
    (tmp_path / "scripts" / "package" / "module.py").write_text(SHOW + "from . import __name__ as n; print(n)")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["scripts/script.py"], "."),
        (["scripts/script.py", "--replace", "-m", "x", "--", "-h"], "."),
        (["script.py", "--config-file", "a"], "scripts"),
        (["-m", "package", "a", "-b"], "scripts"),
        (["-m", "package.module", "-m", "c"], "scripts"),
        (["-m", "script"], "scripts"),
    ],
)
def test_as_python_runs_it(folder, words, where):
    ours, pythons = run(*words, cwd=folder / where), run(*words, cwd=folder / where, module="")
    assert ours.stderr == "" == pythons.stderr
    assert ours.stdout == pythons.stdout


@pytest.mark.parametrize(
    "code",
    [
        "raise SystemExit(3)",
        "sys.exit('told')",
        "1 / 0",
        "import detectron2.nothing",
        "def f(:\n",
        "exit()",
    ],
)
def test_it_ends_as_python_ends_it(tmp_path, code):
    (tmp_path / "script.py").write_text("import sys\n" + code + "\n")
    ours, pythons = run("script.py", cwd=tmp_path), run("script.py", cwd=tmp_path, module="")
    assert ours.returncode == pythons.returncode
    assert "litepred: error" not in ours.stderr
    if "nothing" in code:
        assert "Detectron2 has no 'nothing' in detectron2" in ours.stderr
    else:
        last = [done.stderr.splitlines()[-1:] for done in (ours, pythons)]
        assert last[0] == last[1]
        assert "litepred" not in ours.stderr  # no frames of ours


def test_detectron2_is_there(tmp_path):
    (tmp_path / "script.py").write_text(USE)
    assert run("script.py", cwd=tmp_path).stdout == "litepred.config.node\n"


def test_its_own_options(tmp_path):
    (tmp_path / "script.py").write_text(USE)
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").write_text("")
    refused = run("script.py", cwd=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("litepred: error: Detectron2 itself can be imported")
    assert "litepred run --replace" in refused.stderr
    assert run("--replace", "script.py", cwd=tmp_path).stdout == "litepred.config.node\n"


STARTS = """\
import subprocess, sys
from detectron2.config import get_cfg
print(type(get_cfg()).__module__, flush=True)
sys.exit(subprocess.run([sys.executable, sys.argv[1]]).returncode)
"""


@pytest.mark.parametrize(("value", "status"), [("", 1), ("0", 1), ("1", 0)])
def test_processes_that_a_program_starts(tmp_path, value, status):
    """A vendored Detectron2 is replaced in them too, and the environment's own ``sitecustomize`` still runs."""
    (tmp_path / "script.py").write_text(STARTS)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("print('customized', flush=True)")
    (tmp_path / "started").mkdir()
    (tmp_path / "started" / "script.py").write_text(USE)
    (tmp_path / "started" / "detectron2.py").write_text("raise ImportError('vendored')")
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {"LITEPRED_REPLACE": value, "PYTHONPATH": path}
    done = run("--replace", "script.py", "started/script.py", cwd=tmp_path, environment=environment)
    assert done.returncode == status
    lines = ["customized", "litepred.config.node"]
    assert done.stdout.splitlines() == (lines * 2 if value == "1" else [*lines, "customized"])
    assert ("vendored" in done.stderr) == (value != "1")


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ([], 2, "a SCRIPT or -m MODULE is missing"),
        (["-m"], 2, "a SCRIPT or -m MODULE is missing"),
        (["--fast", "script.py"], 2, "unrecognized arguments: --fast"),
        (["nowhere.py"], 1, "the script .*nowhere.py' cannot be read"),
        (["-m", "no.where"], 1, "there is no module 'no.where' that can be run"),
        (["-m", "litepred.config"], 1, "there is no module 'litepred.config' that can be run"),
    ],
)
def test_what_cannot_be_run(tmp_path, words, status, told):
    import re

    done = run(*words, cwd=tmp_path)
    assert done.returncode == status
    assert re.search(told, done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(tmp_path, option):
    done = run(option, cwd=tmp_path)
    assert done.returncode == 0
    assert "litepred run --replace script.py" in done.stdout


WORKERS = """\
import multiprocessing as mp, sys
from detectron2.structures import Boxes  # runs again in each worker
import helper

def area(numbers):
    from detectron2.structures import Instances
    instances = Instances((10, 10), pred_boxes=Boxes([numbers]))
    return __name__, float(instances.pred_boxes.area()[0]), instances, helper.number, sys.argv[1:]

if __name__ == "__main__":
    with mp.get_context(sys.argv[1]).Pool(2) as pool:
        for name, value, instances, number, arguments in pool.map(area, [[0, 0, 2, 3]]):
            print(name, value, instances.image_size, len(instances), number, arguments)
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("as_module", [False, True], ids=["script", "module"])
def test_workers_of_multiprocessing(folder, method, as_module):
    if method == "forkserver" and sys.platform == "win32":
        pytest.skip("Windows has no fork server")
    (folder / "scripts" / "work.py").write_text(WORKERS)
    words = ["-m", "work", method] if as_module else ["work.py", method]
    done = run(*words, cwd=folder / "scripts")
    assert done.stderr == ""
    assert done.stdout == f"__mp_main__ 6.0 (10, 10) 1 3 ['{method}']\n"
