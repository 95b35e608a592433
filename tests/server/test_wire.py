"""What may be said over the wire, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from facemake.server import wire
from facemake.server.wire import WireError

OLD = {
    "camera_model": 30,
    "landmark_model": "global4",
    "morphable_model": "BFMmm-19830",
    "basis_model": "0.0.1.F591-cd-K32d",
    "fast": False,
    "args": [],
    "kwargs": {"server": {"host": "gpu", "port": 8000}, "return_output": "dict", "runtime": "/x"},
}
TAKEN = {key: value for key, value in OLD.items() if key not in ("args", "kwargs")}


def test_clients_of_old_send_the_locals_of_3dis_constructor():
    assert wire.options("FaceProcessor3DI", OLD) == (TAKEN, [])


def test_3dis_models_are_not_taken_for_3di_lite():
    taken, passed = wire.options("FaceProcessor3DIlite", OLD)
    assert taken == {"camera_model": 30, "landmark_model": "global4"} and not passed
    given = {**OLD, "lite_morphable_model": "BFMmm-1", "lite_basis_model": "local_basis_X"}
    taken, _ = wire.options("FaceProcessor3DIlite", given)
    assert (taken["morphable_model"], taken["basis_model"]) == ("BFMmm-1", "local_basis_X")
    assert wire.options("FaceProcessor3DI", given)[0] == TAKEN


def test_the_native_engine_has_no_models_of_3di():
    assert wire.options("FaceProcessor", OLD) == ({"camera_model": 30}, [])


def test_what_is_not_known_is_passed_over_and_said():
    assert wire.options("FaceProcessor3DI", {"shiny": 1}) == ({}, ["shiny"])


@pytest.mark.parametrize("key", ["runtime", "server", "output_dir", "input_file"])
def test_what_is_the_servers_own_is_refused(key: str):
    with pytest.raises(WireError, match=key):
        wire.options("FaceProcessor3DI", {key: "/etc"})
    assert wire.options("FaceProcessor3DI", {key: None})[0] == {}


@pytest.mark.parametrize("key", ["landmark_model", "morphable_model", "basis_model"])
@pytest.mark.parametrize(
    "value",
    [
        *("../x", "a/b", "a\\b", "..", "a..b", "", ".x", "-x", "a b", "a;b", "$(x)", "x" * 101),
        *("é", "x\n", 1, True, ["x"], {"x": 1}),
    ],
)
def test_a_name_of_a_model_is_a_name(key: str, value: Any):
    with pytest.raises(WireError, match=key):
        wire.options("FaceProcessor3DI", {key: value})


@pytest.mark.parametrize("value", [0, -1, 180, 1e308, True, [30], {"x": 1}])
def test_a_field_of_view_is_an_angle(value: Any):
    with pytest.raises(WireError, match="camera_model"):
        wire.options("FaceProcessor3DI", {"camera_model": value})


def test_a_calibration_file_is_the_sessions_own_or_none():
    with pytest.raises(WireError, match="camera_file"):
        wire.options("FaceProcessor3DI", {"camera_model": "/etc/passwd"})
    taken, _ = wire.options("FaceProcessor3DI", {"camera_model": "/etc/passwd"}, has_camera=True)
    assert taken == {"camera_model": True}


@pytest.mark.parametrize("value", [0, 1, "yes", []])
def test_fast_is_true_or_false(value: Any):
    with pytest.raises(WireError, match="fast"):
        wire.options("FaceProcessor3DI", {"fast": value})


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("detect_faces", {"normalize": True}),
        ("fit", {"undistort": True}),
        ("fit", {"normalize": 1}),
        ("fit", {"k": True}),
        ("fit", {"k": -1}),
        ("fit", {"k": 10**400}),
        ("fit", {"k": "1"}),
        ("run_all", {"self": 1}),
        ("localized_expressions", {"k": 1}),
    ],
)
def test_arguments_that_a_method_has_not(method: str, given: dict[str, Any]):
    with pytest.raises(WireError, match="arguments"):
        wire.arguments(method, given)


def test_arguments_that_a_method_has():
    assert wire.arguments("fit", {"normalize": True, "k": 1.5}) == {"normalize": True, "k": 1.5}
    assert wire.arguments("preprocess", {"undistort": False}) == {"undistort": False}


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "1", "null", '"x"', "{", "{'a': 1}", '{"a": NaN}', '{"a": -Infinity}', "\ud800"),
        *('{"a": 1' + "0" * 6000, "[" * 5000, '{"a":' * 5000, '{"a": "' + "x" * 20_000 + '"}'),
        '{"a":[[[[[[1]]]]]]}',
    ],
)
def test_json_that_is_none_or_too_much(text: str):
    with pytest.raises(WireError, match="config"):
        wire.parse("config", text, 16_384, 6)


def test_brackets_in_strings_are_no_levels():
    text = '{"a": "[[[[[[[[[\\"[[[", "b": [[1]]}'
    assert wire.parse("config", text, 100, 3) == {"a": '[[[[[[[[["[[[', "b": [[1]]}
    assert wire.parse("config", "", 100, 3) == {}


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.mp4", ".mp4"),
        ("A.MOV", ".mov"),
        (".mp4", ".mp4"),
        ("../../x.avi", ".avi"),
        ("é .mkv", ".mkv"),
    ],
)
def test_of_a_files_name_its_suffix_is_taken(name: str, suffix: str):
    assert wire.suffix(name, wire.SUFFIXES) == suffix


@pytest.mark.parametrize(
    "name", ["a", "mp4", "a.mp4.exe", "a.m3u8", "a.txt", "", "a.mp4/x", "a.mp4\0"]
)
def test_other_files_are_no_videos(name: str):
    assert wire.suffix(name, wire.SUFFIXES) is None


def test_the_same_work_has_the_same_digest():
    a = wire.request_digest("FaceProcessor3DI", "fit", {"fast": True, "camera_model": 30}, {})
    assert a == wire.request_digest(
        "FaceProcessor3DI", "fit", {"camera_model": 30, "fast": True}, {}
    )
    assert a != wire.request_digest(
        "FaceProcessor3DI", "fit", {}, {"camera_model": 30, "fast": True}
    )
