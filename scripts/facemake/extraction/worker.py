"""A process with a model of its own: `python -m facemake.extraction.worker`.

It takes lines of JSON on standard input, the settings first, then chunks of inputs, at last `null`,
and answers with lines on standard output. Where its standard input ends without that, who started
it is gone: it ends at once.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from facemake.extraction.inputs import Input
from facemake.runtime import memory
from facemake.runtime.job import THREAD_VARIABLES, in_words
from facemake.runtime.locks import shared_hold

Message = dict[str, Any]
END = "null\n"


def main() -> int:
    """Work until there is no more.

    Returns:
        The exit code: 0, or 1 after an error, which was told.
    """
    # Ctrl-C reaches all processes of a terminal: who started this one ends it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what libraries print is no answer
    asked = _lines()
    try:
        settings = next(asked)
        with shared_hold(Path(settings["lock"])):
            _work(settings, asked, answers)
    except StopIteration:
        pass
    except BrokenPipeError:
        return 1
    except BaseException as error:
        _tell(answers, _said(error))
        return 1
    return 0


def _said(error: BaseException) -> Message:
    notes = getattr(error, "__notes__", ())
    if isinstance(error, MemoryError):
        return {"error": " ".join(["out of memory", *notes]), "memory": True}
    words = in_words(error) if isinstance(error, Exception) else None
    if words is not None:
        return {"error": words}
    logging.getLogger(__name__).error("a worker failed", exc_info=error)
    text = "".join(traceback.format_exception_only(error)).strip()
    return {"error": text, "bug": True}


def _lines() -> Iterator[Message]:
    """What is asked for, read ahead: who asks must never wait for it to be read."""
    waiting: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            waiting.put(line)
            if line == END:
                return
        os._exit(143)  # crops are renamed into place: nothing is left half-written

    threading.Thread(target=read, name="asked", daemon=True).start()
    while (line := waiting.get()) != END:
        yield json.loads(line)


def _tell(answers: TextIO, message: Message) -> None:
    answers.write(json.dumps(message, separators=(",", ":")) + "\n")
    answers.flush()


def _work(settings: Message, asked: Iterator[Message], answers: TextIO) -> None:
    import cv2

    from facemake.backends.detect import DETECTORS
    from facemake.extraction.cutting import Cutter
    from facemake.extraction.looking import Extractor
    from facemake.extraction.settings import CropSettings

    cv2.setNumThreads(1)
    row = DETECTORS[settings["backend"]]
    detector = row.create(
        settings["model"], settings["min_score"], settings["device"], settings.get("tile")
    )
    crops = CropSettings(**settings["crops"])
    cutter = Cutter.of(settings["backend"], crops, settings["device"])
    extract = Extractor(
        detector,
        cutter,
        Path(settings["out"]),
        crops.format,
        crops.quality,
        settings["frame_step"],
    )
    _tell(answers, {"ready": True})
    for chunk in asked:
        inputs = [
            (one["index"], Input(Path(one["path"]), one["name"], *one["rest"]))
            for one in chunk["inputs"]
        ]
        for given in extract(inputs):
            told = {"index": given.index, "rows": given.rows, "done": given.done}
            _tell(answers, told if given.done else {**told, "peak": memory.peak()})
        _tell(answers, {"chunk": True, "peak": memory.peak()})
    cutter.close()
    detector.close()


if __name__ == "__main__":
    sys.exit(main())
