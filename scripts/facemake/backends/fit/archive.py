"""The bytes of a face model file: plain arrays, nothing pickled, the same bytes twice."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake.errors import ModelError

Content = dict[str, NDArray[Any]]
"""What a face model file holds, by the keys that `facemake.backends.fit.modelfile` names."""

_BROKEN = (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


def read(data: bytes, name: str) -> Content:
    """The arrays of an .npz file; one that would have to be unpickled is refused.

    Args:
        data: the file's bytes.
        name: of the file, for the message.

    Raises:
        ModelError: it is not an .npz file, it is cut off or damaged, or it holds Python objects.
    """
    try:
        archive = np.load(io.BytesIO(data), allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ModelError(f"{name} is not a face model file (.npz): it holds a single array")
        with archive:
            return {key: archive[key] for key in archive.files}
    except _BROKEN as error:
        raise ModelError(f"{name} is not a face model file (.npz): {error}") from error


def write(content: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write the arrays as an .npz file, the same bytes for the same arrays.

    Not numpy.savez: that stamps the time of writing into the archive, and the same model must give
    the same SHA-256.

    Raises:
        OSError: it cannot be written.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key in sorted(content):
            stream = io.BytesIO()
            np.save(stream, content[key], allow_pickle=False)
            entry = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, stream.getvalue())
