"""Run a model over a folder and write a table, in the memory of a few images; a broken file does not stop it.

    python examples/folder.py FOLDER results.csv

`litepred predict FOLDER --csv results.csv` does the same; here is where to put code of your own.
"""

import argparse
import sys
from pathlib import Path

from litepred import ImageError, Predictor, example_page
from litepred.results import csv_rows, csv_table

sys.stdout.reconfigure(errors="backslashreplace")  # names may have letters that the console or pipe has not
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder", nargs="?", type=Path, default=example_page().parent)
parser.add_argument("table", nargs="?", type=Path, default=Path("litepred-output", "results.csv"))
arguments = parser.parse_args()
folder, table = arguments.folder, arguments.table
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
