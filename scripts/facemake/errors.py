"""Errors that are the user's to cure: shown as their message, never as a traceback."""


class FacemakeError(Exception):
    """Something that the user can mend: the message names the file and the cure."""


class ConfigError(FacemakeError):
    """The config or the sample sheet is refused; the message lists every line that is wrong."""


class ModelError(FacemakeError):
    """A model file is missing, has another SHA-256 than registered, or is not what it should be."""


class DeviceError(ModelError):
    """The device that is asked for is not to be had, or a package for it is missing."""


class TableError(FacemakeError):
    """A table or HDF5 file is not what its stage writes (damaged, or of another version)."""


class PassingError(FacemakeError):
    """What stopped it may not be there at the next try, or may not matter with more memory."""


class BusyError(PassingError):
    """Another process is at work on it: the same job may succeed a little later."""


class InstallError(FacemakeError):
    """3DI is not where it should be, or not whole; the message says where it was looked for."""


class ForeignFileError(TableError):
    """A file that can be read and was not written by facemake."""
