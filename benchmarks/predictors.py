"""One face at a time through the trained networks: ONNX and PyTorch, each against its bare loop.

Networks of the full size (width_mult 1) with random weights: what they cost does not hang on those.
Each is predicted from an aligned picture, (112, 112, 3) uint8 BGR, to the dictionary that a user
gets, on one thread of a CPU; the bare loop runs the network on numbers that are ready. Both take
turns in one process. Faces a second are of CPU time: what one core does that has nothing else to
do. Those of the clock are printed beside it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from facemake.runtime.job import THREAD_VARIABLES

# before the libraries are imported
for _name in THREAD_VARIABLES:
    os.environ[_name] = "1"

import numpy as np

_FACES = 40
_TARGET = 30
"""Faces a second: that of pyfaceau.nn's page, which had it on an ARM Mac."""


def run(folder: Path, runs: int) -> None:
    """Print, by network and backend, faces a second and the part of the bare network's speed.

    Args:
        folder: for the networks' files.
        runs: so often.
    """
    import onnxruntime
    import torch

    from facemake import nn
    from facemake.nn.predicting import Predictor
    from facemake.nn.runners import planes

    torch.set_num_threads(1)
    print(
        f"onnxruntime {onnxruntime.__version__}, PyTorch {torch.__version__}, one thread; "
        f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    faces = np.random.default_rng(0).integers(0, 256, (_FACES, 112, 112, 3), np.uint8)
    ready = [planes(np.ascontiguousarray(face[None, ..., ::-1])) for face in faces]
    networks = {
        "landmark_pose": (nn.UnifiedLandmarkPoseNet, nn.export_to_onnx, nn.LandmarkPosePredictor),
        "au_prediction": (nn.AUPredictionNet, nn.export_au_to_onnx, nn.AUPredictor),
    }
    for name, (make, export, kind) in networks.items():
        torch.manual_seed(0)
        network = make().eval().requires_grad_(False)
        checkpoint, file = folder / f"{name}.pt", folder / f"{name}.onnx"
        torch.save({"model_state_dict": network.state_dict()}, checkpoint)
        export(network, file)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
        bare = network.to(memory_format=torch.channels_last)
        tensors = [
            torch.from_numpy(one).contiguous(memory_format=torch.channels_last) for one in ready
        ]
        loops: dict[str, tuple[Predictor, Callable[[], object]]] = {
            "onnx": (
                kind.from_onnx(file, providers=["CPUExecutionProvider"]),
                lambda s=session: [s.run(None, {"image": one}) for one in ready],
            ),
            "pytorch": (
                kind.from_checkpoint(checkpoint, device="cpu"),
                lambda b=bare, t=tensors: [b(one) for one in t],
            ),
        }
        for backend, (predictor, loop) in loops.items():
            spent = _turns(lambda p=predictor: [p.predict(face) for face in faces], loop, runs)
            ratios = [theirs[0] / mine[0] for mine, theirs in spent]
            cpu, clock = (median(_FACES / mine[k] for mine, _ in spent) for k in (0, 1))
            reached = "reached" if cpu >= _TARGET else "missed"
            print(
                f"{name} by {backend}: {cpu:.0f} faces a second of one core ({clock:.0f} by the "
                f"clock), target {_TARGET}: {reached}; {median(ratios):.2f} of its network's speed "
                f"(from {min(ratios):.2f} to {max(ratios):.2f}, {runs} runs)"
            )
            predictor.close()


def _turns(
    mine: Callable[[], object], theirs: Callable[[], object], runs: int
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """CPU and clock seconds of both, `runs` times; who goes first takes turns."""
    import torch

    spent = []
    with torch.inference_mode():
        for turn in range(1 + runs):
            if turn % 2:
                first, second = _seconds(mine), _seconds(theirs)
                spent.append((first, second))
            else:
                first, second = _seconds(theirs), _seconds(mine)
                spent.append((second, first))
    return spent[1:]  # without what is made once


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    cpu, clock = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - clock
