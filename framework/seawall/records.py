"""Frozen records: what frozen dataclasses with slots are, for those of which there are many.

A dataclass compiles its methods when it is defined, in 0.3 to 0.6 ms; two dozen of them were a
tenth of what ``import seawall`` takes. These share theirs.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any, ClassVar, Final, Self, dataclass_transform

_put: Final = object.__setattr__


@dataclass_transform(frozen_default=True)
class _RecordType(type):
    """Makes slots of a class's annotations. Its module needs ``from __future__ import
    annotations``: they are read as text."""

    def __new__(meta, name: str, bases: tuple[type, ...], space: dict[str, Any]) -> _RecordType:
        own = [
            field
            for field, kind in space.get("__annotations__", {}).items()
            if not str(kind).startswith("ClassVar")
        ]
        above = bases[0] if bases else None
        defaults = {**getattr(above, "_defaults", {})}
        defaults.update({field: space.pop(field) for field in own if field in space})
        space["__slots__"] = tuple(own)
        space["_defaults"] = defaults
        space["__match_args__"] = (*getattr(above, "__match_args__", ()), *own)
        return super().__new__(meta, name, bases, space)


class Record(metaclass=_RecordType):
    """Base of frozen records: fields by annotation, with defaults, by position or by name."""

    _defaults: ClassVar[dict[str, Any]]
    __match_args__: ClassVar[tuple[str, ...]]

    def __init__(self, *values: Any, **named: Any) -> None:
        fields = self.__match_args__
        if len(values) == len(fields) and not named:
            for field, value in zip(fields, values, strict=True):
                _put(self, field, value)
            return
        if len(values) > len(fields):
            raise TypeError(f"{type(self).__name__} has {len(fields)} fields, not {len(values)}")
        given = dict(zip(fields, values, strict=False))
        if twice := given.keys() & named.keys():
            raise TypeError(f"{type(self).__name__}: {', '.join(sorted(twice))} was given twice")
        given = {**self._defaults, **given, **named}
        for field in fields:
            if field not in given:
                raise TypeError(f"{type(self).__name__} needs {field}")
            _put(self, field, given.pop(field))
        if given:
            raise TypeError(f"{type(self).__name__} has no {', '.join(given)}")

    def changed(self, **changes: Any) -> Self:
        """The same, but for these fields."""
        return type(self)(**{**dict(self.items()), **changes})

    def items(self) -> list[tuple[str, Any]]:
        """Its fields, by name."""
        return [(field, getattr(self, field)) for field in self.__match_args__]

    def __setattr__(self, name: str, value: Any) -> None:
        raise FrozenInstanceError(f"{type(self).__name__} is frozen: {name} can't be set")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"{type(self).__name__} is frozen: {name} can't be deleted")

    def __repr__(self) -> str:
        facts = ", ".join(f"{field}={value!r}" for field, value in self.items())
        return f"{type(self).__name__}({facts})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.items() == other.items()

    def __hash__(self) -> int:
        return hash((type(self), *self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(value for _, value in self.items())
