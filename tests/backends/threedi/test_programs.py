"""The table of programs, against the contract of 3DI and 3DI-lite written out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from facemake.backends.threedi import Engine, Options, rawfiles
from facemake.backends.threedi.programs import PROGRAMS, needs, program, programs
from facemake.backends.threedi.run import Recording, arguments
from facemake.backends.threedi.runtimes import Argument, Call, Input, Output, Own

FULL, LITE = Engine.FULL, Engine.LITE

# What each program is called with, by position: compsygroup/3DI v0.3 and sariyanidi/FacialBasis as
# bitbox starts them. IN is the recording as it is, VIDEO the one that is looked at, PREP the
# undistorted one.
TABLE = {
    FULL: """
        undistort  video_undistort IN CAMERA PREP
        detect     video_detect_face VIDEO rects
        landmarks  video_detect_landmarks VIDEO rects landmarks CONFIG
        identity   video_learn_identity VIDEO landmarks CONFIG CAMERA shape_coeff texture_coeff
        shape      scripts/save_identity_and_shape.py shape_coeff texture_coeff 1 0.4 shape texture MODEL
        fit        video_from_saved_identity VIDEO landmarks CONFIG CAMERA shape texture expression pose illumination
        smooth_expression scripts/total_variance_rec.py expression expression_smooth MODEL
        smooth_pose scripts/total_variance_rec_pose.py pose pose_smooth
        canonical  scripts/produce_canonicalized_3Dlandmarks.py expression_smooth landmarks_canonicalized MODEL
        localized  scripts/compute_local_exp_coefficients.py expression_smooth expression_localized MODEL BASIS FLAG
    """,  # noqa: E501
    LITE: """
        undistort  video_undistort IN CAMERA PREP
        detect     video_detect_face VIDEO rects
        landmarks  video_detect_landmarks VIDEO rects landmarks CONFIG
        fit        process_video.py VIDEO landmarks expression_smooth pose_smooth shape_coeff texture_coeff illumination
        canonical  produce_canonicalized_3Dlandmarks.py expression_smooth landmarks_canonicalized MODEL
        localized  compute_local_exp_coefficients.py expression_smooth expression_localized FLAG
    """,  # noqa: E501
}
READS = {
    FULL: {
        "undistort": "",
        "detect": "",
        "landmarks": "rects",
        "identity": "landmarks",
        "shape": "shape_coeff texture_coeff",
        "fit": "landmarks shape texture",
        "smooth_expression": "expression",
        "smooth_pose": "pose",
        "canonical": "expression_smooth",
        "localized": "expression_smooth",
    },
    LITE: {
        "undistort": "",
        "detect": "",
        "landmarks": "rects",
        "fit": "landmarks",
        "canonical": "expression_smooth",
        "localized": "expression_smooth",
    },
}
WRITES = {
    FULL: {
        "undistort": "undistorted",
        "detect": "rects",
        "landmarks": "landmarks",
        "identity": "shape_coeff texture_coeff",
        "shape": "shape texture",
        "fit": "expression pose illumination",
        "smooth_expression": "expression_smooth",
        "smooth_pose": "pose_smooth",
        "canonical": "landmarks_canonicalized",
        "localized": "expression_localized",
    },
    LITE: {
        "undistort": "undistorted",
        "detect": "rects",
        "landmarks": "landmarks",
        "fit": "expression_smooth pose_smooth shape_coeff texture_coeff illumination",
        "canonical": "landmarks_canonicalized",
        "localized": "expression_localized",
    },
}
# Steps whose files a step needs; those of the second are needed only of undistorted recordings.
NEEDS = {
    FULL: {
        "undistort": ("", ""),
        "detect": ("", "undistort"),
        "landmarks": ("detect", "undistort"),
        "identity": ("landmarks", "undistort"),
        "shape": ("landmarks identity", ""),
        "fit": ("landmarks shape", "undistort"),
        "smooth_expression": ("landmarks fit", ""),
        "smooth_pose": ("landmarks fit", ""),
        "canonical": ("landmarks smooth_expression", ""),
        "localized": ("landmarks smooth_expression", ""),
    },
    LITE: {
        "undistort": ("", ""),
        "detect": ("", "undistort"),
        "landmarks": ("detect", "undistort"),
        "fit": ("landmarks", "undistort"),
        "canonical": ("landmarks fit", ""),
        "localized": ("landmarks fit", ""),
    },
}
GPU = {"detect", "landmarks", "identity", "fit"}
ROWS = [(engine, *line.split()) for engine in Engine for line in TABLE[engine].strip().splitlines()]


def wanted(word: str, options: Options, recording: Recording) -> Argument:
    if word in ("IN", "VIDEO"):
        return Input(recording.video)
    if word == "CAMERA":
        return Input(Path(options.camera)) if isinstance(options.camera, str) else "30"
    suffix = ".3DI" if options.engine is FULL else ".3DIl"
    words: dict[str, Argument] = {
        "PREP": Output("v_preprocessed.avi"),
        "CONFIG": Own(f"configs/{options.morphable_model}.cfg1.global4.txt"),
        "MODEL": "BFMmm-19830" if options.engine is FULL else "BFMmm-23660",
        "BASIS": "0.0.1.F591-cd-K32d",
        "FLAG": "1",
        "1": "1",
        "0.4": "0.4",
    }
    return words.get(word, Output(f"v_{word}{suffix}"))


@pytest.mark.parametrize("camera", [30, "/cal/camera.txt"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_arguments_by_position(row: tuple[str, ...], camera: int | str, tmp_path: Path) -> None:
    engine, step, executable, *words = row
    options = Options(engine=Engine(engine), camera=camera)
    recording = Recording(Path("/in/a b.mkv"), "v", tmp_path, 10)
    one = program(options.engine, step)
    assert one.executable == executable
    assert arguments(one, recording, options) == [wanted(w, options, recording) for w in words]
    # where it is undistorted, the recording that is looked at is a file of the output folder
    prepared = Recording(recording.undistorted, "v", tmp_path, 10)
    if step != "undistort":
        changed = [
            Output("v_preprocessed.avi") if word == "VIDEO" else wanted(word, options, prepared)
            for word in words
        ]
        assert arguments(one, prepared, options) == changed


@pytest.mark.parametrize("engine", Engine)
def test_the_order_of_steps(engine: Engine) -> None:
    steps = [row[1] for row in ROWS if row[0] == engine]
    assert [one.step for one in PROGRAMS[engine]] == steps
    assert [one.step for one in programs(engine, True)] == steps
    assert [one.step for one in programs(engine, False)] == steps[1:]
    with pytest.raises(KeyError, match="has no step nonsense"):
        program(engine, "nonsense")


@pytest.mark.parametrize("engine", Engine)
def test_what_each_reads_and_writes(engine: Engine) -> None:
    for one in PROGRAMS[engine]:
        assert list(one.reads) == READS[engine][one.step].split()
        assert list(one.writes) == WRITES[engine][one.step].split()
        assert one.gpu == (one.step in GPU)
    written = [kind for one in PROGRAMS[engine] for kind in one.writes if kind != "undistorted"]
    assert len(set(written)) == len(written) and set(written) <= set(rawfiles.KINDS)
    if engine is FULL:
        assert set(written) == set(rawfiles.KINDS)


@pytest.mark.parametrize("undistorts", [False, True])
@pytest.mark.parametrize("engine", Engine)
def test_what_each_needs(engine: Engine, undistorts: bool) -> None:
    done: set[str] = set()
    for one in PROGRAMS[engine]:
        always, prepared = NEEDS[engine][one.step]
        steps = {*always.split(), *(prepared.split() if undistorts else ())}
        found = needs(engine, one, undistorts)
        assert set(found) == steps and len(found) == len(steps)
        assert steps <= done, "a step needs one that comes after it"
        done.add(one.step)


def test_programs_of_success_whatever_their_exit_code() -> None:
    """3DI's public source ends the `main` of these with `return 1` where all went well."""
    for engine in Engine:
        codes = {one.step: one.codes for one in PROGRAMS[engine]}
        lenient = {step for step, allowed in codes.items() if allowed == (0, 1)}
        assert lenient == {"undistort", "landmarks"} | ({"identity"} if engine is FULL else set())
        assert all(codes[step] == (0,) for step in codes.keys() - lenient)


@pytest.mark.parametrize(
    ("camera", "said"),
    [(30, "30"), (30.0, "30"), (28.5, "28.5"), (53.130102, "53.130102"), (1e-3, "0.001")],
)
def test_a_field_of_view_is_said_in_full(camera: float, said: str, tmp_path: Path) -> None:
    options = Options(engine=FULL, camera=camera)
    found = arguments(program(FULL, "identity"), Recording(Path("v"), "v", tmp_path, 1), options)
    assert found[3] == said


def test_flags(tmp_path: Path) -> None:
    recording = Recording(Path("v"), "v", tmp_path, 1)
    for normalize, flag in ((True, "1"), (False, "0")):
        for engine in Engine:
            options = Options(engine=engine, normalize=normalize)
            assert arguments(program(engine, "localized"), recording, options)[-1] == flag
    fast = Options(engine=FULL, fast=True, landmark_model="local5", morphable_model="BFMmm-1")
    found = arguments(program(FULL, "landmarks"), recording, fast)
    assert found[3] == Own("configs/BFMmm-1.cfg2.local5.txt")


def test_a_video_of_that_name_elsewhere_is_no_undistorted_one(tmp_path: Path) -> None:
    options = Options(engine=FULL)
    (tmp_path / "in").mkdir()
    there = Recording(tmp_path / "in" / "v_preprocessed.mp4", "v", tmp_path, 1)
    assert arguments(program(FULL, "detect"), there, options)[0] == Input(there.video)
    # by whatever way the folder is named
    here = Recording(tmp_path / "in" / ".." / "v_preprocessed.mp4", "v", tmp_path, 1)
    assert arguments(program(FULL, "detect"), here, options)[0] == Output("v_preprocessed.mp4")


# --- as an image sees them -----------------------------------------------------------------------


def test_inputs_have_folders_of_their_own() -> None:
    call = Call(
        "x",
        [
            Input(Path("/a/same name.mp4")),
            Output("v_rects.3DI"),
            Own("configs/c.txt"),
            Input(Path("/b/same name.mp4")),
            "30",
            Input(Path("/a/same name.mp4")),
        ],
        Path("/out"),
    )
    assert call.inputs() == {
        Path("/a/same name.mp4"): "/app/input/same name.mp4",
        Path("/b/same name.mp4"): "/app/input1/same name.mp4",
    }
    assert [call.inside(a, "/app/3DI") for a in call.arguments] == [
        "/app/input/same name.mp4",
        "/app/output/v_rects.3DI",
        "/app/3DI/configs/c.txt",
        "/app/input1/same name.mp4",
        "30",
        "/app/input/same name.mp4",
    ]
