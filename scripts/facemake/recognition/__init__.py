"""Who is who: faces of pictures found and embedded, without a run of the workflow.

`create_backend` is the way in with a pack of a detector and a recognition network, as lumen-face
has them. What is offered here is imported when it is first asked for, so that `config` is to be had
without it.
"""

from types import MappingProxyType

from facemake.lazy import offered

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
__getattr__, __dir__ = offered(__name__, _OFFERED)
