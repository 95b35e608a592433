"""Who is who: faces of pictures found and embedded, without a run of the workflow.

`create_backend` is the way in with a pack of a detector and a recognition network, as lumen-face
has them. What is offered here is imported when it is first asked for, so that `config` is to be had
without it.
"""

from importlib import import_module
from types import MappingProxyType

_OFFERED = MappingProxyType(
    {
        "BackendInfo": "facemake.recognition.config",
        "Config": "facemake.recognition.config",
        "RuntimeKind": "facemake.recognition.config",
        "backend_info_from_env": "facemake.recognition.config",
        "create_backend": "facemake.recognition.backend",
    }
)
"""Name -> the module that has it."""

__all__ = [*_OFFERED]


def __getattr__(name: str) -> object:
    """Import a name that is offered when it is first asked for."""
    if name not in _OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_OFFERED[name]), name)
    globals()[name] = value
    return value
