"""The frame of the two command lines that train: options, words, exit codes, interruption."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from facemake.errors import FacemakeError
from facemake.nn.options import Options, parse

if TYPE_CHECKING:
    from facemake.nn.tasks import Task

logger = logging.getLogger("facemake")


class Terminated(KeyboardInterrupt):
    """SIGTERM: a clean end, as Ctrl-C is."""


def main_of(
    kind: type[Options],
    network: str,
    program: str,
    task: Callable[[], Task],
    arguments: Sequence[str] | None,
) -> int:
    """Train by the options of a command line.

    Args:
        kind: which options there are.
        network: its name.
        program: the module that was called.
        task: makes the task; needs PyTorch.
        arguments: None: those of this process.

    Returns:
        The exit code: 2 for a user's mistake, which is shown as its message alone, 1 for what
        only another machine state cures, 130 and 143 for an interruption.
    """
    name = program if program != "__main__" else f"facemake.nn.train_{network}"
    values, given = parse(
        kind,
        f"python -m {name}",
        f"Train the network {network} on a training set of facemake or pyfaceau, and write "
        "checkpoints, history, curves, ONNX and, if coremltools is installed, CoreML.",
        f"models/{network}",
        arguments,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    before = signal.signal(signal.SIGTERM, _terminate)
    output: Path = values["output"]
    try:
        from facemake.backends import torch_model  # noqa: F401  (says what installs PyTorch)
        from facemake.evaluation.card import write_card
        from facemake.nn.resuming import with_checkpoint
        from facemake.nn.training import Training

        options = with_checkpoint(kind, network, values, given)
        training = Training(task(), options)
        training.run()
        write_card(options.output, options.data, network, training.device)
    except KeyboardInterrupt as error:
        last = output / "checkpoint_last.pt"
        print(file=sys.stderr)
        print(
            f"ended by {'SIGTERM' if isinstance(error, Terminated) else 'Ctrl-C'}; "
            + (
                f"the last whole epoch is in {last}: --resume {last} goes on"
                if last.exists()
                else "no epoch was done yet"
            ),
            file=sys.stderr,
        )
        return 143 if isinstance(error, Terminated) else 130
    except (FacemakeError, OSError, MemoryError) as error:
        from facemake.runtime.job import in_words

        said = in_words(error)
        if said is None:
            if not isinstance(error, OSError):
                raise
            said = str(error)
        print(f"facemake: {said}", file=sys.stderr)
        return 2
    finally:
        signal.signal(signal.SIGTERM, before)
        logger.removeHandler(handler)
    return 0


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
