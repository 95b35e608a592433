"""facemake: face videos and image folders to tables of facial behaviour and a training set.

What is offered to Python is imported when it is first asked for, so that `import facemake` stays
light. Type checkers read `__init__.pyi`; the imports are not written out here, since the
fingerprint of a stage's code (`facemake.provenance`) follows what is.
"""

import os
from types import MappingProxyType

from facemake.lazy import offered
from facemake.version import __version__

# Nothing leaves the machine: since 1.29 onnxruntime sends names and hashes of models and what
# machine this is to its maker, unless it is told not to before it is first imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_OFFERED = MappingProxyType(
    {
        "BackendInfo": "facemake.recognition",
        "Config": "facemake.recognition",
        "FaceAligner": "facemake.nn.face_aligner",
        "FaceEmbedder": "facemake.recognition.face_embedder",
        "FaceProcessor": "facemake.processors",
        "FaceProcessor3DI": "facemake.processors",
        "FaceProcessor3DIlite": "facemake.processors",
        "Pife": "facemake.extraction",
        "RuntimeKind": "facemake.recognition",
        "backend_info_from_env": "facemake.recognition",
        "create_backend": "facemake.recognition",
        "crop_face_from_frame": "facemake.extraction",
        "extract_faces": "facemake.extraction",
        "get_embedder": "facemake.recognition.face_embedder",
    }
)
"""Name -> the module that has it."""

__all__ = ["__version__", *_OFFERED]
__getattr__, __dir__ = offered(__name__, _OFFERED)
