"""The variables of lumen-face and what they may be."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from facemake import Config, RuntimeKind, backend_info_from_env
from facemake.errors import ConfigError


def of(**variables: str) -> Config:
    return Config.from_env({f"LUMEN_FACE_{name}": text for name, text in variables.items()})


def test_defaults_are_those_of_lumen_face():
    config = of()
    assert config == Config()
    assert (config.runtime, config.model_name) == (RuntimeKind.ONNXRT, "scrfd_10g_iresnet50")
    assert (config.precision, config.timeout, config.device) == ("fp16", 30.0, None)
    assert config.repo_base == "https://huggingface.co/Lumilio-Photos"
    assert config.cache_dir == Path.home() / ".cache" / "lumen_face"
    with pytest.raises(FrozenInstanceError):
        config.timeout = 1.0


def test_each_variable_is_a_field():
    config = of(
        BACKEND="RKNN",
        DEVICE="rknpu0",
        MODEL_NAME="mine",
        PRECISION="int8",
        REPO_BASE="http://127.0.0.1:8000/packs/",
        LOCAL_DIR="~/models",
        TIMEOUT="2.5",
        MAX_BATCH_SIZE="4",
        SUPPORTS_IMAGE_BATCH="true",
        EXTRA='{"rknn_target": "rk3588", "rec_input_h": 112}',
        CACHE_DIR="/var/cache/lumen_face",
    )
    assert config == Config(
        runtime=RuntimeKind.RKNN,
        device="rknpu0",
        model_name="mine",
        precision="int8",
        repo_base="http://127.0.0.1:8000/packs",
        local_dir=Path.home() / "models",
        timeout=2.5,
        max_batch_size=4,
        supports_image_batch=True,
        extra={"rknn_target": "rk3588", "rec_input_h": "112"},
        cache_dir=Path("/var/cache/lumen_face"),
    )
    assert of(PACK_NAME="older").model_name == "older"
    assert of(RUNTIME="rknn", BACKEND="RKNN").runtime is RuntimeKind.RKNN
    assert of(DEVICE=" ", EXTRA="").device is None  # an empty one is none


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RUNTIME": "tensorrt"}, "LUMEN_FACE_RUNTIME is 'tensorrt'; it may be onnxrt or rknn"),
        ({"RUNTIME": "rknn", "BACKEND": "onnxrt"}, "say two things; unset one"),
        ({"DEVICE": "cuda:x"}, r"LUMEN_FACE_DEVICE is 'cuda:x'; it may be cpu, cuda, cuda:0"),
        ({"MODEL_NAME": "../x"}, "LUMEN_FACE_MODEL_NAME is '../x'"),
        ({"MODEL_NAME": "a/b"}, "the name of a pack: letters"),
        ({"PRECISION": "fp8"}, "LUMEN_FACE_PRECISION is 'fp8'; it may be fp16, int8, fp32"),
        ({"REPO_BASE": "http://example.org"}, "an address with https://"),
        ({"REPO_BASE": "file:///etc"}, "an address with https://"),
        ({"TIMEOUT": "soon"}, "LUMEN_FACE_TIMEOUT is 'soon'; it may be a number of seconds"),
        ({"TIMEOUT": "0"}, "above 0"),
        ({"TIMEOUT": "nan"}, "above 0"),
        ({"MAX_BATCH_SIZE": "0"}, "a whole number from 1 on"),
        ({"MAX_BATCH_SIZE": "many"}, "a whole number from 1 on"),
        ({"SUPPORTS_IMAGE_BATCH": "perhaps"}, "SUPPORTS_IMAGE_BATCH is 'perhaps'; it may be 1 or"),
        ({"EXTRA": "rk3588"}, r"LUMEN_FACE_EXTRA is 'rk3588'; it may be a JSON object, as"),
        ({"EXTRA": "[1]"}, "a JSON object"),
    ],
)
def test_what_is_no_value_is_refused_by_the_name_of_its_variable(
    variables: dict[str, str], said: str
):
    with pytest.raises(ConfigError, match=said):
        of(**variables)


def test_one_face_at_a_time_where_the_variable_says_so():
    assert of().largest_batch is None
    assert of(MAX_BATCH_SIZE="4").largest_batch == 4
    assert of(MAX_BATCH_SIZE="4", SUPPORTS_IMAGE_BATCH="0").largest_batch == 1


def test_what_would_be_made_is_said_without_making_it(
    no_variables: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LUMEN_FACE_RUNTIME", "rknn")
    monkeypatch.setenv("LUMEN_FACE_PRECISION", "int8")
    info = backend_info_from_env()
    assert (info.runtime, info.pack_name) == ("rknn", "scrfd_10g_iresnet50")
    assert info.as_dict()["precisions"] == ["int8"] and info.face_embedding_dim is None


def test_the_words_are_to_be_had_without_numpy():
    code = "from facemake import Config, RuntimeKind; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "cv2", "onnxruntime", "PIL"} & set(done.stdout.split())
