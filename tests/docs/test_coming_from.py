"""The pages "Coming from …": all that the replaced systems promise is named there, and is here.

What they promise is by their own pages and code: names, arguments in their order, defaults. Of
pyfaceau.nn's networks and predictors `tests/nn/test_pages.py` compares the arguments, by its page.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import inspect
import re
from collections.abc import Iterator

import pytest

import facemake
from documentation import text
from facemake import nn
from facemake.nn.options import AUPredictionOptions, LandmarkPoseOptions
from facemake.recognition import Config
from facemake.recognition.config import PREFIX

CALLS = {
    "bitbox": """
        FaceProcessor3DI(runtime=None, return_output="dict", server=None, verbose=True, \
debug=False, camera_model=30, landmark_model="global4", morphable_model="BFMmm-19830", \
basis_model="0.0.1.F591-cd-K32d", fast=False)
        FaceProcessor3DIlite(runtime=None, return_output="dict", server=None, verbose=True, \
debug=False, morphable_model="BFMmm-23660")
        FaceProcessor3DI.io(input_file, output_dir)
        FaceProcessor3DI.preprocess(undistort=False)
        FaceProcessor3DI.detect_faces()
        FaceProcessor3DI.detect_landmarks()
        FaceProcessor3DI.fit(normalize=False, k=1)
        FaceProcessor3DI.localized_expressions(normalize=True)
        FaceProcessor3DI.run_all(normalize=True, k=1)
        processors.cache.Cache.change_retention_period(retention_period)
    """,
    "lumen-face": """
        create_backend(runtime=None, device_preference=None, pack_name=None, precision=None, \
max_batch_size=None)
        recognition.backend.FaceBackend.embed(image, boxes=None)
        recognition.backend.FaceBackend.detect(image)
        recognition.backend.FaceBackend.close()
        Config.from_env()
        RuntimeKind(value)
        BackendInfo()
        backend_info_from_env()
    """,
    "pyfaceau": """
        data.TrainingDataGenerator.process_video(video_path)
        data.TrainingDataGenerator.process_video_to_writer()
        data.TrainingDataGenerator.process_multiple_videos()
        data.TrainingDataWriter(path, expected_samples)
        data.TrainingDataWriter.add_sample(image, hog_features, landmarks, global_params, \
local_params, au_intensities, bbox, video_name, frame_index, quality_score=1.0)
        data.TrainingDataWriter.add_batch()
        data.QualityFilter()
        FaceAligner()
        FaceAligner.align(frame_bgr, bbox)
    """,
    "face-embedder": """
        FaceEmbedder(repo_dir, weights)
        FaceEmbedder.get_embedding(face)
        FaceEmbedder.get_embeddings_batch(faces)
        FaceEmbedder.crop_face_from_frame(frame_bgr, bbox_xyxy, padding=0.2)
        crop_face_from_frame(frame_bgr, bbox_xyxy, padding=0.2)
        get_embedder()
        recognition.face_embedder.get_device()
    """,
    "pife": """
        Pife(backend, workers)
        Pife.extract(paths, output_dir)
        extract_faces(paths, out)
    """,
}
"""Page -> each call, of names below `facemake`."""

NAMES = {
    "bitbox": "BITBOX_3DI BITBOX_3DI_LITE BITBOX_DOCKER TypeError",
    "lumen-face": "rknn_target rknn_device_id rknn_perf_debug rec_input_h rec_input_w",
    "pyfaceau": "load_predictor load_au_predictor LandmarkPosePredictor AUPredictor "
    "from_checkpoint from_onnx from_coreml from_auto predict return_normalized predict_batch "
    "return_dict get_au_names "
    "UnifiedLandmarkPoseNet AUPredictionNet LandmarkPoseLoss WingLoss AUPredictionLoss "
    "ConcordanceCorrelationLoss export_to_onnx export_au_to_onnx export_to_coreml "
    "export_au_to_coreml AU_NAMES NUM_AUS AU_DESCRIPTIONS train_landmark_pose "
    "train_au_prediction checkpoint_best.pt checkpoint_final.pt landmark_pose.onnx "
    "au_prediction.onnx landmark_pose.mlpackage au_prediction.mlpackage training_history.json "
    "training_data.h5",
    "face-embedder": "_instance TRANSFORM REPO_DIR WEIGHTS",
    "pife": "opencv dlib mediapipe mtcnn retinaface ssd worker_map",
}
"""Page -> what else it has to name."""


def code(page: str) -> str:
    """What stands between backticks."""
    return " ".join(re.findall(r"`([^`]+)`", text(f"coming-from/{page}")))


def found(path: str) -> object:
    """What a dotted path below `facemake` is: through modules, then attributes."""
    one: object = facemake
    for part in path.split("."):
        if inspect.ismodule(one) and not hasattr(one, part):
            one = importlib.import_module(f"{one.__name__}.{part}")
        else:
            one = getattr(one, part)
    return one


def calls() -> Iterator[tuple[str, str]]:
    for page, lines in CALLS.items():
        for line in filter(None, map(str.strip, lines.splitlines())):
            yield page, line


@pytest.mark.parametrize(("page", "line"), list(calls()), ids=lambda one: one.partition("(")[0])
def test_what_was_promised_is_here_and_named(page: str, line: str):
    path, _, arguments = line.partition("(")
    if path.startswith(("FaceEmbedder", "get_embedder", "recognition.face_embedder")):
        pytest.importorskip("torch")
    wanted = ast.parse(f"def f({arguments}: pass").body[0].args
    names = [a.arg for a in wanted.args]
    defaults = dict(
        zip(reversed(names), map(ast.literal_eval, reversed(wanted.defaults)), strict=False)
    )
    own = dict(inspect.signature(found(path)).parameters)
    own.pop("self", None)
    assert [name for name in own if name in names] == names, "missing, or in another order"
    assert {name: own[name].default for name in defaults} == defaults
    shown = code(page)
    for name in [path.rpartition(".")[2], *({*names} & {*defaults})]:
        assert re.search(rf"\b{name}\b", shown), f"coming-from/{page}.md does not name {name}"


@pytest.mark.parametrize("page", NAMES)
def test_every_other_name_stands_on_its_page(page: str):
    shown = code(page)
    missing = [n for n in NAMES[page].split() if not re.search(rf"(?<!\w){re.escape(n)}", shown)]
    assert not missing


def test_what_pyfaceau_offers_is_offered():
    modules = {"train_landmark_pose", "train_au_prediction"}
    names = {
        n for n in NAMES["pyfaceau"].split() if re.fullmatch(r"[A-Z]\w+|load_\w+|export_\w+", n)
    }
    assert len(names) == 17 and names <= {*nn.__all__}
    for module in modules:
        assert importlib.util.find_spec(f"facemake.nn.{module}")


def test_every_variable_of_lumen_face_is_named_and_read():
    shown = code("lumen-face")
    variables = {
        *("RUNTIME", "BACKEND", "DEVICE", "MODEL_NAME", "PRECISION", "REPO_BASE", "LOCAL_DIR"),
        *("TIMEOUT", "MAX_BATCH_SIZE", "SUPPORTS_IMAGE_BATCH", "EXTRA", "CACHE_DIR"),
    }
    assert {name for name in variables if PREFIX + name not in shown} == set()
    for name in variables - {"BACKEND"}:
        said = {"RUNTIME": "rknn", "DEVICE": "cuda:1", "PRECISION": "int8", "TIMEOUT": "7"}
        said |= {"MAX_BATCH_SIZE": "3", "SUPPORTS_IMAGE_BATCH": "0", "EXTRA": '{"a": "b"}'}
        said |= {"REPO_BASE": "https://example.org"}
        read = Config.from_env({PREFIX + name: said.get(name, "x")})
        assert getattr(read, name.lower()) != getattr(Config(), name.lower()), name


def test_the_options_of_training_are_pyfaceaus():
    wanted = {
        "epochs": 100,
        **{"batch_size": 32, "lr": 1e-3, "weight_decay": 1e-4, "width_mult": 1.0, "val_split": 0.1},
        **{"patience": 30, "save_every": 10, "seed": 42, "num_workers": 4},
    }
    for kind, own in (
        (LandmarkPoseOptions, {"lm_weight": 1.0, "gp_weight": 0.1, "lp_weight": 0.01}),
        (AUPredictionOptions, {"l1_weight": 1.0, "ccc_weight": 0.5, "dropout": 0.3}),
    ):
        given = {field.name: field.default for field in dataclasses.fields(kind)}
        assert {k: given[k] for k in wanted | own} == wanted | own
