"""facemake overlay: what was measured, drawn on the recording; faces hidden for publication."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemake.cli.arguments import add_models_dir_of_run
from facemake.counting import counted
from facemake.errors import FacemakeError
from facemake.models import use_models_dir
from facemake.overlay.options import HIDINGS, LAYERS, POSES, USUAL, Options
from facemake.runtime.screen import Line, duration

if TYPE_CHECKING:
    from facemake.overlay.many import Outcome
    from facemake.overlay.study import Recorded

_NOTHING = "none"
_MOST_NAMED = 10


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "overlay",
        help="draw what was measured on the recording, or hide faces for publication",
        description="Write a copy of each sample's recording with what the run measured drawn on "
        "it: an MP4 (H.264) with the same frames at the same times, a picture, or a folder of "
        "pictures. Frames that cannot be decoded are grey. Sound is left out.",
        epilog="layers: "
        + "; ".join(f"{name}: {words}" for name, words in LAYERS.items())
        + ". hidden: "
        + "; ".join(f"{name}: {words}" for name, words in HIDINGS.items())
        + ". examples: facemake overlay anna_01; facemake overlay anna_01 --frames 120-180 --draw "
        "axes,gaze,frame; facemake overlay --all --workers 4; "
        "facemake overlay anna_01 --hide fill --output published",
    )
    parser.add_argument("samples", nargs="*", metavar="SAMPLE", help="a sample of the run")
    parser.add_argument(
        "--all",
        action="store_true",
        help="every sample of the run that has frames; overlays that exist already, made in the "
        "same way, are skipped",
    )
    parser.add_argument(
        "-d", "--directory", type=Path, default=Path(), help="the run's folder (default: this one)"
    )
    parser.add_argument(
        "--draw",
        type=_layers,
        metavar="LAYERS",
        help=f"what to draw, separated by commas: {', '.join(LAYERS)}; or all, or {_NOTHING} "
        f"(default: {','.join(USUAL)}; with --hide: {_NOTHING})",
    )
    parser.add_argument(
        "--tracks", type=_tracks, metavar="N,N", help="draw only these tracks (default: all)"
    )
    parser.add_argument(
        "--frames",
        type=_frames,
        metavar="FIRST-LAST",
        help="write only these frames, both ends included, as `facemake qc` gives them (default: "
        "all)",
    )
    parser.add_argument(
        "--hide",
        choices=list(HIDINGS),
        help="hide every face that has a track, in all its frames, half a second before and after, "
        "and where it was lost in between. A face that was not detected, or too rarely for a track "
        "(track.min_frames), is not hidden: check the result",
    )
    parser.add_argument(
        "--spare",
        type=_tracks,
        default=frozenset(),
        metavar="N,N",
        help="with --hide: leave these tracks as they are",
    )
    parser.add_argument(
        "--pose",
        choices=POSES,
        default="fit",
        help="which table axes and mesh are drawn from (default: fit)",
    )
    parser.add_argument(
        "--audio",
        action="store_true",
        help="keep the sound unchanged; a voice can also identify a person",
    )
    parser.add_argument(
        "--from-zero",
        action="store_true",
        help="begin at 0 s even if the recording's timestamps, or its range, do not",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where to write (default: overlay in the run's folder)",
    )
    parser.add_argument("--force", action="store_true", help="replace existing files")
    parser.add_argument(
        "--workers",
        type=_count,
        default=1,
        metavar="N",
        help="number of processes, each working on one sample (default: 1)",
    )
    parser.add_argument(
        "--threads",
        type=_count,
        default=1,
        metavar="N",
        help="number of encoder threads (default: 1); one number gives the same bytes each time",
    )
    add_models_dir_of_run(parser)
    parser.set_defaults(function=_overlay)


def _layers(text: str) -> frozenset[str]:
    if text in ("all", _NOTHING):
        return frozenset(LAYERS if text == "all" else ())
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in LAYERS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown) or repr(text)} is no layer: there are {', '.join(LAYERS)}, all "
            f"or {_NOTHING}"
        )
    return frozenset(names)


def _tracks(text: str) -> frozenset[int]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or not all(name.isascii() and name.isdigit() for name in names):
        raise argparse.ArgumentTypeError(f"{text!r} names no tracks: numbers from 0, as 0,2")
    return frozenset(map(int, names))


def _frames(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    last = last or first
    if not all(one.isascii() and one.isdigit() for one in (first, last)) or int(last) < int(first):
        raise argparse.ArgumentTypeError(f"{text!r} names no frames: as 120-180, or 120, from 0")
    return int(first), int(last)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 64):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 64")
    return int(text)


def _overlay(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.overlay.many import overlays
    from facemake.overlay.run import frames_in, target
    from facemake.overlay.study import find, find_all, recordings

    if options.all == bool(options.samples):
        raise FacemakeError("name samples, or say --all")
    if options.spare and options.hide is None:
        raise FacemakeError("--spare says whom --hide leaves alone, and --hide is missing")
    use_models_dir(options.models_dir)
    draw = options.draw
    if draw is None:
        draw = frozenset(USUAL if options.hide is None else ())
    wanted = Options(
        draw=draw,
        tracks=options.tracks,
        hide=options.hide,
        spare=options.spare,
        frames=options.frames,
        pose=options.pose,
        audio=options.audio,
        from_zero=options.from_zero,
        threads=options.threads,
    )
    output = options.output or options.directory / "overlay"
    found = find_all(options.directory) if options.all else find(options.directory, options.samples)
    places = [target(recorded, wanted, output) for recorded in found]
    if there := [path for path in places if path.exists()]:
        _spare_recordings(there, recordings(options.directory))
    todo = list(_to_do(found, wanted, output, again=options.force, go_on=options.all))
    if len(todo) < len(found):
        print(f"{len(found) - len(todo)} of {len(found)} are there already", file=sys.stderr)
    frames = sum(frames_in(recorded, wanted) for recorded in todo)
    failed: list[Outcome] = []
    with _Line(len(todo), frames) as line:
        for outcome in overlays(todo, wanted, output, options.workers, line.told):
            if outcome.made is None:
                failed.append(outcome)
                if len(todo) > 1:
                    line.say(f"facemake: {outcome.error}")
            else:
                line.result(outcome.made.path)
                whose = f"{outcome.sample}: " if len(todo) > 1 else ""
                for words in outcome.made.remarks():
                    line.say(f"  {whose}{words}")
            line.sample()
    if failed and len(todo) == 1:
        raise FacemakeError(failed[0].error)
    if failed:
        raise FacemakeError(
            f"{len(failed)} of {counted(len(todo), 'sample')} have no overlay: "
            f"{', '.join(outcome.sample for outcome in failed[:_MOST_NAMED])}"
            + (f" and {len(failed) - _MOST_NAMED} more" if len(failed) > _MOST_NAMED else "")
        )
    return 0


def _to_do(
    found: Sequence[Recorded], wanted: Options, output: Path, *, again: bool, go_on: bool
) -> Iterator[Recorded]:
    """The samples whose overlays are to be made; looked at before any of them is begun.

    Raises:
        FacemakeError: one would take the place of another one, or of what is there.
    """
    from facemake.overlay.run import is_made, target

    whose: dict[Path, str] = {}
    for recorded in found:
        path = target(recorded, wanted, output)
        other = whose.setdefault(path, recorded.sample.sample)
        if other != recorded.sample.sample:
            raise FacemakeError(
                f"{path} would be the overlay of {other} and of {recorded.sample.sample}: make "
                "each with an --output of its own"
            )
        if again or not path.exists():
            yield recorded
        elif not go_on:
            raise FacemakeError(f"{path} is there already: --force replaces it")
        elif not is_made(recorded, wanted, output):
            # else one would take faces for hidden that are not
            raise FacemakeError(
                f"{path} is there already, and was made in another way, or of another run: --force "
                "makes all anew; or name another --output"
            )


def _spare_recordings(there: Sequence[Path], recordings: frozenset[Path]) -> None:
    """Of no sample: --output may be the folder that all of them lie in.

    Raises:
        FacemakeError: to replace one of the files or folders would cost a recording.
    """
    above = {folder for recording in recordings for folder in recording.parents}
    for path in there:
        real = path.resolve()
        if real in recordings or real in above or real.parent in recordings:
            raise FacemakeError(f"{path} is a recording of the run: name another --output")


class _Line(Line):
    """How far all samples are."""

    def __init__(self, samples: int, frames: int) -> None:
        super().__init__()
        self._samples = samples
        self._frames = frames
        self._done = 0
        self._began = time.monotonic()

    def told(self, done: int) -> None:
        """So many frames are done in all."""
        self.tell(lambda: self._text(done))

    def _text(self, done: int) -> str:
        rate = done / (time.monotonic() - self._began)
        text = f"{done} of {counted(self._frames, 'frame')}, {rate:.0f}/s"
        if self._samples > 1:
            text = f"{self._done} of {self._samples} samples, {text}"
        return text + (f", {duration((self._frames - done) / rate)} left" if rate else "")

    def sample(self) -> None:
        """One more sample is done, well or not."""
        self._done += 1

    def result(self, path: Path) -> None:
        """Name what was made, on standard output."""
        self.clear()
        print(path, flush=True)
