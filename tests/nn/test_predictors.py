"""Predictors by each backend against the networks themselves, and which of them is taken."""

from __future__ import annotations

import builtins
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

import makepredictors  # noqa: E402
from facemake import nn  # noqa: E402
from facemake.errors import DeviceError, ModelError  # noqa: E402
from facemake.nn import predicting  # noqa: E402
from facemake.runtime import gpu  # noqa: E402

FACES = np.random.default_rng(3).integers(0, 256, (3, 112, 112, 3), np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("models")
    return SimpleNamespace(
        folder=folder,
        lm=makepredictors.landmark_pose(folder / "lm"),
        au=makepredictors.au_prediction(folder / "au"),
    )


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "devices", list)


def truth(network, bgr: np.ndarray) -> dict[str, np.ndarray]:
    """By PyTorch, written out: RGB, planes, [0, 1]."""
    rgb = bgr[:, :, :, [2, 1, 0]].astype(np.float32) / 255
    with torch.no_grad():
        found = network(torch.from_numpy(np.moveaxis(rgb, 3, 1).copy()))
    if isinstance(found, torch.Tensor):
        return {"au_intensities": found.numpy()}
    return {name: values.numpy() for name, values in found.items()}


@pytest.mark.parametrize("backend", ["onnx", "pytorch"])
def test_predictions_are_the_networks_own(made: SimpleNamespace, backend: str):
    wanted = truth(made.lm, FACES)
    with nn.load_predictor(made.folder / "lm", backend) as predictor:
        assert predictor.backend == backend
        together = predictor.predict_batch(FACES)
        assert {k: v.shape for k, v in together.items()} == {
            "landmarks": (3, 68, 2),
            "global_params": (3, 6),
            "local_params": (3, 34),
        }
        for name, values in wanted.items():
            np.testing.assert_allclose(together[name], values, atol=1e-4)
        for k, face in enumerate(FACES):
            alone = predictor.predict(face)
            assert all(alone[name].tobytes() == together[name][k].tobytes() for name in alone)
        parts = predictor.predict(FACES[0], return_normalized=True)
        np.testing.assert_allclose(112 * parts["landmarks"], alone_landmarks(predictor), rtol=1e-6)
        # as they lie in a list, in memory of another order, and none at all
        listed = predictor.predict_batch([np.asfortranarray(face) for face in FACES])
        assert listed["landmarks"].tobytes() == together["landmarks"].tobytes()
        assert predictor.predict_batch([])["landmarks"].shape == (0, 68, 2)
    wanted = truth(made.au, FACES)["au_intensities"]
    with nn.load_au_predictor(made.folder / "au", backend) as predictor:
        together = predictor.predict_batch(FACES)
        np.testing.assert_allclose(together["au_intensities"], wanted, atol=1e-4)
        one = predictor.predict(FACES[1])
        assert one["au_dict"] == together["au_dicts"][1]
        assert list(one["au_dict"]) == predictor.get_au_names() == nn.AU_NAMES
        assert one["au_dict"]["AU45_r"] == one["au_intensities"][16] != one["au_intensities"][0]
        assert set(predictor.predict_batch(FACES, return_dict=False)) == {"au_intensities"}


def alone_landmarks(predictor: nn.LandmarkPosePredictor) -> np.ndarray:
    return predictor.predict(FACES[0])["landmarks"]


def test_a_checkpoint_of_pyfaceau_and_of_another_width(made: SimpleNamespace, tmp_path: Path):
    network = makepredictors.landmark_pose(tmp_path, theirs=True, width=0.5)
    predictor = nn.LandmarkPosePredictor.from_checkpoint(tmp_path / "checkpoint_best.pt", "cpu")
    found = predictor.predict_batch(FACES)
    for name, values in truth(network, FACES).items():
        np.testing.assert_allclose(found[name], values, atol=1e-4)
    says = r"checkpoint_best\.pt has a network of width_mult 0\.5, not 0\.75: leave width_mult out"
    with pytest.raises(ModelError, match=says):
        nn.LandmarkPosePredictor.from_checkpoint(tmp_path / "checkpoint_best.pt", width_mult=0.75)
    with pytest.raises(ModelError, match=r"has the weights of au_prediction, not of landmark_pose"):
        nn.load_predictor(made.folder / "au" / "checkpoint_best.pt")
    with pytest.raises(ModelError, match=r"au_prediction\.onnx is not the network landmark_pose"):
        nn.LandmarkPosePredictor.from_onnx(made.folder / "au" / "au_prediction.onnx")
    dropped = nn.AUPredictor.from_checkpoint(
        made.folder / "au" / "checkpoint_best.pt", device="cpu", width_mult=0.25, dropout=0.9
    )
    np.testing.assert_allclose(
        dropped.predict(FACES[0])["au_intensities"],
        truth(made.au, FACES)["au_intensities"][0],
        atol=1e-4,
    )


def test_no_code_of_a_checkpoint_is_run(tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return (Path(tmp_path / "was_run").mkdir, ())

    torch.save({"model_state_dict": {}, "epoch": Evil()}, tmp_path / "checkpoint_best.pt")
    with pytest.raises(ModelError, match="is no checkpoint of"):
        nn.load_predictor(tmp_path, "pytorch")
    assert not (tmp_path / "was_run").exists()


@pytest.mark.usefixtures("no_gpu")
def test_which_file_of_a_folder_is_taken(
    made: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    shutil.copytree(made.folder / "lm", tmp_path / "lm")
    (tmp_path / "lm" / "landmark_pose.mlpackage").mkdir()
    predictor = nn.load_predictor(tmp_path / "lm")
    assert (predictor.backend, predictor.place) == ("onnx", "CPUExecutionProvider")
    assert "landmark_pose.mlpackage is for CoreML" in caplog.text
    caplog.clear()
    (tmp_path / "lm" / "landmark_pose.onnx").write_bytes(b"cut off")
    predictor = nn.LandmarkPosePredictor.from_auto(tmp_path / "lm")
    assert (predictor.backend, predictor.place) == ("pytorch", "cpu")
    assert "landmark_pose.onnx is passed over: " in caplog.text
    shutil.move(tmp_path / "lm" / "checkpoint_best.pt", tmp_path / "lm" / "checkpoint_epoch_010.pt")
    assert nn.load_predictor(tmp_path / "lm").path.name == "checkpoint_epoch_010.pt"
    for name in ("checkpoint_epoch_999.pt", "checkpoint_epoch_1000.pt"):
        shutil.copy(tmp_path / "lm" / "checkpoint_epoch_010.pt", tmp_path / "lm" / name)
    assert nn.load_predictor(tmp_path / "lm").path.name == "checkpoint_epoch_1000.pt"
    for path in (tmp_path / "lm").glob("checkpoint_epoch_*.pt"):
        path.unlink()
    with pytest.raises(ModelError, match=r"is for CoreML.*; .*cannot be loaded as an ONNX network"):
        nn.load_predictor(tmp_path / "lm")
    with pytest.raises(ModelError, match=r"CoreML, which computes on macOS alone: take landmark_"):
        nn.LandmarkPosePredictor.from_coreml(tmp_path / "lm" / "landmark_pose.mlpackage")
    with pytest.raises(ModelError, match=r"has no au_prediction\.onnx: networks are trained here"):
        nn.load_au_predictor(tmp_path / "lm", "onnx")
    with pytest.raises(
        ModelError, match=r"there is no .*nowhere: .*nn\.train_au_prediction --data"
    ):
        nn.load_au_predictor(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"backend is 'tflite', and is one of coreml, onnx, pyt"):
        nn.load_predictor(tmp_path / "lm", "tflite")
    with pytest.raises(ModelError, match=r"is a file of the backend onnx, not of pytorch"):
        nn.load_predictor(made.folder / "lm" / "landmark_pose.onnx", "pytorch")


def without(monkeypatch: pytest.MonkeyPatch, package: str, *modules: str) -> None:
    """As on a machine that does not have it."""
    real = builtins.__import__

    def refuse(name: str, *rest: object, **more: object) -> ModuleType:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named '{package}'", name=package)
        return real(name, *rest, **more)

    for name in [*modules, *(m for m in sys.modules if m.partition(".")[0] == package)]:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.mark.usefixtures("no_gpu")
def test_without_onnxruntime(
    made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    without(monkeypatch, "onnxruntime", "facemake.backends.onnx_model")
    assert nn.load_au_predictor(made.folder / "au").backend == "pytorch"
    assert "needs ONNX Runtime, which cannot be imported" in caplog.text
    with pytest.raises(ModelError, match=r"`make onnx`, or pip install 'facemake\[onnx\]'"):
        nn.load_au_predictor(made.folder / "au", "onnx")


@pytest.mark.usefixtures("no_gpu")
def test_without_pytorch_onnx_goes_on(made: SimpleNamespace):
    """In a process of its own: PyTorch cannot be unloaded."""
    code = f"""
import sys
sys.modules["torch"] = None
import numpy as np
from facemake.nn import load_predictor
found = load_predictor({str(made.folder / "lm")!r})
assert found.backend == "onnx"
found.predict(np.zeros((112, 112, 3), np.uint8))
try:
    load_predictor({str(made.folder / "lm")!r}, "pytorch")
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.startswith("ModelError PyTorch cannot be imported")


def test_providers_are_explicit(made: SimpleNamespace, caplog: pytest.LogCaptureFixture):
    file = made.folder / "lm" / "landmark_pose.onnx"
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        predictor = nn.LandmarkPosePredictor.from_onnx(file, providers=both)
        assert predictor.place == "CPUExecutionProvider"
        assert "computes on CPUExecutionProvider, not on CUDAExecutionProvider" in caplog.text
        with pytest.raises(DeviceError, match=r"alone, not on CUDAExecutionProvider: name one of"):
            nn.LandmarkPosePredictor.from_onnx(file, providers=["CUDAExecutionProvider"])
    arena = ("CPUExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})
    assert nn.LandmarkPosePredictor.from_onnx(file, providers=[arena]).backend == "onnx"
    with pytest.raises(DeviceError, match=r"knows no provider Cuda; there are"):
        nn.LandmarkPosePredictor.from_onnx(file, providers=["Cuda", "CPUExecutionProvider"])


def test_the_order_of_backends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gpu, "devices", lambda: [gpu.Device("0", "0")])
    assert predicting._order(True) == [
        *(("onnx", "cuda"), ("pytorch", "cuda")),
        *(("onnx", "cpu"), ("pytorch", "cpu")),
    ]
    monkeypatch.setattr(gpu, "devices", list)
    assert predicting._order(True) == [("onnx", "cpu"), ("pytorch", "cpu")]
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert [name for name, _ in predicting._order(True)] == ["coreml", "onnx", "pytorch"]
    assert [name for name, _ in predicting._order(False)] == ["onnx", "pytorch"]
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert [name for name, _ in predicting._order(True)] == ["onnx", "pytorch"]


def test_a_gpu_that_does_not_work_is_passed_over(
    made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    if torch.cuda.is_available():
        pytest.skip("here it works")
    monkeypatch.setattr(gpu, "devices", lambda: [gpu.Device("0", "0")])
    predictor = nn.load_predictor(made.folder / "lm")
    assert (predictor.backend, predictor.place) == ("onnx", "CPUExecutionProvider")


class StandInMLModel:
    """Stands in for coremltools' MLModel, whose `predict` needs macOS: same calls, ONNX inside."""

    def __init__(self, path: str) -> None:
        file = Path(path).with_suffix(".onnx")
        self._session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def get_spec(self) -> SimpleNamespace:
        def named(each) -> list[SimpleNamespace]:
            return [SimpleNamespace(name=one.name) for one in each]

        own = self._session
        description = SimpleNamespace(
            input=named(own.get_inputs()), output=named(own.get_outputs())
        )
        return SimpleNamespace(description=description)

    def predict(self, data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert data["image"].shape == (1, 3, 112, 112) and data["image"].dtype == np.float32
        names = [one.name for one in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, data), strict=True))


def test_a_mac_takes_coreml(
    made: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
):
    shutil.copytree(made.folder / "lm", tmp_path / "lm")
    (tmp_path / "lm" / "landmark_pose.mlpackage").mkdir()
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setitem(sys.modules, "coremltools", None)
    assert nn.load_predictor(tmp_path / "lm").backend == "onnx"
    assert "needs coremltools, which cannot be imported" in caplog.text
    tools = ModuleType("coremltools")
    tools.models = SimpleNamespace(MLModel=StandInMLModel)
    monkeypatch.setitem(sys.modules, "coremltools", tools)
    predictor = nn.load_predictor(tmp_path / "lm")
    assert (predictor.backend, predictor.path.suffix) == ("coreml", ".mlpackage")
    found = predictor.predict_batch(FACES)
    for name, values in truth(made.lm, FACES).items():
        np.testing.assert_allclose(found[name], values, atol=1e-4)

    def refuse(self: StandInMLModel, data: object) -> None:
        raise RuntimeError("Model prediction is only supported on macOS version 10.13 or later.")

    monkeypatch.setattr(StandInMLModel, "predict", refuse)
    assert nn.load_predictor(tmp_path / "lm").backend == "onnx"
    assert "cannot be computed by this macOS: Model prediction is only supported" in caplog.text
    shutil.copytree(tmp_path / "lm", tmp_path / "other")
    with pytest.raises(ModelError, match=r"is not the network au_prediction: it gives landmarks"):
        nn.AUPredictor.from_coreml(tmp_path / "other" / "landmark_pose.mlpackage")


@pytest.mark.parametrize(
    ("face", "says"),
    [
        (None, "is None, which is what cv2.imread gives"),
        (FACES, r"has the shape \(3, 112, 112, 3\); wanted is \(112, 112, 3\) BGR"),
        (np.zeros((112, 112), np.uint8), r"the shape \(112, 112\); wanted"),
        (np.zeros((96, 112, 3), np.uint8), r"the shape \(96, 112, 3\); .* by facemake\.FaceAlig"),
        (FACES[0] / 255, "is float64; wanted is uint8"),
        (np.full((112, 112, 3), np.nan), r"is float64, with numbers that are none \(NaN\)"),
    ],
)
def test_what_is_no_face(made: SimpleNamespace, face: object, says: str):
    predictor = nn.load_predictor(made.folder / "lm" / "landmark_pose.onnx")
    with pytest.raises(ValueError, match=says):
        predictor.predict(face)
    with pytest.raises(ValueError, match=says):
        predictor.predict_batch([face])
    with pytest.raises(ValueError, match=r"faces have the shape \(112, 112, 3\)"):
        predictor.predict_batch(FACES[0])


def test_a_network_that_gives_no_numbers(tmp_path: Path):
    network = makepredictors.au_prediction(tmp_path)
    network.au_head.fc[6].bias.data[3] = float("nan")
    checkpoint = {"model_state_dict": network.state_dict(), "config": {"width_mult": 0.25}}
    torch.save(checkpoint, tmp_path / "bad.pt")
    with pytest.raises(ModelError, match=r"bad\.pt gives au_intensities that are no numbers"):
        nn.load_au_predictor(tmp_path / "bad.pt").predict(FACES[0])


def test_what_is_offered_needs_no_pytorch_until_it_is_used():
    code = (
        "import sys, facemake.nn as nn, facemake; nn.load_predictor; nn.AUPredictor; "
        "facemake.FaceAligner; print('torch' in sys.modules, 'onnxruntime' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["False", "False"]
