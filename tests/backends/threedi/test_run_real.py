"""What 3DI's own programs do, by its public source: how they end, and where their files do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import makemedia
from facemake.backends.threedi import Engine, Options, rawfiles
from facemake.backends.threedi.programs import program
from facemake.backends.threedi.runtimes import SampleError
from threedibench import CLIP, Bench, Double

FULL = Engine.FULL


def rects(rows: int = CLIP) -> str:
    return "1 2 30 40\n" * rows


@pytest.mark.parametrize("step", ["landmarks", "identity", "undistort"])
def test_exit_code_one_of_programs_that_end_so(
    ran: dict[Engine, Bench], bench: Callable[..., Bench], step: str
) -> None:
    """3DI's public source: `return 1` at the end of main, with all of the file written."""
    mine = bench(FULL, step)
    files = {kind: mine.recording.file(kind, mine.options) for kind in program(FULL, step).writes}
    if step == "undistort":
        mine.options = Options(engine=FULL, camera=__file__)
        files = {"undistorted": mine.recording.undistorted}
        content = {"undistorted": mine.recording.video.read_bytes()}
    else:
        content = {k: ran[FULL].recording.file(k, mine.options).read_bytes() for k in files}

    def whole(out: Path) -> int:
        for kind, path in files.items():
            (out / path.name).write_bytes(content[kind])
        return 1

    mine.runtime = Double(whole)
    ended, made = mine.run(step)
    assert (ended.code, made) == (1, files)
    for path in files.values():
        assert path.exists()

    def cut(out: Path) -> int:
        for kind, path in files.items():
            (out / path.name).write_bytes(content[kind][: len(content[kind]) // 2])
        return 1

    name = program(FULL, step).executable
    for writes in (cut, lambda out: 1):
        mine.runtime = Double(writes)
        with pytest.raises(SampleError, match=f"{name} ended with exit code 1, and .*v_"):
            mine.run(step)
        assert not any(path.exists() for path in files.values())

    def other_code(out: Path) -> int:
        whole(out)
        return 2

    mine.runtime = Double(other_code)
    with pytest.raises(SampleError, match=f"{name} ended with exit code 2 "):
        mine.run(step)
    assert not any(path.exists() for path in files.values())


def test_exit_code_one_of_any_other_program(bench: Callable[..., Bench]) -> None:
    mine = bench(FULL, "detect")

    def write(out: Path) -> int:
        (out / "v_rects.3DI").write_text(rects())
        return 1

    mine.runtime = Double(write)
    with pytest.raises(SampleError, match="video_detect_face ended with exit code 1 "):
        mine.run("detect")
    assert not mine.left()


def fitted(rows: int, pose_rows: int | None = None) -> Callable[[Path], int]:
    """Writes what the fit writes, of so many frames."""

    def write(out: Path) -> int:
        (out / "v_expression.3DI").write_text(("1.5 " * 79 + "\n") * rows)
        (out / "v_pose.3DI").write_text(("1.5 " * 9 + "\n") * (pose_rows or rows))
        (out / "v_illumination.3DI").write_text(("1.5 " * 4 + "\n") * (pose_rows or rows))
        return 0

    return write


def test_the_fit_ends_where_the_face_does(bench: Callable[..., Bench]) -> None:
    """3DI's public source: a file of the fit ends before the last frame that was fitted."""
    mine = bench(FULL, "fit")
    landmarks = mine.numbers("landmarks")
    landmarks[8:] = 0  # the last frame with a face is 7
    rawfiles.write(mine.recording.file("landmarks", mine.options), landmarks)
    mine.runtime = Double(fitted(7))
    mine.run("fit")
    # of some versions, one file has the last frame and the others have not
    mine.runtime = Double(fitted(8, 7))
    mine.run("fit")
    mine.runtime = Double(fitted(9, 7))
    with pytest.raises(SampleError, match=r"for different frames: v_expression\.3DI 9, v_pose"):
        mine.run("fit")
    mine.runtime = Double(fitted(3))
    with pytest.raises(SampleError, match="has 3 rows, wanted 7 or 9 or 10;"):
        mine.run("fit")


def test_what_is_made_of_a_fit_has_its_rows(bench: Callable[..., Bench]) -> None:
    """Of which frames they are is not known otherwise: all are counted from the first."""
    mine = bench(FULL, "smooth_expression")

    def write(rows: int) -> Callable[[Path], int]:
        def make(out: Path) -> int:
            (out / "v_expression_smooth.3DI").write_text(("1.5 " * 79 + "\n") * rows)
            return 0

        return make

    assert rawfiles.count(mine.recording.file("expression", mine.options)) == CLIP - 1
    mine.runtime = Double(write(CLIP - 1))
    mine.run("smooth_expression")
    mine.runtime = Double(write(CLIP))
    with pytest.raises(SampleError, match=r"has 10 rows, and v_expression\.3DI, which it was made"):
        mine.run("smooth_expression")


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.9])
def test_an_undistorted_video_is_looked_at(
    bench: Callable[..., Bench], keep: float, tmp_path: Path
) -> None:
    mine = bench(FULL, "undistort")
    mine.options = Options(engine=FULL, camera=__file__)
    shorter = makemedia.write_video(tmp_path / "shorter.mp4", CLIP - 1)

    def write(out: Path) -> int:
        content = mine.recording.video.read_bytes()
        mine.recording.undistorted.write_bytes(content[: int(len(content) * keep)])
        return 0

    mine.runtime = Double(write)
    with pytest.raises(SampleError, match=r"v_preprocessed\.mp4 has 0 frames .* wanted 10"):
        mine.run("undistort")
    assert not mine.recording.undistorted.exists()

    def write_shorter(out: Path) -> int:
        mine.recording.undistorted.write_bytes(shorter.read_bytes())
        return 0

    mine.runtime = Double(write_shorter)
    with pytest.raises(SampleError, match=r"has 9 frames that can be decoded, wanted 10"):
        mine.run("undistort")
