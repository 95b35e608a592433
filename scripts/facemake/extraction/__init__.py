"""Faces of whole datasets as picture files: found, aligned by a named template, listed in a table.

`extract_faces` is the way in; `Pife` is the same under the name of pife. `templates` and `cutting`
have what the workflow's stage `extract` uses, too.
"""

from facemake.extraction.run import Extraction, Pife, extract_faces
from facemake.extraction.templates import TEMPLATES, crop_face_from_frame

__all__ = ["TEMPLATES", "Extraction", "Pife", "crop_face_from_frame", "extract_faces"]
