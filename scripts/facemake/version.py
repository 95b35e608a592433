"""The version of facemake, written into every file that it makes."""

__version__ = "0.1.0"
