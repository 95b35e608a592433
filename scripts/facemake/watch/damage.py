"""Whether a result can be opened at all, after a power cut, say."""

from __future__ import annotations

from pathlib import Path


def damage(path: Path) -> str | None:
    """What is wrong with a table or HDF5 file, as far as opening it tells; "" where nothing is.

    Returns:
        None of other files, of one that is not there, and of one that the system does not let this
        user or process read now: nothing is said.
    """
    import h5py
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            pq.ParquetFile(path).close()
        elif path.suffix == ".h5":
            h5py.File(path).close()
        else:
            return None
    except FileNotFoundError:
        lost = f"{path} is a link to nothing, since the cache lost its file: run again"
        return lost if path.is_symlink() else None
    except (pa.ArrowException, OSError, ValueError) as error:
        if getattr(error, "errno", None) is not None:  # of the system, not of what is in the file
            return None
        said = str(error).partition("\n")[0]
        return f"{path} is damaged ({said}): delete {path.resolve()} and run again"
    return ""
