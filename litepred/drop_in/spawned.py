"""What a process started by a program under ``litepred run`` runs first.

``multiprocessing`` starts new processes by running the module of ``__main__`` again, under the name ``__mp_main__``.
`run_program` gives it this one, which puts the drop-in in place before it runs the program itself.
"""

from .finder import as_detectron2
from .main import load_program, noted_program

if __name__ == "__mp_main__":
    as_detectron2(noted_program()["replace"])
    _code, _facts = load_program(noted_program())
    globals().update(_facts)
    exec(_code, globals())
