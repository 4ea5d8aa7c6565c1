"""Reading a JSON object field by field, with errors that name the path."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping
from typing import Any, Final, NoReturn, overload

from grpc import StatusCode

from seawall.errors import ConfigError

MOST: Final = 2**31 - 1
"""No whole number in a config is above this: counts and sizes that are would be mistakes, and what
reckons with them stays within what a float holds."""

_DURATION: Final = re.compile(r"(\d{1,12})(\.\d{1,9})?s", re.ASCII)
_LONGEST: Final = 60
"""Characters of a name or a value in an error: a document may be hostile, and errors are logged."""

_BRIEF: Final = reprlib.Repr()
"""Says what a value is, however large it is and however deep."""
_BRIEF.maxlevel = 3
_BRIEF.maxstring = _BRIEF.maxother = _BRIEF.maxlong = _LONGEST

_CODES: Final[dict[str | int, StatusCode]] = {
    **{code.name: code for code in StatusCode},
    **{code.value[0]: code for code in StatusCode},
    "CANCELED": StatusCode.CANCELLED,
}


class Fields:
    """A JSON object and the path at which it stands. Missing and null are the same."""

    def __init__(self, values: Mapping[str, Any], path: str) -> None:
        self._values = values
        self._path = path

    @property
    def names(self) -> list[str]:
        return list(self._values)

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def wrong(self, problem: str, name: str = "") -> ConfigError:
        """The error to raise about this object, or about its field ``name``."""
        return ConfigError(self._at(name), problem)

    def only(self, *known: str) -> None:
        """Refuse fields of any other name."""
        for name in self._values:
            if name not in known:
                import difflib  # only for those who mistype

                near = difflib.get_close_matches(str(name), known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                raise self.wrong(f"is not a field that seawall knows; {hint}", str(name))

    def refuse(self, *unsupported: str) -> None:
        """Refuse fields that are gRPC's and that this version does not act on."""
        for name in unsupported:
            if self._values.get(name) is not None:
                raise self.wrong("is not supported by this version of seawall", name)

    def idle(self, *names: str, without: str) -> None:
        """Refuse fields that do nothing, as the field ``without`` is not there."""
        for name in names:
            if name in self and without not in self:
                problem = f"has no effect without {without}; give both, or neither"
                raise self.wrong(problem, name)

    def child(self, name: str) -> Fields | None:
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self._expected(name, "an object", value)
        return Fields(value, self._at(name))

    def children(self, name: str) -> list[Fields]:
        value = self._values.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self._expected(name, "a list", value)
        for index, item in enumerate(value):
            if not isinstance(item, Mapping):
                self._expected(f"{name}[{index}]", "an object", item)
        return [Fields(item, self._at(f"{name}[{index}]")) for index, item in enumerate(value)]

    def text(self, name: str) -> str:
        value = self._values.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            self._expected(name, "a string", value)
        return str(value)

    def texts(self, name: str) -> list[str]:
        values = self._values.get(name)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            self._expected(name, "a list of strings", values)
        return list(values)

    def flag(self, name: str) -> bool | None:
        value = self._values.get(name)
        if value is not None and not isinstance(value, bool):
            self._expected(name, "true or false", value)
        return value

    def number(
        self,
        name: str,
        default: float = 0.0,
        *,
        above: float = -math.inf,
        least: float = -math.inf,
        most: float = math.inf,
        required: bool = False,
    ) -> float:
        value = self._values.get(name)
        if value is None and not required:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._expected(name, "a number", value)
        if not abs(value) < 1e300 or value <= above or value < least or value > most:
            bounds = [
                *([f"above {above:g}"] if above > -math.inf else []),
                *([f"at least {least:g}"] if least > -math.inf else []),
                *([f"at most {most:g}"] if most < math.inf else []),
            ]
            self._expected(name, f"a number {' and '.join(bounds) or 'that is finite'}", value)
        return float(value)

    def integer(self, name: str, default: int | None = None, *, least: int) -> int:
        """A whole number, ``MOST`` at most; required if there is no default."""
        value = self._values.get(name)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self._expected(name, f"a whole number of {least} or more", value)
        if value > MOST:
            self._expected(name, f"a whole number of {MOST} or less", value)
        return int(value)

    def percentage(self, name: str, default: int) -> int:
        """A whole number from 0 to 100."""
        value = self.integer(name, default, least=0)
        if value > 100:
            self._expected(name, "a whole number from 0 to 100", value)
        return value

    @overload
    def duration(
        self, name: str, default: float = ..., *, required: bool = ..., least: float = ...
    ) -> float: ...
    @overload
    def duration(self, name: str, default: None) -> float | None: ...
    def duration(
        self,
        name: str,
        default: float | None = 0.0,
        *,
        required: bool = False,
        least: float = 1e-9,
    ) -> float | None:
        """Seconds of a protobuf duration in JSON (``"0.1s"``), as a rule above zero."""
        value = self._values.get(name)
        if value is None and not required:
            return default
        known = isinstance(value, str) and _DURATION.fullmatch(value)
        if not known or float(value[:-1]) < least:  # type: ignore[index]
            zero = "" if least <= 0 else " above zero"
            self._expected(name, f'a duration{zero} such as "0.1s"', value)
        return float(value[:-1])  # type: ignore[index]

    def codes(self, name: str) -> frozenset[StatusCode]:
        """Status codes, as names in any case or as numbers; not empty, and OK is none of them."""
        values = self._values.get(name)
        if not isinstance(values, list) or not values:
            self._expected(name, "a list of status codes, not empty", values)
        codes = set()
        for index, value in enumerate(values):
            key = value.upper() if isinstance(value, str) else value
            code = None if isinstance(key, bool | list | dict) else _CODES.get(key)
            if code is None or code is StatusCode.OK:
                self._expected(f"{name}[{index}]", "a status code such as UNAVAILABLE", value)
            codes.add(code)
        return frozenset(codes)

    def _at(self, name: str) -> str:
        return ".".join(part for part in (self._path, in_brief(name)) if part)

    def _expected(self, name: str, what: str, value: object) -> NoReturn:
        got = "nothing" if value is None else _shown(value)
        raise self.wrong(f"must be {what}, not {got}", name)


def in_brief(text: str) -> str:
    """``text``, or its beginning if it is long."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _shown(value: object) -> str:
    try:
        return in_brief(_BRIEF.repr(value))
    except ValueError:
        return "a number of thousands of digits"  # Python writes none that are that long
