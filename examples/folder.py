"""Run a model over a folder and write a table, in the memory of a few images; a broken file does not stop it.

    python examples/folder.py FOLDER results.csv

`litepred predict FOLDER --csv results.csv` does the same; here is where to put code of your own.
"""

import sys
from collections import deque
from pathlib import Path

from litepred import ImageError, Predictor, read_image
from litepred.default_model import example_page
from litepred.results import csv_rows, csv_table

sys.stdout.reconfigure(errors="backslashreplace")  # names may have letters that the console or pipe has not
folder = Path(sys.argv[1]) if len(sys.argv) > 1 else example_page().parent
table = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("litepred-output", "results.csv")
table.parent.mkdir(exist_ok=True)
predictor = Predictor()
names = deque()


def images():
    """Read one image after another, as `batch` asks for them."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif"):
            try:
                image = read_image(path)
            except ImageError as error:
                print("left out:", error)
            else:
                names.append(path.name)
                yield image


with csv_table(table) as add_rows:  # the file is there at the end of the block, whole
    for outputs in predictor.batch(images()):
        name, instances = names.popleft(), outputs["instances"]
        confident = instances[instances.scores > 0.5]
        add_rows(csv_rows(confident, name, predictor.metadata))
        print(f"{name}: {len(confident)} instances")
print("written:", table)
