from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError
from typing import ClassVar

import pytest

from seawall.records import Record


class Base(Record):
    level: ClassVar[str] = "info"
    name: str


class Point(Base):
    level: ClassVar[str] = "warning"
    x: int
    y: int = 7


def test_fields_by_position_by_name_and_by_default():
    assert (Point("a", 1).name, Point("a", 1).x, Point("a", 1).y) == ("a", 1, 7)
    assert Point("a", y=2, x=1) == Point("a", 1, 2)
    assert (Base.level, Point.level) == ("info", "warning")
    assert Point.__match_args__ == ("name", "x", "y")


@pytest.mark.parametrize(
    ("values", "named", "message"),
    [
        (("a",), {}, "Point needs x"),
        (("a", 1, 2, 3), {}, "Point has 3 fields, not 4"),
        (("a", 1), {"x": 1}, "x was given twice"),
        (("a", 1), {"z": 1}, "Point has no z"),
    ],
)
def test_what_does_not_fit(values, named, message):
    with pytest.raises(TypeError, match=message):
        Point(*values, **named)


def test_a_record_is_frozen_and_has_no_room_for_more():
    point = Point("a", 1)
    with pytest.raises(FrozenInstanceError, match="x can't be set"):
        point.x = 2
    with pytest.raises(FrozenInstanceError):
        point.z = 2
    with pytest.raises(FrozenInstanceError):
        del point.x
    assert not hasattr(point, "__dict__")


def test_records_are_values():
    assert len({Point("a", 1), Point("a", 1, 7), Point("a", 2)}) == 2
    assert Point("a", 1) != Base("a")
    assert repr(Point("a", 1)) == "Point(name='a', x=1, y=7)"
    assert Point("a", 1).changed(y=3) == Point("a", 1, 3)


def test_records_can_be_copied_pickled_and_matched():
    point = Point("a", 1)
    assert copy.copy(point) == copy.deepcopy(point) == pickle.loads(pickle.dumps(point)) == point
    match point:
        case Point(name, x, y):
            assert (name, x, y) == ("a", 1, 7)
