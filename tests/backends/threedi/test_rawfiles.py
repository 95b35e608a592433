"""Raw files: what the engines write is read, what is not whole is refused by name and reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import makemedia
from facemake import rawkinds
from facemake.backends.threedi import Engine, Options, rawfiles
from facemake.backends.threedi.rawfiles import KINDS, UNFITTED, RawFileError
from facemake.stages import export_3di

FULL, LITE = Engine.FULL, Engine.LITE
T = 7
COLUMNS = {
    "rects": 4,
    "landmarks": 102,
    "shape_coeff": 1,
    "texture_coeff": 1,
    "shape": 3,
    "texture": 1,
    "expression": 79,
    "pose": {FULL: 9, LITE: 6},
    "illumination": 4,
    "expression_smooth": 79,
    "pose_smooth": {FULL: 9, LITE: 6},
    "landmarks_canonicalized": 153,
    "expression_localized": {FULL: 32, LITE: 50},
}
ALL = [
    (kind, engine)
    for kind in COLUMNS
    for engine in Engine
    if engine is FULL or kind not in ("shape", "texture", "expression", "pose")
]
FRAMES = [(kind, engine) for kind, engine in ALL if kind in ("rects", "landmarks")]
FITTED = [(kind, engine) for kind, engine in ALL if KINDS[kind].rows == "fitted"]
MODEL = "MM-12"
"""A face model of 12 vertices."""


def test_their_names_are_those_that_the_service_and_the_exports_know() -> None:
    assert set(rawkinds.ALL) == KINDS.keys() and len(rawkinds.ALL) == len(KINDS)
    assert set(rawkinds.EXPORTED) == export_3di.kinds(smoothed=True, model=export_3di.BFM).keys()


def options(engine: Engine) -> Options:
    return Options(engine=engine, morphable_model=MODEL)


def columns(kind: str, engine: Engine) -> int:
    found = COLUMNS[kind]
    return found if isinstance(found, int) else found[engine]


def values(kind: str, engine: Engine, rows: int | None = None) -> np.ndarray:
    """Numbers that a whole file of this kind may hold."""
    whole = {"frames": T, "fitted": T - 1, "vertices": 12, "identity": 199}[KINDS[kind].rows]
    n = whole if rows is None else rows
    return np.random.default_rng(3).uniform(1, 900, (n, columns(kind, engine)))


def python_text(numbers: np.ndarray, fmt: str = "%.18e") -> str:
    """As np.savetxt writes them, by default or with a format."""
    return "".join(" ".join(fmt % v for v in row) + "\n" for row in numbers)


def cpp_text(numbers: np.ndarray) -> str:
    """As a loop over an ofstream does: seven digits, a blank behind each number."""
    return "".join("".join(f"{v:.7g} " for v in row) + "\n" for row in numbers)


WRITERS = {"python": python_text, "four": lambda v: python_text(v, "%.4f"), "cpp": cpp_text}


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., int]:
    """Checks a text, or bytes, as a file of a kind."""

    def check(text: str | bytes, kind: str, engine: Engine, seen: np.ndarray | None = None) -> int:
        path = tmp_path / f"v_{kind}.3DI"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return rawfiles.check(path, kind, options(engine), T, seen)

    return check


def refused(look: Callable[..., int], text: str | bytes, kind: str, engine: Engine, words: str):
    """Refused with words and the file's name."""
    with pytest.raises(RawFileError, match=words) as error:
        look(text, kind, engine)
    assert f"v_{kind}.3DI" in str(error.value)


# --- whole files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(("kind", "engine"), ALL)
def test_whole_files_of_any_writer(
    look: Callable[..., int], tmp_path: Path, kind: str, engine: Engine, writer: str
) -> None:
    numbers = values(kind, engine)
    assert look(WRITERS[writer](numbers), kind, engine) == len(numbers)
    found = rawfiles.read(tmp_path / f"v_{kind}.3DI", kind, engine)
    assert found.dtype == np.float64 and found.shape == numbers.shape
    tolerance = {"python": 0, "four": 6e-5, "cpp": 6e-5}[writer]
    assert np.abs(found - numbers).max() <= tolerance


@pytest.mark.parametrize(
    "made",
    [
        lambda text: text.replace(" ", "   "),
        lambda text: text.replace(" ", "\t"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\n\n \t\n"),
        lambda text: "\n" + text,
        lambda text: text.replace("\n", "  \n"),
        lambda text: text.rstrip("\n"),
    ],
    ids=["blanks", "tabs", "CRLF", "blank lines", "blank first", "trailing", "no last newline"],
)
def test_white_space_is_no_matter(
    look: Callable[..., int], made: Callable[[str], str], tmp_path: Path
) -> None:
    numbers = values("rects", FULL)
    assert look(made(python_text(numbers)), "rects", FULL) == T
    assert np.array_equal(rawfiles.read(tmp_path / "v_rects.3DI", "rects", FULL), numbers)


def test_rows_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rawfiles, "ROWS_AT_ONCE", 3)
    numbers = values("rects", FULL)
    lines = python_text(numbers).splitlines()
    sizes = [len(block) for block in rawfiles.blocks(lines, "x", "rects", FULL)]
    assert sizes == [3, 3, 1]
    (tmp_path / "x").write_text(python_text(numbers))
    assert np.array_equal(rawfiles.read(tmp_path / "x", "rects", FULL), numbers)
    # the message counts rows from the file's first, not the block's
    lines[5] = "1 2 3"
    with pytest.raises(RawFileError, match="x, row 6: has 3 numbers, wanted 4"):
        list(rawfiles.blocks(lines, "x", "rects", FULL))


@pytest.mark.parametrize("kind", ["shape_coeff", "texture_coeff"])
def test_coefficients_may_be_one_row(look: Callable[..., int], tmp_path: Path, kind: str) -> None:
    numbers = values(kind, FULL)
    assert look(python_text(numbers.T), kind, FULL) == 199
    assert np.array_equal(rawfiles.read(tmp_path / f"v_{kind}.3DI", kind, FULL), numbers)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    numbers = values("rects", FULL)
    numbers[2] = np.nan
    rawfiles.write(tmp_path / "x", numbers)
    assert np.allclose(
        rawfiles.read(tmp_path / "x", "rects", FULL), numbers, atol=6e-7, equal_nan=True
    )
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    rawfiles.write(tmp_path / "x", [[1, 2, 3, -0.5]], decimals=1)
    assert (tmp_path / "x").read_text() == "1.0 2.0 3.0 -0.5\n"


# --- files that are not whole --------------------------------------------------------------------


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(("kind", "engine"), ALL)
def test_a_file_that_is_cut_anywhere_is_seen(
    look: Callable[..., int], kind: str, engine: Engine, writer: str
) -> None:
    text = WRITERS[writer](values(kind, engine))
    whole = len(text.rstrip())
    rng = np.random.default_rng(1)
    last_row = text.rstrip().rindex("\n") + 1
    places = {
        1,
        *rng.integers(1, last_row, 4).tolist(),
        *rng.integers(last_row, whole, 12).tolist(),
    }
    for at in sorted(places):
        kept = text[:at]
        if float_of_last(kept) == float_of_last(text) and kept.split() == text.split():
            continue  # nothing of it is missing
        with pytest.raises(RawFileError):
            look(kept, kind, engine)


def float_of_last(text: str) -> float | None:
    try:
        return float(text.split()[-1])
    except ValueError:
        return None


@pytest.mark.parametrize("writer", WRITERS)
def test_a_cut_within_the_very_last_number_is_seen(
    look: Callable[..., int], writer: str, tmp_path: Path
) -> None:
    """The number of columns still fits: what gives it away is how the other numbers are written."""
    numbers = np.full((T, 4), 123.456789)
    text = WRITERS[writer](numbers)
    end = text.rstrip()
    start = max(end.rindex(" "), end.rindex("\n")) + 1
    for at in range(start + 1, len(end)):
        refused(look, text[:at], "rects", FULL, "cut|not numbers")
    # no number is cut: the line's end alone is missing, which some program may leave out
    if writer != "cpp":
        assert look(end, "rects", FULL) == T


def test_a_last_line_without_an_end_is_whole_where_nothing_says_otherwise(
    look: Callable[..., int],
) -> None:
    rows = ["1 2.5 3 4", "10 2 3.25 4.75", *["1 2 3 4"] * (T - 3), "1.5 2 3 4"]
    assert look("\n".join(rows), "rects", FULL) == T
    nothing = "\n".join([" ".join(["nan"] * 79)] * (T - 1))
    assert look(nothing, "expression", FULL) == T - 1


@pytest.mark.parametrize(
    ("kind", "engine"),
    [(k, e) for k, e in ALL if KINDS[k].rows != "identity" and KINDS[k].columns[e] is not None],
)
def test_one_column_too_few_or_too_many(
    look: Callable[..., int], kind: str, engine: Engine
) -> None:
    numbers = values(kind, engine)
    n = columns(kind, engine)
    refused(look, python_text(np.hstack([numbers, numbers[:, :1]])), kind, engine, f"wanted {n}")
    if n > 1:
        refused(look, python_text(numbers[:, :-1]), kind, engine, f"has {n - 1} numbers")


@pytest.mark.parametrize("kind", ["illumination", "expression_localized"])
def test_any_number_of_columns_but_one(look: Callable[..., int], kind: str) -> None:
    rows = [" ".join(["1.5"] * 5)] * (T - 1)
    assert look("\n".join(rows) + "\n", kind, FULL) == T - 1
    rows[3] = " ".join(["1.5"] * 4)
    refused(look, "\n".join(rows) + "\n", kind, FULL, "row 4: has 4 numbers, wanted 5")


@pytest.mark.parametrize(("kind", "engine"), ALL)
def test_empty_files(look: Callable[..., int], kind: str, engine: Engine) -> None:
    for text in ("", "\n", " \n\t\n\n"):
        refused(look, text, kind, engine, "is empty")


@pytest.mark.parametrize(("kind", "engine"), FRAMES)
def test_a_row_for_each_frame(look: Callable[..., int], kind: str, engine: Engine) -> None:
    for rows in (1, T - 2, T - 1, T + 1, 2 * T):
        text = python_text(values(kind, engine, rows))
        refused(look, text, kind, engine, f"has {rows} rows, wanted {T};")


def test_recordings_that_are_too_long_for_3di(
    look: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rawfiles, "MOST_FRAMES", 5)
    words = r"It has 7 frames, and 3DI's programs read 5: make several samples of it"
    for kind, rows in (("rects", 5), ("landmarks", 4)):
        refused(look, python_text(values(kind, FULL, rows)), kind, FULL, words)
    monkeypatch.setattr(rawfiles, "MOST_FRAMES", 7)
    assert rawfiles.too_long(7) == ""


@pytest.mark.parametrize(("kind", "engine"), FITTED)
def test_a_row_for_each_fitted_frame(look: Callable[..., int], kind: str, engine: Engine) -> None:
    for rows in (T - 1, T):
        assert look(python_text(values(kind, engine, rows)), kind, engine) == rows
    for rows in (1, T - 2, T + 1, 2 * T):
        text = python_text(values(kind, engine, rows))
        refused(look, text, kind, engine, f"has {rows} rows, wanted {T - 1} or {T};")


def test_a_row_for_each_vertex(look: Callable[..., int], tmp_path: Path) -> None:
    for rows in (11, 13):
        refused(look, python_text(values("shape", FULL, rows)), "shape", FULL, "wanted 12")
    path = tmp_path / "v_shape.3DI"
    path.write_text(python_text(values("shape", FULL, 5)))
    unknown = Options(engine=FULL, morphable_model="a-model-of-my-own")
    assert rawfiles.check(path, "shape", unknown, T) == 5


@pytest.mark.parametrize("kind", ["shape_coeff", "texture_coeff"])
@pytest.mark.parametrize("engine", Engine)
def test_all_coefficients_of_an_identity(
    look: Callable[..., int], kind: str, engine: Engine
) -> None:
    """Basel's model has 199 of each; a file that ends earlier was cut off."""
    for rows in (1, 99, 198, 200):
        numbers = values(kind, engine, rows)
        refused(look, python_text(numbers), kind, engine, f"has {rows} rows, wanted 199")
    row = values(kind, engine, 150)
    refused(look, python_text(row.T), kind, engine, "has 150 rows, wanted 199")


# --- numbers that are none -----------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "engine"), ALL)
def test_a_number_that_is_none(look: Callable[..., int], kind: str, engine: Engine) -> None:
    row, column = len(values(kind, engine)) // 2, columns(kind, engine) - 1
    for bad in (np.nan, np.inf, -np.inf):
        numbers = values(kind, engine)
        numbers[row, column] = bad
        words = f"row {row + 1}: {bad} is no finite"
        if kind in UNFITTED[engine] and column == 0 and np.isnan(bad):
            words = "coefficients that are no finite numbers"
        refused(look, python_text(numbers), kind, engine, words)
        numbers[row] = bad
        if not np.isnan(bad):
            refused(look, python_text(numbers), kind, engine, words)


@pytest.mark.parametrize("word", ["nan", "NaN", "-nan"])
@pytest.mark.parametrize(("kind", "engine"), ALL)
def test_rows_of_frames_that_were_not_fitted(
    look: Callable[..., int], kind: str, engine: Engine, word: str
) -> None:
    numbers = values(kind, engine)
    lines = python_text(numbers).splitlines()
    lines[2] = " ".join([word] * columns(kind, engine))
    text = "\n".join(lines) + "\n"
    if KINDS[kind].rows == "identity" and engine is LITE:
        refused(look, text, kind, engine, "coefficients that are no finite numbers")
    elif kind in UNFITTED[engine]:
        assert look(text, kind, engine) == len(numbers)
    else:
        refused(look, text, kind, engine, "row 3: nan is no finite number")


def test_kinds_in_which_a_frame_may_be_missing() -> None:
    assert UNFITTED[FULL] == {"expression", "pose", "illumination"}
    assert {kind for kind, engine in FITTED if engine is LITE} <= UNFITTED[LITE]
    assert not UNFITTED[LITE] & {"rects", "landmarks"}


@pytest.mark.parametrize("kind", ["shape_coeff", "texture_coeff"])
def test_lite_has_no_identity_where_its_first_frame_has_no_face(
    look: Callable[..., int], kind: str
) -> None:
    """Its public source: the mean over all frames, of which the first without a face are NaN."""
    text = python_text(np.full((199, 1), np.nan))
    seen = np.ones(T, bool)
    with pytest.raises(RawFileError, match="no finite numbers"):
        look(text, kind, LITE, seen)
    seen[0] = False
    assert look(text, kind, LITE, seen) == look(text, kind, LITE) == 199
    refused(look, text, kind, FULL, "row 1: nan is no finite number")
    refused(look, python_text(np.full((198, 1), np.nan)), kind, LITE, "wanted 199")


def test_smoothing_leaves_the_angles_as_they_are(look: Callable[..., int]) -> None:
    """3DI's public source: position and rotation vector are filled in, the angles are not."""
    numbers = values("pose_smooth", FULL)
    numbers[[0, 3], 6:] = np.nan
    assert look(python_text(numbers), "pose_smooth", FULL) == T - 1
    for row, column in ((1, 6), (1, 8), (3, 5), (0, 0)):
        broken = numbers.copy()
        broken[row, column] = np.nan
        refused(look, python_text(broken), "pose_smooth", FULL, f"row {row + 1}: nan is no")
    numbers[3] = np.nan
    refused(look, python_text(numbers), "pose_smooth", FULL, "row 4: nan is no")
    refused(look, python_text(numbers), "pose", FULL, "row 1: nan is no")


@pytest.mark.parametrize(("kind", "engine"), FITTED)
def test_the_fit_may_end_where_the_face_does(
    look: Callable[..., int], kind: str, engine: Engine
) -> None:
    """3DI's public source: files end with the last frame that was fitted, which is left out."""
    seen = np.arange(T) < 4
    text = python_text(values(kind, engine, 3))
    if engine is LITE:  # has a row for every frame
        refused(look, text, kind, engine, f"wanted {T - 1} or {T};")
        with pytest.raises(RawFileError, match=f"has 3 rows, wanted {T - 1} or {T};"):
            look(text, kind, engine, seen)
        return
    assert look(text, kind, engine, seen) == 3
    for rows in (4, 5, T - 1, T):
        assert look(python_text(values(kind, engine, rows)), kind, engine, seen) == rows
    # one of four frames with landmarks may not have been fitted
    assert look(python_text(values(kind, engine, 2)), kind, engine, seen) == 2
    for rows, wanted in ((1, "3 or 6 or 7"), (T + 1, "6 or 7")):
        with pytest.raises(RawFileError, match=f"has {rows} rows, wanted {wanted};"):
            look(python_text(values(kind, engine, rows)), kind, engine, seen)
    refused(look, text, kind, engine, f"wanted {T - 1} or {T};")  # not known where the face ends


def test_no_number_at_all_though_there_were_landmarks(look: Callable[..., int]) -> None:
    text = python_text(np.full((T - 1, 79), np.nan))
    seen = np.zeros(T, bool)
    assert look(text, "expression", FULL, seen) == T - 1
    seen[-1] = True  # of the last frame there need not be a row
    assert look(text, "expression", FULL, seen) == T - 1
    seen[3] = True
    with pytest.raises(RawFileError, match="no number in it, though landmarks were found"):
        look(text, "expression", FULL, seen)


@pytest.mark.parametrize("word", ["1_000", "0x10", "one", "1,5", "١", "--1", "1e", "1.2.3"])
def test_words_that_are_no_numbers(look: Callable[..., int], word: str) -> None:
    text = python_text(values("rects", FULL)).encode().split(b"\n")
    text[3] = f"1 2 {word} 4".encode()
    refused(look, b"\n".join(text), "rects", FULL, "row 4: .* not numbers|is no text file")


# --- files that are something else ---------------------------------------------------------------


def test_binary(look: Callable[..., int]) -> None:
    refused(look, bytes(range(256)) * 100, "rects", FULL, "no text file")
    refused(look, b"\0" * 1000, "rects", FULL, "are not numbers")
    refused(look, "﻿1 2 3 4\n", "rects", FULL, "no text file")


def test_a_huge_line(look: Callable[..., int]) -> None:
    refused(look, "1" * (3 << 20), "rects", FULL, "rects")
    refused(look, "1 " * (3 << 20), "rects", FULL, "rects")
    refused(look, "1 " * (3 << 20), "illumination", FULL, "illumination")


def test_a_line_is_not_taken_for_two(look: Callable[..., int], monkeypatch: pytest.MonkeyPatch):
    """A line longer than what is read of one is none of ours, whatever its parts look like."""
    monkeypatch.setattr(rawfiles, "_LONGEST_LINE", 100)
    line = "1 2 3 4" + " " * 93 + "5 6 7 8\n"
    refused(look, line * T, "rects", FULL, "longer than")
    assert look(("1 2 3 4" + " " * 92 + "\n") * T, "rects", FULL) == T


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none_rects.3DI"
    for ask in (
        lambda: rawfiles.read(path, "rects", FULL),
        lambda: rawfiles.check(path, "rects", options(FULL), T),
    ):
        with pytest.raises(RawFileError, match=r"none_rects\.3DI is missing"):
            ask()


def test_a_folder_and_what_hangs_on_nothing(tmp_path: Path) -> None:
    with pytest.raises(RawFileError, match="cannot be read: Is a directory"):
        rawfiles.read(tmp_path, "rects", FULL)
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(RawFileError, match="is missing"):
        rawfiles.read(tmp_path / "link", "rects", FULL)
    (tmp_path / "file").touch()
    with pytest.raises(RawFileError, match="cannot be read: Not a directory"):
        rawfiles.read(tmp_path / "file" / "rects", "rects", FULL)


def test_no_permission() -> None:
    with makemedia.public_folder() as folder:
        path = folder / "v_rects.3DI"
        path.write_text("1 2 3 4\n")
        path.chmod(0)
        said = makemedia.unprivileged(lambda: rawfiles.read(path, "rects", FULL))
    assert "RawFileError" in said and "cannot be read: Permission denied" in said


# --- names ---------------------------------------------------------------------------------------


def test_names() -> None:
    assert rawfiles.file_name("-a b", "rects", FULL) == "-a b_rects.3DI"
    assert rawfiles.file_name("v", "expression_smooth", LITE) == "v_expression_smooth.3DIl"
    assert rawfiles.vertices("BFMmm-19830") == 19830
    assert rawfiles.vertices("BFMmm-23660") == 23660
    assert (
        rawfiles.vertices("mine") is rawfiles.vertices("mine-") is rawfiles.vertices("a-²") is None
    )


def test_names_of_localized_coefficients() -> None:
    counts = {"lb": 4, "rb": 4, "no": 4, "le": 4, "re": 4, "ul": 5, "ll": 7}
    full = [f"{region}{i}" for region, n in counts.items() for i in range(n)]
    assert rawfiles.local_names(FULL, 32) == tuple(full)
    lite = rawfiles.local_names(LITE, 50)
    assert len(set(lite)) == 50
    assert (lite[0], lite[9], lite[10], lite[12], lite[13]) == ("lb0", "rb4", "no0", "no2", "le0")
    assert (lite[26], lite[27], lite[49]) == ("re6", "mo0", "mo22")
    assert rawfiles.local_names(FULL, 50) == tuple(f"local{i}" for i in range(50))


def test_frames_with_landmarks() -> None:
    landmarks = np.zeros((3, 102))
    landmarks[1, 101] = -0.5
    assert rawfiles.seen_in(landmarks).tolist() == [False, True, False]
