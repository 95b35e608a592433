"""MediaPipe's package, without what its own `__init__` imports: import this before any part of it.

`import mediapipe` brings its drawing utilities, and these bring matplotlib: a third of a second of
CPU in every job that detects or landmarks, which uses graphs alone. So the package is put into
`sys.modules` before it is executed; whoever asks it for something of its own, such as
`mediapipe.solutions`, has it executed then, and gets it.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

_NAME = "mediapipe"


class _Unexecuted(ModuleType):
    """The package as it is found; executed by the first name that it lacks."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__version__":
            raise AttributeError(f"module {_NAME!r} has no attribute {name!r}")
        self.__class__ = ModuleType  # type: ignore[assignment]  # from here on as any other
        assert self.__spec__ is not None and self.__spec__.loader is not None
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def _found() -> ModuleSpec | None:
    return None if _NAME in sys.modules else find_spec(_NAME)


if (_spec := _found()) is not None:
    _package = module_from_spec(_spec)
    _package.__class__ = _Unexecuted
    sys.modules[_NAME] = _package
