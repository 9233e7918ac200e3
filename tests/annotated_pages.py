"""Draw the pages in ``assets/annotated``, and write their annotations in COCO's two formats.

Made once by ``python tests/annotated_pages.py``; the text is noise of syllables, so the pages are nobody's.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from litepred.results import id_to_rgb

FOLDER = Path(__file__).parent / "assets" / "annotated"
WIDTH, HEIGHT, MARGIN = 420, 540, 36
THINGS = ("text", "title", "list", "table", "figure")
SYLLABLE_TEXT = "la te mi no ru se do va pel tor qui en ass um il ber con ti a o"
SYLLABLES = SYLLABLE_TEXT.split()


class Page:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.image = Image.new("L", (WIDTH, HEIGHT), 255)
        self.pen = ImageDraw.Draw(self.image)
        self.y = MARGIN
        self.regions: list[tuple[int, tuple[int, int, int, int]]] = []

    def words(self, width: int, font: ImageFont.FreeTypeFont) -> str:
        line = ""
        while True:
            word = "".join(self.random.choices(SYLLABLES, k=self.random.randint(1, 3)))
            if font.getlength(f"{line} {word}") > width:
                return line.strip()
            line = f"{line} {word}"

    def lines(self, kind: str, count: int, size: int, indent: int = 0, mark: str = "") -> None:
        font = ImageFont.load_default(size)
        top, right = self.y, 0
        for i in range(count):
            width = WIDTH - 2 * MARGIN - indent
            text = self.words(width if i < count - 1 or count == 1 else width // 2, font)
            self.pen.text((MARGIN + indent, self.y), mark + text, fill=20, font=font)
            right = max(right, MARGIN + indent + int(font.getlength(mark + text)))
            self.y += int(size * 1.35)
        self.close(kind, (MARGIN + indent, top, min(right, WIDTH - 8), self.y - 1))

    def table(self, rows: int, columns: int) -> None:
        font, height = ImageFont.load_default(9), 15
        left, right, top = MARGIN, WIDTH - MARGIN, self.y
        step = (right - left) // columns
        for row in range(rows + 1):
            self.pen.line((left, top + row * height, right, top + row * height), fill=0)
        for row in range(rows):
            for column in range(columns):
                text = f"{self.random.random() * 100:.2f}" if row and column else self.words(step - 6, font).split()[0]
                self.pen.text((left + column * step + 4, top + row * height + 2), text, fill=20, font=font)
        self.y = top + rows * height
        self.close("table", (left, top, right + 1, self.y + 1))

    def figure(self, height: int) -> None:
        left, right, top = MARGIN + 40, WIDTH - MARGIN - 40, self.y
        self.pen.rectangle((left, top, right, top + height), outline=0, fill=235)
        for i in range(9):
            x = left + 14 + i * 30
            self.pen.rectangle((x, top + height - self.random.randint(10, height - 8), x + 18, top + height), fill=90)
        self.y = top + height
        self.close("figure", (left, top, right + 1, self.y + 1))

    def close(self, kind: str, box: tuple[int, int, int, int]) -> None:
        self.regions.append((THINGS.index(kind) + 1, box))
        self.y += 16


def pages() -> list[Page]:
    one, two, three, four = (Page(seed) for seed in range(4))
    one.lines("title", 1, 20)
    for count in (7, 6, 8):
        one.lines("text", count, 11)
    two.figure(140)
    two.lines("text", 2, 9)
    two.lines("title", 1, 14)
    two.lines("text", 9, 11)
    three.lines("text", 5, 11)
    three.table(9, 5)
    three.lines("title", 1, 14)
    three.lines("text", 6, 11)
    four.lines("title", 1, 16)
    four.table(5, 4)
    four.figure(120)
    four.lines("text", 7, 11)
    return [one, two, three, four]


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    things = [{"id": i, "name": name} for i, name in enumerate(THINGS, 1)]
    instances: dict = {"images": [], "annotations": [], "categories": things}
    categories = [{**one, "isthing": 1} for one in things] + [{"id": 7, "name": "page", "isthing": 0}]
    panoptic: dict = {"images": instances["images"], "annotations": [], "categories": categories}
    (FOLDER / "panoptic").mkdir(exist_ok=True)
    for number, page in enumerate(pages(), 1):
        name = f"page{number}.png"
        page.image.quantize(16).save(FOLDER / name, optimize=True)
        instances["images"].append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        ids = np.full((HEIGHT, WIDTH), 100, np.int32)
        segments = []
        for i, (category, (x0, y0, x1, y1)) in enumerate(page.regions, 1):
            ids[y0:y1, x0:x1] = i
            area = (x1 - x0) * (y1 - y0)
            box = {"category_id": category, "iscrowd": 0, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": area}
            segments.append({"id": i, **box})
            outline = [x0, y0, x1, y0, x1, y1, x0, y1]
            instances["annotations"].append(
                {"id": len(instances["annotations"]) + 1, "image_id": number, **box, "segmentation": [outline]}
            )
        area = int((ids == 100).sum())
        segments.append({"id": 100, "category_id": 7, "iscrowd": 0, "bbox": [0, 0, WIDTH, HEIGHT], "area": area})
        Image.fromarray(id_to_rgb(ids)).save(FOLDER / "panoptic" / name, optimize=True)
        panoptic["annotations"].append({"image_id": number, "file_name": name, "segments_info": segments})
    (FOLDER / "instances.json").write_text(json.dumps(instances) + "\n")
    (FOLDER / "panoptic.json").write_text(json.dumps(panoptic) + "\n")


if __name__ == "__main__":
    main()
