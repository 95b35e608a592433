"""Faces of whole datasets as picture files: found, aligned by a named template, listed in a table.

`extract_faces` is the way in; `Pife` is the same under the name of pife. What is offered here is
imported when it is first asked for, so that `settings` is to be had without it.
"""

from importlib import import_module
from types import MappingProxyType

_OFFERED = MappingProxyType(
    {
        "Extraction": "facemake.extraction.run",
        "Pife": "facemake.extraction.run",
        "TEMPLATES": "facemake.extraction.settings",
        "crop_face_from_frame": "facemake.crops",
        "extract_faces": "facemake.extraction.run",
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
