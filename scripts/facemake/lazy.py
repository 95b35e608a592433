"""Names that a package offers of its modules, which are imported when one is first asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType


def offered(
    package: str, modules: Mapping[str, str], words: Mapping[str, str] = MappingProxyType({})
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """What a package has as `__getattr__` and `__dir__`.

    Args:
        package: its name.
        modules: name -> the module that has it.
        words: package that may be missing -> the module of ours that then says what installs it.
    """

    def of_name(name: str) -> object:
        """Import a name that is offered when it is first asked for."""
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            value: object = getattr(import_module(modules[name]), name)
        except ModuleNotFoundError as error:
            if error.name is not None and error.name in words:
                import_module(words[error.name])
            raise
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return of_name, names
