"""The training set from Python: made of recordings, written example by example, read for training.

What is offered here is imported when it is first asked for. The folder also holds the library's own
data: the built-in face model, its surface, the noise of its expressions.
"""

from types import MappingProxyType

from facemake.lazy import offered

_OFFERED = MappingProxyType(
    {
        "AU_NAMES": "facemake.nn.action_units",
        "NUM_AUS": "facemake.nn.action_units",
        "QualityFilter": "facemake.data.quality_filter",
        "TrainingDataGenerator": "facemake.data.generator",
        "TrainingDataWriter": "facemake.data.writer",
        "TrainingDataset": "facemake.nn.loader",
    }
)
"""Name -> the module that has it."""

__all__ = [*_OFFERED]
__getattr__, __dir__ = offered(__name__, _OFFERED)
