"""The files that 3DI and 3DI-lite write: whitespace text without a header, a row a frame.

A file is read only if it is what the engine writes: every row of the same, right number of numbers,
the right number of rows, and finite but for rows of frames that the engine did not fit (3DI writes
such a row of its raw pose and expression as NaN throughout).

3DI's files of the fit end with the last frame that it fitted, which it leaves out (`save_poses` in
its `video_fitter.cu`): mostly that is one row fewer than frames, and more where the end of a video
shows no face.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemake.backends.threedi import FACTS, Engine, Options
from facemake.errors import FacemakeError
from facemake.runtime.atomic import replacing

Array = NDArray[np.float64]

N_EXPRESSIONS = 79
"""Coefficients GE0 to GE78 of the global expression basis."""
N_IDENTITY = 199
"""Coefficients of the Basel Face Model's identity and texture."""
N_LANDMARKS = 51
MOST_FRAMES = 32_767
"""Rows that 3DI's programs read of a file (its `funcs.h`); of a video they take 50,000 frames."""

ROWS_AT_ONCE = 512
"""Rows that are held at a time: memory does not grow with a recording's length."""

_LONGEST_LINE = 1 << 20

_MOST_LOST = 0.25
"""Part of the frames with landmarks that 3DI may leave unfitted at the end of a video: landmarks at
the rim of the picture are not fitted."""


class RawFileError(FacemakeError):
    """A file is not what the engine writes: the message names it and says what is wrong."""


@dataclass(frozen=True)
class Kind:
    """What one of the files holds.

    Attributes:
        columns: of each engine; None: any number.
        rows: `frames`, one each; `fitted`, one each up to the last frame that was fitted, which
            may be missing; `vertices`, of the face model; `identity`, coefficients.
    """

    columns: Mapping[Engine, int | None]
    rows: str


def _both(columns: int | None) -> Mapping[Engine, int | None]:
    return {Engine.FULL: columns, Engine.LITE: columns}


_POSE = {Engine.FULL: 9, Engine.LITE: 6}

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "rects": Kind(_both(4), "frames"),
        "landmarks": Kind(_both(2 * N_LANDMARKS), "frames"),
        "shape_coeff": Kind(_both(1), "identity"),
        "texture_coeff": Kind(_both(1), "identity"),
        "shape": Kind(_both(3), "vertices"),
        "texture": Kind(_both(1), "vertices"),
        "expression": Kind(_both(N_EXPRESSIONS), "fitted"),
        "pose": Kind(_POSE, "fitted"),
        "illumination": Kind(_both(None), "fitted"),
        "expression_smooth": Kind(_both(N_EXPRESSIONS), "fitted"),
        "pose_smooth": Kind(_POSE, "fitted"),
        "landmarks_canonicalized": Kind(_both(3 * N_LANDMARKS), "fitted"),
        "expression_localized": Kind(_both(None), "fitted"),
    }
)
"""Kind -> what it is; the file of a video V is `V_KIND` with the engine's suffix."""

UNFITTED = MappingProxyType(
    {
        Engine.FULL: frozenset({"expression", "pose", "illumination"}),
        # 3DI-lite carries NaN from the first frames without a face into all that it makes of them,
        # the identity, which is a mean over frames, among it
        Engine.LITE: frozenset(
            k for k, kind in KINDS.items() if kind.rows in ("fitted", "identity")
        ),
    }
)
"""Kinds in which a row of a frame that was not fitted may be NaN throughout, or an identity."""

_NOT_FILLED_IN = MappingProxyType({("pose_smooth", Engine.FULL): slice(6, 9)})
"""Columns that may be NaN by themselves: 3DI smooths position and rotation vector and fills them in
where a frame was not fitted; the angles stay as they were (its `total_variance_rec_pose.py`)."""

COLUMNS = "_columns.txt"
"""What follows a sample's name where it has no localized expressions: how many there would be, of a
basis that is not the engine's own; its tables have these columns also where there is no face."""

LOCAL_GROUPS: Mapping[Engine, Mapping[str, int]] = MappingProxyType(
    {
        Engine.FULL: {"lb": 4, "rb": 4, "no": 4, "le": 4, "re": 4, "ul": 5, "ll": 7},
        Engine.LITE: {"lb": 5, "rb": 5, "no": 3, "le": 7, "re": 7, "mo": 23},
    }
)
"""Coefficients a region of the default localized basis: brows, nose, eyes, lips, mouth."""


def file_name(base: str, kind: str, engine: Engine) -> str:
    """The name of a video's raw file."""
    return f"{base}_{kind}{FACTS[engine].suffix}"


def vertices(morphable_model: str) -> int | None:
    """How many vertices the model has by its name (BFMmm-19830); None where that does not say."""
    digits = morphable_model.rpartition("-")[2]
    return int(digits) if digits.isascii() and digits.isdecimal() else None


def local_names(engine: Engine, count: int) -> tuple[str, ...]:
    """Names of the localized coefficients: by region and number for the default bases.

    Another basis has other coefficients, of which only the number is known: `local0` and so on.
    """
    groups = LOCAL_GROUPS[engine]
    if count == sum(groups.values()):
        return tuple(f"{region}{i}" for region, n in groups.items() for i in range(n))
    return tuple(f"local{i}" for i in range(count))


def blocks(lines: Iterable[str], name: str, kind: str, engine: Engine) -> Iterator[Array]:
    """The rows of a file, `ROWS_AT_ONCE` at a time: (n, columns) float64, of the right length.

    Args:
        lines: of the file.
        name: of the file, for messages.
        kind: of KINDS.
        engine: that wrote it.

    Raises:
        RawFileError: a row has another length, or text; nothing is said of a file without rows.
    """
    wanted = KINDS[kind].columns[engine]
    one_row_will_do = KINDS[kind].rows == "identity"
    rows: list[list[float]] = []
    number = 0
    for line in lines:
        words = line.split()
        if not words:
            continue
        number += 1
        try:
            if "_" in line:  # Python reads 1_000
                raise ValueError(line)
            row = [float(word) for word in words]
        except ValueError:
            raise RawFileError(
                f"{name}, row {number}: {line.strip()[:60]!r} are not numbers; the file is damaged "
                "or was cut off"
            ) from None
        if one_row_will_do and number == 1 and len(row) > 1:
            yield np.array(row)[:, None]  # written as a row by some versions
            continue
        wanted = wanted or len(row)
        if len(row) != wanted:
            raise RawFileError(
                f"{name}, row {number}: has {len(row)} numbers, wanted {wanted}; the file is "
                "damaged, was cut off, or is of another version"
            )
        rows.append(row)
        if len(rows) == ROWS_AT_ONCE:
            yield np.array(rows)
            rows = []
    if rows:
        yield np.array(rows)


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[str]]:
    def lines(handle: IO[str]) -> Iterator[str]:
        while line := handle.readline(_LONGEST_LINE):
            if len(line) == _LONGEST_LINE and not line.endswith("\n"):
                raise RawFileError(
                    f"{path} has a line longer than any engine writes: it is damaged"
                )
            yield line

    try:
        with path.open(encoding="ascii") as handle:
            yield lines(handle)
    except FileNotFoundError:
        raise RawFileError(f"{path} is missing: nothing was written under this name") from None
    except UnicodeDecodeError:
        raise RawFileError(f"{path} is no text file") from None
    except OSError as error:
        raise RawFileError(f"{path} cannot be read: {error.strerror}") from None


class _Ending:
    """Lines as they pass by; the last ones tell whether a file was cut within its last number.

    What is left of such a number may be one, so that columns and rows are right. Two things give it
    away: the lines before end in a blank, as loops over a C++ stream write them, or all numbers are
    written with the same number of decimals, as NumPy writes them, and the last is not. A last line
    that lacks nothing but its end is whole.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self._last = self._before = ""

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            if not line.isspace():
                self._before, self._last = self._last, line
            yield line

    @property
    def is_cut(self) -> bool:
        """Whether the last number is not whole."""
        if not self._last or self._last[-1].isspace():
            return False
        if self._before.rstrip("\n").endswith((" ", "\t")):
            return True
        words = (self._before + self._last).split()
        forms = [_form(word) for word in words if word[-1] not in "nfNF"]  # neither nan nor inf
        return len(forms) > 1 and len(set(forms[:-1])) == 1 and forms[-1] != forms[0]


def _form(number: str) -> tuple[int, int]:
    """How many decimals and digits of the exponent a number is written with."""
    mantissa, _, exponent = number.lower().partition("e")
    return len(mantissa.partition(".")[2]), len(exponent.lstrip("+-"))


def read(path: Path, kind: str, engine: Engine) -> Array:
    """The numbers of a file, (rows, columns) float64, checked for their columns.

    Raises:
        RawFileError: it is missing, empty, cut, or has a row of another length, or text.
    """
    with _lines(path) as lines:
        found = list(blocks(lines, str(path), kind, engine))
    if not found:
        raise RawFileError(f"{path} is empty")
    return np.concatenate(found)


def check(
    path: Path, kind: str, options: Options, n_frames: int, seen: NDArray[np.bool_] | None = None
) -> int:
    """Look at a file that an engine has just written, for all that can be looked for.

    Args:
        path: the file.
        kind: of KINDS.
        options: that it was made with.
        n_frames: frames of the video.
        seen: (n_frames,) frames in which landmarks were found; None where that is not known yet.

    Returns:
        How many rows it has.

    Raises:
        RawFileError: as `read`; or the wrong number of rows, or values that are not finite where
            they must be.
    """
    n, numbers = 0, 0
    with _lines(path) as lines:
        ending = _Ending(lines)
        for values in blocks(ending, str(path), kind, options.engine):
            numbers += _whole_rows(values, path, n, kind, options.engine)
            n += len(values)
        cut = ending.is_cut
    if not n:
        raise RawFileError(f"{path} is empty")
    _check_rows(path, n, KINDS[kind].rows, options, n_frames, seen)
    if cut:
        raise RawFileError(f"{path} ends within a number: the file was cut off")
    if KINDS[kind].rows == "identity":
        if 0 < numbers < n or (not numbers and seen is not None and seen[0]):
            raise RawFileError(f"{path} has coefficients that are no finite numbers")
    elif not numbers and seen is not None and seen[:n].any():
        raise RawFileError(f"{path} has no number in it, though landmarks were found")
    return n


def _whole_rows(values: Array, path: Path, before: int, kind: str, engine: Engine) -> int:
    """How many of these rows hold numbers; the others are those of frames that were not fitted.

    Raises:
        RawFileError: a row has numbers and what is none, or is none where it must be one.
    """
    finite = np.isfinite(values)
    nan = np.isnan(values)
    if alone := _NOT_FILLED_IN.get((kind, engine)):
        finite[:, alone] |= nan[:, alone].all(axis=1)[:, None]
    whole = finite.all(axis=1)
    there = int(whole.sum())
    if kind in UNFITTED[engine]:
        whole |= nan.all(axis=1)
    if not whole.all():
        row = int(np.flatnonzero(~whole)[0])
        column = int(np.flatnonzero(~finite[row])[0])
        raise RawFileError(
            f"{path}, row {before + row + 1}: {values[row, column]} is no finite number; "
            "what was made of it cannot be used"
        )
    return there


def _check_rows(
    path: Path,
    n: int,
    rows: str,
    options: Options,
    n_frames: int,
    seen: NDArray[np.bool_] | None,
) -> None:
    allowed = {n}
    if rows == "frames":
        allowed = {n_frames}
    elif rows == "fitted":
        allowed = {n_frames, n_frames - 1}
        if options.engine is Engine.FULL and seen is not None and n < n_frames:
            # frame n is the one that is left out; those behind it cannot be fitted, mostly
            # because there is no face in them
            if seen[n + 1 :].sum() <= _MOST_LOST * seen.sum():
                return
            allowed.add(int(np.flatnonzero(seen)[-1]))
    elif rows == "identity":
        allowed = {N_IDENTITY}
    elif rows == "vertices":
        allowed = {vertices(options.morphable_model) or n}
    if n not in allowed:
        raise RawFileError(
            f"{path} has {n} rows, wanted {' or '.join(map(str, sorted(allowed)))}; the "
            f"program stopped before its end or read another video{too_long(n_frames)}"
        )


def too_long(n_frames: int) -> str:
    """What to add to a failure of a recording that is longer than 3DI is made for; '' of others."""
    if n_frames <= MOST_FRAMES:
        return ""
    return (
        f". It has {n_frames} frames, and 3DI's programs read {MOST_FRAMES}: make several samples "
        "of it, by start and end in the sheet"
    )


def count(path: Path) -> int:
    """How many rows a file has, whatever is in them.

    Raises:
        RawFileError: it cannot be read.
    """
    with _lines(path) as lines:
        return sum(not line.isspace() for line in lines)


def write(path: Path, values: ArrayLike, decimals: int = 6) -> None:
    """Write numbers as the engines do: whitespace text, a line a row.

    Args:
        path: the file.
        values: (rows, columns); NaN is written as nan.
        decimals: after the point.
    """
    with replacing(path) as beside, beside.open("w", encoding="ascii") as handle:
        for row in np.asarray(values, np.float64).tolist():
            handle.write(" ".join(f"{value:.{decimals}f}" for value in row) + "\n")


def seen(path: Path, engine: Engine) -> NDArray[np.bool_]:
    """(n_frames,) the frames in which a landmarks file has any.

    Raises:
        RawFileError: as `read`.
    """
    with _lines(path) as lines:
        found = [seen_in(rows) for rows in blocks(lines, str(path), "landmarks", engine)]
    if not found:
        raise RawFileError(f"{path} is empty")
    return np.concatenate(found)


def seen_in(landmarks: Array) -> NDArray[np.bool_]:
    """(n,) the frames in which landmarks were found; the others have a row of zeros."""
    return np.asarray((landmarks != 0).any(axis=1))
