from __future__ import annotations

import builtins
import logging

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from facemake import nn  # noqa: E402
from facemake.errors import FacemakeError, ModelError  # noqa: E402
from facemake.nn import export  # noqa: E402

NETWORKS = [
    (nn.UnifiedLandmarkPoseNet, nn.export_to_onnx, ["landmarks", "global_params", "local_params"]),
    (nn.AUPredictionNet, nn.export_au_to_onnx, ["au_intensities"]),
]


@pytest.mark.parametrize(("network", "to_onnx", "names"), NETWORKS)
def test_onnx_has_names_any_batch_the_opset_that_was_asked_for_and_parity(
    tmp_path, network, to_onnx, names
):
    onnx = pytest.importorskip("onnx")
    torch.manual_seed(1)
    model = network(width_mult=0.25).train()
    path = to_onnx(model, tmp_path / "model.onnx", opset_version=12)
    assert model.training
    assert [row.version for row in onnx.load(path).opset_import if not row.domain] == [12]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert given.name == "image" and given.shape[1:] == [3, 112, 112]
    assert [output.name for output in session.get_outputs()] == names
    pictures = np.random.default_rng(0).random((5, 3, 112, 112), np.float32)
    with torch.no_grad():
        wanted = model.eval()(torch.from_numpy(pictures))
    wanted = [wanted] if isinstance(wanted, torch.Tensor) else list(wanted.values())
    for name, found, truth in zip(
        names, session.run(names, {"image": pictures}), wanted, strict=True
    ):
        assert np.abs(found - truth.numpy()).max() <= 1e-4, name


def test_an_opset_that_cannot_be_is_told_which_can(tmp_path):
    for opset in (6, 99):
        with pytest.raises(ValueError, match=f"opset_version is {opset}: the lowest .* is 7"):
            nn.export_to_onnx(nn.UnifiedLandmarkPoseNet(0.25), tmp_path / "x.onnx", opset)
    assert not list(tmp_path.iterdir())


def test_a_file_that_gives_something_else_is_not_written(tmp_path, monkeypatch):
    real = torch.onnx.export

    def another(model, *args, **kwargs):
        torch.manual_seed(2)
        real(export._Outputs(nn.AUPredictionNet(0.25).eval(), ["au_intensities"]), *args, **kwargs)

    monkeypatch.setattr(torch.onnx, "export", another)
    model = nn.AUPredictionNet(0.25)
    model.au_head.fc[-1].bias.data += 2
    with pytest.raises(ModelError, match=r"not written: its au_intensities differ"):
        nn.export_au_to_onnx(model, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_without_onnxruntime_it_is_said_that_nothing_was_compared(tmp_path, monkeypatch, caplog):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with caplog.at_level(logging.WARNING):
        nn.export_au_to_onnx(nn.AUPredictionNet(0.25), tmp_path / "x.onnx")
    assert "was not compared with PyTorch" in caplog.text and (tmp_path / "x.onnx").exists()


def test_coreml_or_a_word_what_installs_it(tmp_path):
    path = tmp_path / "x.mlpackage"
    try:
        import coremltools
    except ImportError:
        with pytest.raises(FacemakeError, match=r"facemake\[coreml\]"):
            nn.export_to_coreml(nn.UnifiedLandmarkPoseNet(0.25), path)
        assert not list(tmp_path.iterdir())
        return
    nn.export_to_coreml(nn.UnifiedLandmarkPoseNet(0.25), path)
    described = coremltools.models.MLModel(str(path)).get_spec().description
    assert [(o.name, list(o.type.multiArrayType.shape)) for o in described.output] == [
        ("landmarks", [1, 68, 2]),
        ("global_params", [1, 6]),
        ("local_params", [1, 34]),
    ]
