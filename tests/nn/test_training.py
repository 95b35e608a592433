from __future__ import annotations

import json
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from makeexamples import faces, training_set

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from facemake.errors import ConfigError, FacemakeError, ModelError  # noqa: E402
from facemake.nn import checkpoints, train_au_prediction, train_landmark_pose  # noqa: E402
from facemake.nn import training as loop  # noqa: E402
from facemake.nn.action_units import AU_NAMES  # noqa: E402
from facemake.nn.options import (  # noqa: E402
    LEAST_WIDTH,
    AUPredictionOptions,
    LandmarkPoseOptions,
    Options,
)
from facemake.nn.tasks import TASKS  # noqa: E402

VIDEOS = [f"v{i // 4}" for i in range(16)]
SMALL = ("--width-mult", "0.125", "--batch-size", "8", "--num-workers", "0")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return training_set(tmp_path_factory.mktemp("set") / "training_data.h5", VIDEOS)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(module, data: Path, output: Path, *more: object) -> int:
    given = ("--data", data, "--output", output, *SMALL, *more)
    return module.main([str(word) for word in given])


def options_of(network: str) -> Options:
    kinds = {"landmark_pose": LandmarkPoseOptions, "au_prediction": AUPredictionOptions}
    return kinds[network](Path("data.h5"), Path("out"))


def same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (one != one and other != other)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    """Three epochs of the landmark network, uninterrupted."""
    torch.set_num_threads(1)
    output = tmp_path_factory.mktemp("trained") / "landmark_pose"
    assert train(train_landmark_pose, data, output, "--epochs", 3, "--save-every", 2) == 0
    return output


def test_what_a_training_leaves(trained):
    assert {path.name for path in trained.iterdir()} == {
        ".lock",
        "checkpoint_best.pt",
        "checkpoint_epoch_002.pt",
        "checkpoint_final.pt",
        "checkpoint_last.pt",
        "landmark_pose.onnx",
        "model_card.json",
        "model_card.md",
        "training_curves.png",
        "training_history.json",
    } | ({"landmark_pose.mlpackage"} & {path.name for path in trained.iterdir()})
    found = torch.load(trained / "checkpoint_final.pt", weights_only=True)
    assert {
        *("model_state_dict", "optimizer_state_dict", "scheduler_state_dict", "epoch"),
        *("best_val_loss", "train_history", "val_history"),
        *("config", "metrics", "data", "facemake_version", "training"),
    } == found.keys()
    assert found["epoch"] == 2 and found["config"]["network"] == "landmark_pose"
    assert found["config"]["width_mult"] == 0.125 and found["data"]["train"] == 12
    assert found["metrics"] == found["val_history"][-1]
    history = json.loads((trained / "training_history.json").read_text())
    assert list(history) == ["train", "val", "best_val_loss"]
    losses = ["loss", "landmark_loss", "global_params_loss", "local_params_loss"]
    assert [*history["train"][0]] == [*losses, "lr"]
    assert [*history["val"][0]][:6] == [*losses, "landmark_correlation", "landmark_mae"]
    assert history["best_val_loss"] == min(epoch["loss"] for epoch in history["val"])
    assert [len(history[which]) for which in ("train", "val")] == [3, 3]


@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(
    data, trained, tmp_path, monkeypatch, capsys, workers
):
    real = loop.EpochProgress.step

    def stopped(self, count, loss):
        real(self, count, loss)
        if self._epoch == 1:
            signal.raise_signal(signal.SIGTERM if workers == "0" else signal.SIGINT)

    more = ("--epochs", 3, "--save-every", 2, "--num-workers", workers)
    monkeypatch.setattr(loop.EpochProgress, "step", stopped)
    code = train(train_landmark_pose, data, tmp_path, *more)
    assert code == (143 if workers == "0" else 130)
    assert f"--resume {tmp_path / 'checkpoint_last.pt'} goes on" in capsys.readouterr().err
    assert not (tmp_path / "landmark_pose.onnx").exists()
    monkeypatch.setattr(loop.EpochProgress, "step", real)
    assert train(train_landmark_pose, data, tmp_path, "--resume", tmp_path) == 0
    for name in ("checkpoint_final.pt", "checkpoint_best.pt"):
        mine, wanted = (checkpoints.read(folder / name) for folder in (tmp_path, trained))
        assert same(mine, wanted), name
    for name in ("training_history.json", "training_curves.png", "landmark_pose.onnx"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes(), name


def test_a_training_that_is_done_stays_so_and_more_epochs_go_on(data, trained, tmp_path, capsys):
    for path in trained.glob("checkpoint_*.pt"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    before = (tmp_path / "checkpoint_best.pt").read_bytes()
    assert train(train_landmark_pose, data, tmp_path, "--resume", tmp_path) == 0
    assert (tmp_path / "checkpoint_best.pt").read_bytes() == before
    last = tmp_path / "checkpoint_last.pt"
    elsewhere = tmp_path / "elsewhere"
    more = ("--resume", last, "--epochs", 4, "--patience", 50)
    assert train(train_landmark_pose, data, elsewhere, *more) == 0
    assert "was to end after 3 epochs and now ends after 4" in capsys.readouterr().err
    assert checkpoints.read(elsewhere / "checkpoint_final.pt")["epoch"] == 3
    assert (elsewhere / "checkpoint_best.pt").exists()


def test_the_best_epoch_is_of_the_training_that_goes_on(data, trained, tmp_path, capsys):
    for path in trained.glob("checkpoint_*.pt"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    best, second = tmp_path / "checkpoint_best.pt", tmp_path / "checkpoint_epoch_002.pt"
    losses = [epoch["loss"] for epoch in checkpoints.read(best)["val_history"]]
    assert len(losses) == 3 and losses == sorted(losses, reverse=True)  # the best is the last
    # which is none of a training that ends with the second one
    again = ("--resume", second, "--epochs", 2)
    assert train(train_landmark_pose, data, tmp_path, *again) == 0
    assert checkpoints.read(best)["epoch"] == 1
    assert checkpoints.read(best)["best_val_loss"] == losses[1]
    # another training's is refused, where the own one is nowhere
    other = checkpoints.read(trained / "checkpoint_best.pt")
    other["data"]["sha256"] = "0" * 64
    checkpoints.write(best, other)
    risen = checkpoints.read(second)
    risen["val_history"][1]["loss"] = losses[0] + 1
    checkpoints.write(tmp_path / "elsewhere" / "risen.pt", risen)
    capsys.readouterr()
    more = ("--resume", tmp_path / "elsewhere" / "risen.pt")
    assert train(train_landmark_pose, data, tmp_path, *more) == 2
    said = capsys.readouterr().err
    assert "whose best epoch was an earlier one" in said and "give --resume the folder's" in said
    assert same(checkpoints.read(best), other)


def test_a_killed_training_loses_an_epoch_at_most(data, tmp_path):
    command = [sys.executable, "-m", "facemake.nn.train_landmark_pose", "--data", data]
    command += ["--output", tmp_path, *SMALL, "--epochs", "10000", "--patience", "10000"]
    last = tmp_path / "checkpoint_last.pt"
    with subprocess.Popen(
        [str(word) for word in command],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        until = time.monotonic() + 120
        while not last.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        process.kill()
    found = checkpoints.read(last, "landmark_pose")
    assert len(found["val_history"]) == found["epoch"] + 1
    resumed = ("--resume", last, "--epochs", found["epoch"] + 2)
    assert train(train_landmark_pose, data, tmp_path, *resumed) == 0
    assert checkpoints.read(tmp_path / "checkpoint_final.pt")["epoch"] == found["epoch"] + 1
    assert not list(tmp_path.glob(".*.part"))


def test_going_on_with_something_else_is_refused_with_what_differs(data, trained, tmp_path, capsys):
    last = trained / "checkpoint_last.pt"
    changed = ("--lr", 0.01, "--lp-weight", 1, "--no-augmentation", "--resume", last)
    assert train(train_landmark_pose, data, tmp_path, *changed) == 2
    said = capsys.readouterr().err
    assert "--lr is 0.01, and was 0.001" in said and "--lp-weight is 1.0, and was 0.01" in said
    assert "--no-augmentation is given, and was not given" in said
    another = training_set(tmp_path / "other.h5", [*VIDEOS, "more"])
    assert train(train_landmark_pose, another, tmp_path, "--resume", last) == 2
    assert "other.h5 has SHA-256" in capsys.readouterr().err
    assert train(train_au_prediction, data, tmp_path, "--resume", last) == 2
    assert "has the weights of landmark_pose, not of au_prediction" in capsys.readouterr().err
    wide = ("--width-mult", "0.25", "--resume", last)
    assert train(train_landmark_pose, data, tmp_path, *wide) == 2
    assert "--width-mult is 0.25, and was 0.125" in capsys.readouterr().err
    assert train(train_landmark_pose, data, tmp_path, "--resume", tmp_path / "no.pt") == 2
    assert "there is no checkpoint" in capsys.readouterr().err


def test_weights_of_another_width_are_refused_with_both(trained):
    task = train_landmark_pose.task()
    network = task.make(LandmarkPoseOptions(Path(), Path(), width_mult=0.5))
    path = trained / "checkpoint_best.pt"
    with pytest.raises(ModelError, match=r"width_mult of 0\.125, not of 0\.5"):
        checkpoints.give_weights(network, path, checkpoints.read(path))


def test_action_units_with_missing_labels(tmp_path, caplog):
    aus = faces(16)["au_intensities"]
    rng = np.random.default_rng(3)
    aus[rng.random(aus.shape) < 0.3] = np.nan
    aus[:, 5], aus[:, 6] = np.nan, 1.5
    path = training_set(tmp_path / "t.h5", VIDEOS, au_intensities=aus)
    with caplog.at_level(logging.WARNING):
        assert train(train_au_prediction, path, tmp_path / "out", "--epochs", 2) == 0
    assert f"no au_intensities of some kind ({AU_NAMES[5]})" in caplog.text
    history = json.loads((tmp_path / "out" / "training_history.json").read_text())
    assert history["au_names"] == AU_NAMES
    last = history["val"][-1]
    assert last[f"corr_{AU_NAMES[5]}"] is None and last[f"mae_{AU_NAMES[5]}"] is None
    assert last[f"corr_{AU_NAMES[6]}"] is None and last[f"mae_{AU_NAMES[6]}"] is not None
    assert np.isfinite([last[k] for k in ("loss", "smooth_l1", "ccc_loss", "mean_mae")]).all()
    weights = checkpoints.read(tmp_path / "out" / "checkpoint_final.pt")["model_state_dict"]
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert (tmp_path / "out" / "au_prediction.onnx").exists()


def test_data_from_which_nothing_can_be_learned(tmp_path, capsys):
    nothing = np.full((16, 17), np.nan, np.float32)
    path = training_set(tmp_path / "nan.h5", VIDEOS, au_intensities=nothing)
    assert train(train_au_prediction, path, tmp_path / "a", "--epochs", 1) == 2
    assert "there is nothing to learn" in capsys.readouterr().err
    endless = faces(16)["landmarks"]
    endless[3] = np.inf  # training or validation, as the seed has it
    path = training_set(tmp_path / "inf.h5", VIDEOS, landmarks=endless)
    assert train(train_landmark_pose, path, tmp_path / "b", "--epochs", 1) == 2
    said = capsys.readouterr().err
    assert "has landmarks of example 3 that are infinite" in said and "dataset validate" in said
    unseen = faces(16)["landmarks"]
    unseen[12:] = np.nan
    splits = ["train"] * 12 + ["val"] * 4
    path = training_set(tmp_path / "val.h5", VIDEOS, splits=splits, landmarks=unseen)
    assert train(train_landmark_pose, path, tmp_path / "b", "--epochs", 1) == 2
    assert "no landmarks that are numbers among the examples to val" in capsys.readouterr().err
    assert train(train_landmark_pose, tmp_path / "no.h5", tmp_path / "c") == 2
    assert "facemake: there is no training set" in capsys.readouterr().err
    assert train(train_landmark_pose, tmp_path, tmp_path / "c") == 2
    assert "is a folder, and no training set" in capsys.readouterr().err


def test_a_rate_that_is_too_high_is_named(data, tmp_path, capsys):
    assert train(train_landmark_pose, data, tmp_path, "--epochs", 1, "--lr", 1e9) == 2
    assert "in epoch 1 is no number: try a lower --lr than 1e+09" in capsys.readouterr().err


def test_options_that_mean_nothing_are_told_at_once(data, tmp_path, capsys):
    wrong = ("--epochs", 0, "--val-split", 1.5, "--ema-decay", 1, "--lm-weight", -1)
    assert train(train_landmark_pose, data, tmp_path / "out", *wrong) == 2
    said = capsys.readouterr().err
    assert all(name in said for name in wrong[::2]) and not (tmp_path / "out").exists()
    assert train(train_landmark_pose, data, tmp_path / "out", "--device", "cuda:7") == 2
    assert "cuda:7" in capsys.readouterr().err
    assert train(train_landmark_pose, data, tmp_path / "out", "--device", "tpu") == 2
    assert "device is 'tpu': it is one of cpu, cuda, mps" in capsys.readouterr().err
    narrow = ("--width-mult", LEAST_WIDTH / 2)
    assert train(train_landmark_pose, data, data, *narrow) == 2
    said = capsys.readouterr().err
    assert "has no channel" in said and f"--output is {data}, which is a file" in said
    for task in TASKS.values():
        task().make(replace(options_of(task().network), width_mult=LEAST_WIDTH))
        with pytest.raises(ValueError, match="no channel"):
            task().make(replace(options_of(task().network), width_mult=LEAST_WIDTH * 0.99))


def test_a_full_memory_names_the_batch_size(data, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(loop.Training, "_pictures", full)
    assert train(train_landmark_pose, data, tmp_path, "--epochs", 1) == 2
    assert "batches of 8: give a smaller --batch-size" in capsys.readouterr().err


def test_a_loading_process_that_is_ended_from_outside_is_words(data, tmp_path, monkeypatch, capsys):
    def ended(self, count, loss):
        for child in multiprocessing.active_children():
            child.kill()
            child.join()

    monkeypatch.setattr(loop.EpochProgress, "step", ended)
    more = ("--epochs", 2, "--batch-size", 1, "--num-workers", 1)
    assert train(train_landmark_pose, data, tmp_path, *more) == 2
    said = capsys.readouterr().err
    assert "give fewer --num-workers" in said and "Traceback" not in said


def test_it_stops_where_nothing_improves_and_a_later_training_replaces_all(
    data, tmp_path, monkeypatch, caplog
):
    real = loop.Training._validate
    monkeypatch.setattr(
        loop.Training, "_validate", lambda self, loader: {**real(self, loader), "loss": 1.0}
    )
    more = ("--epochs", 9, "--patience", 2, "--save-every", 1)
    with caplog.at_level(logging.INFO):
        assert train(train_landmark_pose, data, tmp_path, *more, "--schedule", "plateau") == 0
        assert "stopped after epoch 3: no lower loss for 2 epochs" in caplog.text
        assert len(list(tmp_path.glob("checkpoint_epoch_*.pt"))) == 3
        assert checkpoints.read(tmp_path / "checkpoint_best.pt")["epoch"] == 0
        assert train(train_landmark_pose, data, tmp_path, "--epochs", 1, "--tensorboard") == 0
    assert "earlier training, which is now replaced" in caplog.text
    assert not list(tmp_path.glob("checkpoint_epoch_*.pt"))
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        assert "pip install 'facemake[tensorboard]'" in caplog.text


def test_the_curves_of_tensorboard(data, tmp_path):
    pytest.importorskip("tensorboard", reason="pip install 'facemake[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert train(train_landmark_pose, data, tmp_path, "--epochs", 1, "--tensorboard") == 0
    more = ("--resume", tmp_path, "--epochs", 2, "--tensorboard")
    assert train(train_landmark_pose, data, tmp_path, *more) == 0
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    history = json.loads((tmp_path / "training_history.json").read_text())
    for which in ("train", "val"):
        assert {f"{key}/{which}" for key in history[which][0]} <= set(found.Tags()["scalars"])
        points = [(one.step, one.value) for one in found.Scalars(f"loss/{which}")]
        wanted = [epoch["loss"] for epoch in history[which]]
        assert points == [(1, pytest.approx(wanted[0])), (2, pytest.approx(wanted[1]))]


def test_mixed_precision_goes_on_exactly_and_leaves_whole_weights(data, tmp_path, monkeypatch):
    """As on a GPU, with the half precision that a CPU has."""
    monkeypatch.setitem(loop._HALF, "cpu", torch.bfloat16)
    seen = set()
    real = loop.Training._losses

    def watched(self, found, batch):
        seen.update(value.dtype for value in found.values())
        return real(self, found, batch)

    monkeypatch.setattr(loop.Training, "_losses", watched)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(train_landmark_pose, data, whole, "--epochs", 2) == 0
    assert torch.bfloat16 in seen
    found = checkpoints.read(whole / "checkpoint_final.pt")
    assert found["training"]["scaler"]["_growth_tracker"] == 4  # steps that were none too large
    assert {v.dtype for v in found["model_state_dict"].values()} == {torch.float32, torch.int64}
    stop = ("--epochs", 1)
    seen.clear()
    assert train(train_landmark_pose, data, parts, *stop, "--no-mixed-precision") == 0
    assert seen == {torch.float32}
    single = checkpoints.read(parts / "checkpoint_final.pt")
    assert single["training"]["scaler"] == {}
    assert single["train_history"][0]["loss"] == pytest.approx(
        found["train_history"][0]["loss"], rel=0.05
    )

    def stopped(self, *_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.EpochProgress, "end", stopped)  # after the first checkpoint
        assert train(train_landmark_pose, data, parts, "--epochs", 2) == 130
    assert train(train_landmark_pose, data, parts, "--resume", parts) == 0
    assert same(checkpoints.read(parts / "checkpoint_final.pt"), found)


def pyfaceaus_checkpoint(path: Path, weights: dict) -> Path:
    """As its trainer writes it, numbers of NumPy in its history."""
    network = train_landmark_pose.task().make(LandmarkPoseOptions(path, path, width_mult=0.125))
    network.load_state_dict(weights)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-4)
    optimizer.step()
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=10, T_mult=2)
    content = {
        "epoch": 1,
        "model_state_dict": network.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": schedule.state_dict(),
        "best_val_loss": 4.5,
        "train_history": [{"loss": 6.0}, {"loss": 5.0}],
        "val_history": [
            {"loss": 5.5, "landmark_correlation": np.float64(0.5), "landmark_mae": np.float32(3)},
            {"loss": 4.5, "landmark_correlation": np.float64(0.75), "landmark_mae": np.float32(2)},
        ],
    }
    torch.save(content, path)
    return path


def test_a_checkpoint_of_pyfaceaus_is_read_and_gone_on_from(data, trained, tmp_path, caplog):
    weights = checkpoints.read(trained / "checkpoint_final.pt")["model_state_dict"]
    path = pyfaceaus_checkpoint(tmp_path / "theirs.pt", weights)
    found = checkpoints.read(path)
    assert found["val_history"][1] == {
        "loss": 4.5,
        "landmark_correlation": 0.75,
        "landmark_mae": 2.0,
    }
    assert type(found["val_history"][1]["landmark_mae"]) is float
    assert checkpoints.width_of(found) == 0.125
    with caplog.at_level(logging.WARNING):
        more = ("--resume", path, "--epochs", 3)
        assert train(train_landmark_pose, data, tmp_path / "out", *more) == 0
    assert "was not written by facemake" in caplog.text
    ours = checkpoints.read(tmp_path / "out" / "checkpoint_final.pt")
    assert ours["epoch"] == 2 and [e["loss"] for e in ours["train_history"][:2]] == [6.0, 5.0]
    bare = torch.load(path, weights_only=False)
    for key in ("train_history", "val_history", "best_val_loss"):
        del bare[key]
    torch.save(bare, path)
    more = ("--resume", path, "--epochs", 2)
    assert train(train_landmark_pose, data, tmp_path / "bare", *more) == 0
    assert (tmp_path / "bare" / "landmark_pose.onnx").exists()


def test_nothing_of_a_checkpoint_is_run(tmp_path):
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    for name, content in (("a.pt", Harm()), ("b.pt", {"model_state_dict": Harm()})):
        torch.save(content, tmp_path / name)
        with pytest.raises(ModelError, match="is no checkpoint"):
            checkpoints.read(tmp_path / name)
    (tmp_path / "c.pt").write_bytes(pickle.dumps(Harm()))
    with pytest.raises(ModelError, match="is no checkpoint"):
        checkpoints.read(tmp_path / "c.pt")
    whole = tmp_path / "whole.pt"
    torch.save({"backbone.stem.0.weight": torch.zeros(8, 3, 3, 3)}, whole)
    assert checkpoints.width_of(checkpoints.read(whole, "au_prediction")) == 0.25
    (tmp_path / "cut.pt").write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(ModelError, match="cut short"):
        checkpoints.read(tmp_path / "cut.pt")
    assert not (tmp_path / "harm").exists()


def test_a_folder_is_trained_in_by_one_at_a_time(data, tmp_path):
    from facemake.runtime.locks import ShardLock

    options = LandmarkPoseOptions(data, tmp_path, epochs=1, width_mult=0.125, num_workers=0)
    with (
        ShardLock(tmp_path / ".lock", "it", tmp_path),
        pytest.raises(FacemakeError, match="another process is at work on the training in"),
    ):
        loop.Training(train_landmark_pose.task(), options).run()


def test_python_refuses_the_same_as_the_command_line(data, tmp_path):
    with pytest.raises(ConfigError, match="--batch-size is 0"):
        loop.Training(train_landmark_pose.task(), LandmarkPoseOptions(data, tmp_path, batch_size=0))


def test_it_learns(data, tmp_path):
    """Drawn faces, by heart: far nearer than the mean face, where a new network begins."""
    options = LandmarkPoseOptions(
        *(data, tmp_path / "out"),
        **{"epochs": 40, "batch_size": 12, "width_mult": 0.125, "num_workers": 0},
        **{"augment": False, "lr": 5e-3, "ema_decay": 0.0},
    )
    training = loop.Training(train_landmark_pose.task(), options)
    training._end_epoch = lambda *_: None
    loader = loop.make_loader(training.train_set, training.order, 0, False)
    progress = loop.EpochProgress("landmark_pose", 40, 12)
    losses = []
    for training.epoch in range(40):
        progress.begin(training.epoch)
        losses.append(training._train(loader, progress)["landmark_loss"])
    assert losses[-1] < 0.75 * losses[0]
