"""facemake: face videos and image folders to tables of facial behaviour and a training set."""

from facemake.version import __version__

__all__ = ["__version__"]
