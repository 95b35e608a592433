"""Faces of whole datasets as picture files: found, aligned by a named template, listed in a table.

`extract_faces` is the way in; `Pife` is the same under the name of pife. What is offered here is
imported when it is first asked for, so that `settings` is to be had without it.
"""

from types import MappingProxyType

from facemake.lazy import offered

_OFFERED = MappingProxyType(
    {
        "Extraction": "facemake.extraction.result",
        "Pife": "facemake.extraction.run",
        "TEMPLATES": "facemake.extraction.settings",
        "crop_face_from_frame": "facemake.crops",
        "extract_faces": "facemake.extraction.run",
    }
)
"""Name -> the module that has it."""

__all__ = [*_OFFERED]
__getattr__, __dir__ = offered(__name__, _OFFERED)
