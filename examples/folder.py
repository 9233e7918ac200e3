"""Run a model over a folder and write a table, in the memory of a few images; a broken file does not stop it.

    python examples/folder.py FOLDER results.csv

`litepred predict FOLDER --csv results.csv` does the same; here is where to put code of your own.
"""

import sys
from pathlib import Path

from litepred import ImageError, Predictor
from litepred.default_model import example_page
from litepred.results import csv_rows, csv_table

sys.stdout.reconfigure(errors="backslashreplace")  # names may have letters that the console or pipe has not
folder = Path(sys.argv[1]) if len(sys.argv) > 1 else example_page().parent
table = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("litepred-output", "results.csv")
table.parent.mkdir(exist_ok=True)
predictor = Predictor()
paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif")]

with csv_table(table) as add_rows:  # the file is there at the end of the block, whole
    for path, outputs in zip(paths, predictor.batch(paths, return_errors=True)):
        if isinstance(outputs, ImageError):
            print("left out:", outputs)
            continue
        instances = outputs["instances"]
        confident = instances[instances.scores > 0.5]
        add_rows(csv_rows(confident, path.name, predictor.metadata))
        print(f"{path.name}: {len(confident)} instances")
print("written:", table)
