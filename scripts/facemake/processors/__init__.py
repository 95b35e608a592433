"""Faces from Python, one recording at a time: the objects that bitbox's users know.

`FaceProcessor` is facemake's own engine; `FaceProcessor3DI` and `FaceProcessor3DIlite` run the
programs of an install. All three have the same methods and give the same kinds of tables, and all
of them keep what they made in the output folder.
"""

from facemake.processors.native import FaceProcessor
from facemake.processors.threedi import FaceProcessor3DI, FaceProcessor3DIlite

__all__ = ["FaceProcessor", "FaceProcessor3DI", "FaceProcessor3DIlite"]
