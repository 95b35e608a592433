"""How far trained networks agree with the training set's labels, and with labels of the user's.

What is offered here is imported when it is first asked for; `evaluate` needs PyTorch.
"""

from types import MappingProxyType

from facemake.lazy import offered

_OFFERED = MappingProxyType(
    {
        "concordance": "facemake.evaluation.agreement",
        "evaluate": "facemake.evaluation.run",
        "icc_3_1": "facemake.evaluation.agreement",
        "pearson": "facemake.evaluation.agreement",
        "read_labels": "facemake.evaluation.labels",
    }
)
"""Name -> the module that has it."""

__all__ = [*_OFFERED]
__getattr__, __dir__ = offered(__name__, _OFFERED)
