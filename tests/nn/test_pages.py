"""Every code block of pyfaceau.nn's page runs, with only names changed.

Its training set and its file of examples are those of tests/data/test_generator.py. What stands for
what the page leaves open: `...` in calls, paths, and a detector.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

import makemedia  # noqa: E402
import makepredictors  # noqa: E402
from conftest import ROOT  # noqa: E402
from facemake import nn  # noqa: E402
from facemake.data import TrainingDataWriter  # noqa: E402

N = 16
SMALL = {"--epochs": "1", "--batch-size": "8", "--width-mult": "0.25", "--save-every": "1"}
"""In place of the page's: a hundred epochs of a whole network take hours."""


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two on so small networks, beside other tests, take several times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(before)


def blocks(shared: Path, language: str) -> list[str]:
    (page,) = (shared / "seeds").glob("002_*.txt")
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


def renamed(code: str) -> str:
    """Package names, and nothing else."""
    return code.replace("pyfaceau", "facemake")


def block(shared: Path, language: str, start: str) -> str:
    (code,) = (code for code in blocks(shared, language) if code.lstrip("# ").startswith(start))
    return code


def test_the_page_has_these_blocks(shared: Path):
    """So that none is forgotten here."""
    starts = [code.splitlines()[0] for code in blocks(shared, "python")]
    assert starts == [
        "from pyfaceau.data import TrainingDataGenerator, TrainingDataWriter",
        "from pyfaceau.nn import load_predictor",
        "from pyfaceau.nn import load_au_predictor",
        "from pyfaceau.nn import load_predictor, load_au_predictor",
        "Loss = w_lm * WingLoss(landmarks) + w_gp * MSE(global_params) + w_lp * L1(local_params)",
        "Loss = w_l1 * SmoothL1(au) + w_ccc * (1 - CCC(au))",
        "from pyfaceau.nn import UnifiedLandmarkPoseNet, export_to_onnx",
        "from pyfaceau.nn import UnifiedLandmarkPoseNet, export_to_coreml",
        "# Force PyTorch",
        "# Landmark/Pose",
        "# Landmark/Pose",
        "# Landmark/Pose",
        "from pyfaceau.nn import AU_NAMES, NUM_AUS",
    ]
    starts = [code.splitlines()[0] for code in blocks(shared, "bash")]
    assert starts == [
        "# CPU only",  # pip's: Makefile and requirements/ say what is installed here
        "# Basic training",
        "# Basic training",
        "python -m pyfaceau.nn.train_landmark_pose --batch-size 16",
    ]


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training set of random crops of four people, with the mean face as landmarks."""
    path = tmp_path_factory.mktemp("set") / "training_data.h5"
    rng = np.random.default_rng(0)
    face = makepredictors.mean_face().astype(np.float32)
    with TrainingDataWriter(path, expected_samples=N) as writer:
        for k in range(N):
            writer.add_sample(
                image=rng.integers(0, 256, (112, 112, 3), np.uint8),
                hog_features=np.zeros(4464, np.float32),
                landmarks=face + rng.normal(0, 1, (68, 2)).astype(np.float32),
                global_params=np.array([0.7, 0.1, 0, 0, 55, 55], np.float32),
                local_params=rng.normal(0, 1, 34).astype(np.float32),
                au_intensities=rng.uniform(0, 5, 17).astype(np.float32),
                bbox=np.array([10, 10, 90, 90], np.float32),
                video_name=f"video{k % 4}.mp4",
                frame_index=k,
            )
    return path


@pytest.fixture
def desk(examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the page's files."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(examples, "training_data.h5")
    return tmp_path


def commands(script: str) -> list[list[str]]:
    """A script's command lines: comments go to the end of their line, `\\` goes on in the next.

    The page has comments behind its `\\`, where a shell would end the command. They go first here.
    """
    lines = [re.sub(r"(^|\s)#.*$", "", line).rstrip() for line in script.splitlines()]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [line.split() for line in joined.splitlines() if line.strip()]


def small(arguments: list[str]) -> list[str]:
    """With the sizes of SMALL in place of the page's, or added to them."""
    out = list(arguments)
    for name, value in SMALL.items():
        if name in out:
            out[out.index(name) + 1] = value
        else:
            out += [name, value]
    return [*out, "--num-workers", "0", "--device", "cpu"]


def options_of(module: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "COLUMNS": "200"},
    )
    return done.stdout


@pytest.mark.parametrize(
    ("network", "count"), [("landmark_pose", 3), ("au_prediction", 2)], ids=lambda v: str(v)
)
def test_the_training_commands(shared: Path, desk: Path, network: str, count: int):
    """The last of them in a process of its own, the others by the same function in this one."""
    from importlib import import_module

    (script,) = (s for s in blocks(shared, "bash") if f"train_{network} \\" in s)
    found = commands(renamed(script))
    assert len(found) == count
    module = f"facemake.nn.train_{network}"
    help_text = options_of(module)
    for words in found:
        assert words[:3] == ["python", "-m", module]
        assert all(word in help_text for word in words if word.startswith("--"))
    full = small(found[1][3:])
    assert import_module(module).main(full) == 0
    made = desk / "models" / network
    wanted = {"checkpoint_best.pt", "checkpoint_final.pt", "training_history.json"}
    assert {*wanted, f"{network}.onnx", "checkpoint_epoch_001.pt"} <= {
        path.name for path in made.iterdir()
    }
    if count == 3:  # it goes on from the file that the page names, to as many epochs
        assert import_module(module).main([*found[2][3:], "--epochs", "1"]) == 0
    else:
        basic = small(found[0][3:])
        subprocess.run([sys.executable, "-m", module, *basic], check=True, timeout=300)


def test_the_cure_for_too_little_memory(shared: Path, desk: Path):
    """The page leaves out the data: it is an option more on the command line."""
    from facemake.nn import train_landmark_pose

    (words,) = commands(renamed(block(shared, "bash", "python -m pyfaceau.nn.train_landmark_pose")))
    arguments = ["--data", "training_data.h5", *words[3:], "--epochs", "1"]
    assert train_landmark_pose.main([*arguments, "--width-mult", "0.25", "--device", "cpu"]) == 0


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    makepredictors.landmark_pose(folder / "models" / "landmark_pose")
    makepredictors.au_prediction(folder / "models" / "au_prediction")
    return folder / "models"


@pytest.fixture
def with_models(desk: Path, models: Path) -> Path:
    (desk / "models").symlink_to(models)
    face = np.random.default_rng(1).integers(0, 256, (112, 112, 3), np.uint8)
    cv2.imwrite(str(desk / "aligned_face.png"), face)
    return desk


@pytest.fixture
def on_a_mac(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """The page's line for CoreML, which Linux cannot run: it says so, and what runs instead."""

    def without(code: str) -> str:
        (line,) = re.findall(r"^predictor = .*from_coreml\(.*\)\n", code, re.M)
        with pytest.raises(nn_error(), match="for CoreML, which computes on macOS alone"):
            exec(line, {"LandmarkPosePredictor": nn.LandmarkPosePredictor})
        return code.replace(line, "")

    return without


def nn_error() -> type[Exception]:
    from facemake.errors import ModelError

    return ModelError


@pytest.mark.skipif(sys.platform == "darwin", reason="CoreML is there: the whole block would run")
def test_landmark_prediction(shared: Path, with_models: Path, on_a_mac: Callable[[str], str]):
    code = renamed(block(shared, "python", "from pyfaceau.nn import load_predictor\n"))
    (with_models / "models" / "landmark_pose" / "landmark_pose.mlpackage").mkdir(exist_ok=True)
    faces = np.random.default_rng(2).integers(0, 256, (3, 112, 112, 3), np.uint8)
    names = {"np": np, "face1": faces[0], "face2": faces[1], "face3": faces[2]}
    exec(on_a_mac(code), names)
    assert names["landmarks"].shape == (68, 2)
    assert names["global_params"].shape == (6,)
    assert names["local_params"].shape == (34,)
    assert names["results"]["landmarks"].shape == (3, 68, 2)


def test_au_prediction(shared: Path, with_models: Path, capsys: pytest.CaptureFixture[str]):
    code = renamed(block(shared, "python", "from pyfaceau.nn import load_au_predictor"))
    names = {"aligned_face": cv2.imread("aligned_face.png")}
    exec(code, names)
    assert names["au_intensities"].shape == (17,)
    assert names["au_names"] == list(names["au_dict"]) == nn.AU_NAMES
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == nn.AU_NAMES
    assert lines[0] == f"AU01_r: {names['au_dict']['AU01_r']:.2f}"


def finder() -> Callable[[np.ndarray], np.ndarray]:
    """The workflow's detector: of a BGR picture the box that it is surest of."""
    from facemake.backends.detect import DETECTORS

    row = DETECTORS["mediapipe"]
    detector = row.create(row.models[0], row.start_score, "cpu")

    def find(bgr: np.ndarray) -> np.ndarray:
        (found,) = detector([np.ascontiguousarray(bgr[..., ::-1])])
        return found.bbox[0]

    return find


def test_the_combined_pipeline(bundled: Path, shared: Path, with_models: Path):
    """On six frames, with the detector of the workflow in the page's `detect_face`."""
    import av

    with av.open(str(bundled / "moving_portrait.mp4")) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)][:6]
    makemedia.write_video(with_models / "video.mp4", frames)
    find, seen = finder(), []

    def detect_face(frame: np.ndarray) -> np.ndarray:
        seen.append(frame)
        return find(frame)

    start = "from pyfaceau.nn import load_predictor, load_au_predictor"
    names = {"detect_face": detect_face}
    exec(renamed(block(shared, "python", start)), names)
    assert len(seen) == 6 and names["aligned"].shape == (112, 112, 3)
    assert names["landmarks_2d"].shape == (68, 2) and names["au_intensities"].shape == (17,)


def test_the_block_of_the_documentation_runs(shared: Path, with_models: Path):
    text = (ROOT / "docs" / "training.md").read_text("utf-8")
    section = text[text.index("## Predictions of trained networks") :].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    shutil.copy(shared / "data" / "single_face.jpg", "anna.jpg")
    code = code.replace("[120, 80, 190, 250]", str(finder()(cv2.imread("anna.jpg")).tolist()))
    names: dict[str, object] = {}
    exec(code, names)
    assert names["face"].shape == (112, 112, 3)
    assert set(names["found"]) == {
        *("landmarks", "global_params", "local_params", "au_intensities", "au_dict")
    }
    assert names["many"]["landmarks"].shape == (2, 68, 2)


def test_losses_are_what_the_page_writes(shared: Path):
    rng = torch.Generator().manual_seed(0)

    def two(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.rand(shape, generator=rng) * 5, torch.rand(shape, generator=rng) * 5

    (lm, lm_t), (gp, gp_t), (lp, lp_t) = two(4, 68, 2), two(4, 6), two(4, 34)
    found = nn.LandmarkPoseLoss(1.0, 0.1, 0.01)(
        {"landmarks": lm, "global_params": gp, "local_params": lp},
        {"landmarks": lm_t, "global_params": gp_t, "local_params": lp_t},
    )
    names = {
        **{"w_lm": 1.0, "w_gp": 0.1, "w_lp": 0.01},
        **{"landmarks": (lm, lm_t), "global_params": (gp, gp_t), "local_params": (lp, lp_t)},
        "WingLoss": lambda pair: nn.WingLoss()(*pair),
        "MSE": lambda pair: torch.nn.functional.mse_loss(*pair),
        "L1": lambda pair: torch.nn.functional.l1_loss(*pair),
    }
    exec(block(shared, "python", "Loss = w_lm"), names)
    assert float(found["total"]) == pytest.approx(float(names["Loss"]), rel=1e-5)
    au, au_t = two(8, 17)
    found = nn.AUPredictionLoss(1.0, 0.5)(au, au_t)
    names = {
        **{"w_l1": 1.0, "w_ccc": 0.5, "au": (au, au_t)},
        "SmoothL1": lambda pair: torch.nn.functional.smooth_l1_loss(*pair),
        "CCC": lambda pair: 1 - nn.ConcordanceCorrelationLoss()(*pair),
    }
    exec(block(shared, "python", "Loss = w_l1"), names)
    assert float(found["total"]) == pytest.approx(float(names["Loss"]), rel=1e-5)


def whole_checkpoint() -> None:
    """`checkpoint.pt` of a network of the size that the page makes."""
    torch.manual_seed(0)
    network = nn.UnifiedLandmarkPoseNet()
    torch.save({"model_state_dict": network.state_dict(), "epoch": 1}, "checkpoint.pt")


def test_export_and_force(
    shared: Path, desk: Path, on_a_mac: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
):
    """ONNX of the page's opset, CoreML where coremltools is, then each backend by name."""
    import onnx

    whole_checkpoint()
    onnx_block = block(
        shared, "python", "from pyfaceau.nn import UnifiedLandmarkPoseNet, export_to_o"
    )
    exec(renamed(onnx_block), {"torch": torch})
    opsets = {one.domain: one.version for one in onnx.load("model.onnx").opset_import}
    assert opsets[""] == 12
    coreml_block = renamed(
        block(shared, "python", "from pyfaceau.nn import UnifiedLandmarkPoseNet, export_to_c")
    )
    try:
        import coremltools  # noqa: F401
    except ImportError:
        with pytest.raises(Exception, match=r"coremltools cannot be imported .*facemake\[coreml\]"):
            exec(coreml_block, {"torch": torch})
        Path("model.mlpackage").mkdir()
    else:
        exec(coreml_block, {"torch": torch})
        assert Path("model.mlpackage").is_dir()
    names = {"LandmarkPosePredictor": nn.LandmarkPosePredictor}
    exec(on_a_mac(block(shared, "python", "Force PyTorch")), names)
    assert names["predictor"].backend == "onnx"


def test_the_api_reference(shared: Path):
    """Each line of it is a call of names here with the page's arguments and defaults."""
    reference = [code for code in blocks(shared, "python") if code.startswith("# Landmark/Pose")]
    lines = [line for code in reference for line in code.splitlines() if "(" in line]
    assert len(lines) == 16
    for line in lines:
        call, _, result = line.partition(" -> ")
        path, _, arguments = call.partition("(")
        target = nn
        for part in path.split("."):
            target = getattr(target, part)
        if result:
            assert getattr(nn, result).__name__ == result
        wanted = ast.parse(f"def f({arguments}: pass").body[0].args
        names = [a.arg for a in wanted.args]
        defaults = [ast.literal_eval(d) for d in wanted.defaults]
        own = [p for p in inspect.signature(target).parameters.values() if p.name != "self"]
        assert [p.name for p in own] == names, line
        given = [p.default for p in own if p.default is not inspect.Parameter.empty]
        assert given == defaults, line


def test_constants(shared: Path):
    code = renamed(block(shared, "python", "from pyfaceau.nn import AU_NAMES"))
    names: dict[str, object] = {}
    exec(code, names)
    assert names["NUM_AUS"] == len(names["AU_NAMES"]) == 17
    assert names["AU_NAMES"][:2] == ["AU01_r", "AU02_r"] and names["AU_NAMES"][-1] == "AU45_r"


def test_the_files_are_as_the_page_has_them(shared: Path):
    (page,) = (shared / "seeds").glob("002_*.txt")
    listing = page.read_text("utf-8").split("pyfaceau/pyfaceau/nn/\n")[1].split("```")[0]
    wanted = set(re.findall(r"(\w+\.py)", listing))
    assert len(wanted) == 7
    assert wanted <= {path.name for path in (ROOT / "scripts" / "facemake" / "nn").iterdir()}


def test_a_training_set_has_the_pages_fields(shared: Path, examples: Path):
    (page,) = (shared / "seeds").glob("002_*.txt")
    listing = page.read_text("utf-8").split("training_data.h5\n├")[1].split("```")[0]
    fields = re.findall(r"── (\w+) +\(N, ([\d, ]+)\) (\w+)", "├" + listing)
    assert len(fields) == 7
    with h5py.File(examples) as file:
        for name, shape, dtype in fields:
            assert file[name].shape[1:] == tuple(int(v) for v in shape.split(","))
            assert file[name].dtype == dtype
        for name in ("video_names", "frame_indices", "quality_scores"):
            assert name in listing and len(file["metadata"][name]) == N
