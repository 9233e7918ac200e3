import warnings

import numpy as np
import pytest

from litepred.visualizer import paint
from litepred.visualizer.labels import Labels, spots_around, spots_inside

PLAIN = np.full((200, 300, 3), 255, np.uint8)


def put(placer, box, width=40, height=12):
    box = np.array(box, np.float64)
    return placer.place(width, height, *spots_around(box, width, height), box)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((100, 100, 180, 150), (100, 88)),  # above
        ((100, 0, 180, 50), (100, 0)),  # no room above: inside
        ((100, 5, 110, 15), (110, 5)),  # and where that would hide what is labelled, beside
        ((280, 100, 300, 150), (260, 88)),  # to the left of the picture's edge
        ((-50, -50, 350, 250), (0, 0)),
    ],
)
def test_the_best_free_spot(box, expected):
    assert put(Labels(PLAIN), box) == expected


def test_labels_do_not_cover_each_other_where_there_is_room():
    placer, taken = Labels(PLAIN), np.zeros((200, 300), int)
    for _ in range(12):  # twelve times the same box
        x, y = put(placer, (120, 90, 200, 140))
        taken[y : y + 12, x : x + 40] += 1
    assert taken.sum() == 12 * 40 * 12
    assert taken.max() == 1


def test_with_no_room_they_stay_inside_the_picture():
    placer = Labels(PLAIN[:14, :42])
    assert {put(placer, (0, 0, 42, 14)) for _ in range(5)} <= {(x, y) for x in range(3) for y in range(3)}


def test_content_is_not_covered():
    page = PLAIN.copy()
    page[80:100:2, 90:300] = 0  # print above the box
    x, y = put(Labels(page), (100, 100, 180, 150))
    assert (page[y : y + 12, x : x + 40] == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_tiny_pictures(size):
    x, y = put(Labels(np.zeros((*size, 3), np.uint8)), (0, 0, 1, 1))
    assert max(x, y) <= 1


@pytest.mark.parametrize("shape", [(1, 1), (40, 60), (700, 500)])
def test_spots_inside_a_mask(shape):
    spots, costs, depth = spots_inside((7, 9, np.ones(shape, np.uint8)), 10, 4)
    best = spots[costs.argmin()] + (5, 2)
    assert depth == pytest.approx(max(min(shape) / 2, 1), rel=0.1)
    assert np.abs(best - (7 + shape[1] / 2, 9 + shape[0] / 2)).max() <= max(max(shape) / 4, 1)


@pytest.mark.parametrize("text", ["plain", "Überschrift", "płytka", "Объект", "κείμενο", "表"])
def test_letters_are_drawn_or_told_to_be_lacking(text):
    paint.text_pixels.cache_clear()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        absent = paint.text_pixels("\U0010ffff", 40)
    assert "no font that was found has" in str(told[0].message)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        drawn = [not np.array_equal(paint.text_pixels(letter, 40), absent) for letter in text]
    assert all(drawn) or told
    assert not told or not text.isascii()


@pytest.mark.parametrize(("texts", "told"), [(["plain é"], 0), (["כותרת 93%", "כותרת 94%"], 1), (["عنوان 3"], 1)])
def test_letters_from_the_right_need_fribidi(texts, told, monkeypatch):
    """A warning tells it once, not for each score."""
    monkeypatch.setattr(paint.features, "check", lambda name: False)
    monkeypatch.setattr(paint, "_face_for", lambda text, path, size: paint._font(path, size))
    paint.text_pixels.cache_clear()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        for text in texts:
            paint.text_pixels(text, 40)
    assert ["drawn from the left: install the system's library FriBiDi" in str(one.message) for one in warned] == (
        [True] * told
    )
    paint.text_pixels.cache_clear()


@pytest.mark.parametrize(
    ("text", "lacking"),
    [("", ""), ("é ü ñ Ő ţ ệ", ""), ("Żółć", ""), ("Γειά σου", ""), ("Съешь ещё", ""), ("e\u0301", ""), ("é 表", "表")],
)
def test_latin_greek_and_cyrillic_need_no_font_of_the_system(text, lacking, monkeypatch):
    monkeypatch.setattr(paint, "_SYSTEM_FONTS", ())
    paint.text_pixels.cache_clear()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert paint.text_pixels(text, 40).shape[1] > 16
    assert [lacking in str(one.message) for one in told] == [True] * bool(lacking)
    paint.text_pixels.cache_clear()
