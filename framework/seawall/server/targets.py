"""Services by name, ``module:Class``: what a command line and another process can be told."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from seawall.errors import ConfigError
from seawall.server.service import Service


def load(target: str) -> type[Service]:
    """The class that ``target`` names. Raises ``ConfigError`` if there is no such service.

    Modules are found in the current directory and on the Python path.
    """
    module_name, _, class_name = target.partition(":")
    if not module_name or not class_name:
        example = "for example services.inventory:Inventory"
        raise ConfigError("", f"{target!r} is not module:Class, {example}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise  # the module is there and misses another one: its own traceback says which
        problem = f"there is no module {module_name!r} here or on the Python path"
        raise ConfigError("", problem) from None
    found = getattr(module, class_name, None)
    if found is None:
        raise ConfigError("", f"module {module_name!r} has no {class_name!r}; {_services(module)}")
    if not (isinstance(found, type) and issubclass(found, Service)):
        raise ConfigError("", f"{target} is not a subclass of seawall.Service")
    return found


def name_of(cls: type[Service]) -> str:
    """``module:Class`` of a class, by which another process can load it.

    A class of the program itself (``__main__``) is loaded from its file as a module. Raises
    ``ConfigError`` for one that cannot be found by a name.
    """
    module = _importable(sys.modules[cls.__module__], cls)
    if getattr(sys.modules[cls.__module__], cls.__qualname__, None) is not cls:
        raise ConfigError(
            "workers",
            f"{cls.__qualname__} is not a name at the top of {module}, so other processes can't "
            "load it: define the class there",
        )
    return f"{module}:{cls.__qualname__}"


def _importable(module: ModuleType, cls: type[Service]) -> str:
    if module.__name__ != "__main__":
        return module.__name__
    if module.__spec__ is not None:  # python -m: the name that was given
        return module.__spec__.name
    file = getattr(module, "__file__", None)
    name = Path(file).stem if file else ""
    found = importlib.util.find_spec(name) if name.isidentifier() else None
    if found is None or not found.origin or not Path(found.origin).samefile(str(file)):
        raise ConfigError(
            "workers",
            f"{cls.__name__} is defined in {file or 'a program without a file'}, which other "
            "processes can't import: put it into a module, and run that",
        )
    return name


def _services(module: ModuleType) -> str:
    values = vars(module).items()
    names = [name for name, v in values if isinstance(v, type) and issubclass(v, Service)]
    return "its services: " + (", ".join(n for n in names if n != "Service") or "none")
