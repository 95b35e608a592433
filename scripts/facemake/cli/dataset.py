"""facemake dataset: what is in training sets, several as one, whether one is what it should be."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemake.cli.differences import TOLERANCE
from facemake.counting import counted, plural
from facemake.errors import FacemakeError, TableError
from facemake.runtime.screen import Line

if TYPE_CHECKING:
    from facemake.dataset.against import Difference
    from facemake.dataset.checks import Checked


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "dataset",
        help="show, merge and check training sets (HDF5)",
        description="Show, merge and check training sets: a run's training_data.h5, files written "
        "with facemake.data, and pyfaceau's own, as far as they have the fields. Files of any size "
        "are read in pieces.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  facemake dataset info results/dataset/training_data.h5\n"
        "  facemake dataset merge both.h5 first.h5 second.h5\n"
        "  facemake dataset validate training_data.h5\n"
        "  facemake dataset validate training_data.h5 --against old/training_data.h5",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_info(actions)
    _add_merge(actions)
    _add_validate(actions)


def _add_info(actions: Any) -> None:
    parser = actions.add_parser(
        "info",
        help="show counts, splits, statistics of each field, balance of action units, origin",
        description="Show for each file: the number of examples, recordings and people, by split; "
        "mean, standard deviation, range and missing values of each field; the share of examples "
        "in which each action unit is 1 or more; the quality; and what made the file.",
        epilog="example: facemake dataset info training_data.h5 --json",
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a training set")
    parser.add_argument(
        "--json", action="store_true", help="print it all as JSON, also by component"
    )
    parser.add_argument(
        "--quick", action="store_true", help="skip the statistics of pictures and FHOG"
    )
    parser.set_defaults(function=_until_stopped(_info))


def _add_merge(actions: Any) -> None:
    parser = actions.add_parser(
        "merge",
        help="merge several training sets into one",
        description="Write the examples of all files, in order, to one file, with only a few "
        "megabytes in memory at a time. Files that differ in layout, action units or the face "
        "model of the PDM are refused. Examples that show the same face (recording, frame, track) "
        "as an earlier one are reported, and so is anyone who ends up in two splits.",
        epilog="example: facemake dataset merge both.h5 first.h5 second.h5",
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="the file to write")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a training set")
    parser.add_argument(
        "--drop-repeated", action="store_true", help="leave out examples that repeat an earlier one"
    )
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    parser.set_defaults(function=_until_stopped(_merge))


def _add_validate(actions: Any) -> None:
    parser = actions.add_parser(
        "validate",
        help="check a training set, or compare it with another",
        description="Check a whole file: layout, finite values, ranges, landmarks inside the crop, "
        "the affine against the frame's landmarks and pose, the FHOG of some pictures (computed "
        "again), nobody in two splits, repeated examples. Write a contact sheet of the worst "
        "crops. With --against, compare two files instead and tell whether they are the same: byte "
        "for byte, in their values, in their values in another order, or within tolerances "
        f"({TOLERANCE['absolute']:g} absolute, {TOLERANCE['relative']:g} relative); or what "
        "differs, field by field. The exit code is 1 if there is an error or a difference.",
        epilog="example: facemake dataset validate training_data.h5 --against old.h5",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the training set to check")
    parser.add_argument("--against", type=Path, metavar="OLD", help="compare FILE with this file")
    parser.add_argument(
        "--sheet",
        type=Path,
        metavar="PNG",
        help="where to write the contact sheet (default: FILE's name with _worst.png, in this "
        "folder)",
    )
    parser.add_argument("--no-sheet", action="store_true", help="write no contact sheet")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    parser.set_defaults(function=_until_stopped(_validate))


_Command = Callable[[argparse.Namespace, list[str]], int]


def _until_stopped(command: _Command) -> _Command:
    """A command that ends in a word, and leaves nothing half written, where it is interrupted."""

    def run(options: argparse.Namespace, rest: list[str]) -> int:
        try:
            return command(options, rest)
        except KeyboardInterrupt:
            print("\ninterrupted: nothing was written", file=sys.stderr)
            return 130

    return run


class _Shown(Line):
    """How far a long read is."""

    def __call__(self, name: str, done: int, of: int) -> None:
        """Take that `done` of so many examples are read."""
        self.tell(lambda: f"{name}: {done} of {counted(of, 'example')}")


def _differ(count: int) -> str:
    return f"{counted(count, 'example')} {plural(count, 'differs', 'differ')}"


def _json(document: Any) -> str:
    """JSON; what is no number is null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [plain(one) for one in value]
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return str(value) if isinstance(value, Path) else value

    return json.dumps(plain(document), indent=2, ensure_ascii=False)


# info


def _info(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.dataset.files import SetFile
    from facemake.dataset.survey import survey

    found = []
    for path in options.files:
        with _Shown() as shown, SetFile(path, shown) as file:
            found.append(survey(file, quick=options.quick))
        if not options.json:
            print("\n".join(_info_lines(found[-1])), end="\n\n" if len(options.files) > 1 else "\n")
    if options.json:
        print(_json(found))
    return 0


def _info_lines(found: dict[str, Any]) -> list[str]:
    lines = [
        f"{found['file']}: {counted(found['examples'], 'example')} of "
        f"{counted(found['videos'], 'recording')} and "
        f"{counted(found['subjects'], 'known person', 'known people')}, "
        f"{found['bytes'] / 1e6:.1f} MB"
    ]
    for name, one in found["splits"].items():
        lines.append(
            f"  {name or '(no split)'}: {counted(one['examples'], 'example')}, "
            f"{counted(one['videos'], 'recording')}, "
            f"{counted(one['subjects'], 'known person', 'known people')}"
        )
    lines += [f"  not as it should be: {fault}" for fault in found["faults"]]
    lines += ["", f"{'field':24} {'missing':>9} {'mean':>11} {'std':>11} {'min':>11} {'max':>11}"]
    for name, one in found["fields"].items():
        lines.append(f"{name:24} {_figures(one)}" if "missing" in one else f"{name:24} not read")
        if name.endswith("global_params"):
            for part, figures in one.get("of", {}).items():
                lines.append(f"  {part:22} {_figures({'missing': '', **figures})}")
    if found["aus"]:
        splits = [name for name in found["splits"] if name]
        lines += ["", f"{'action unit':11} {'known':>9} {'1 or more':>10} {'mean':>6}   by split"]
        means = found["fields"]["au_intensities"].get("of", {})
        for name, one in found["aus"].items():
            by = [f"{s} {_percent(one['present_by_split'].get(s))}" for s in splits]
            mean = means.get(name, {}).get("mean")
            lines.append(
                f"{name:11} {one['known']:9} {_percent(one['present']):>10} "
                f"{'' if mean is None else format(mean, '6.2f')}   {', '.join(by)}".rstrip()
            )
    if found["quality"]:
        said = ", ".join(f"{name} {value:.3f}" for name, value in found["quality"].items())
        lines += ["", f"quality: {said}"]
    made = found["made"]
    if made is None:
        lines.append("made by: not facemake, or it does not say")
    else:
        backends = ", ".join(f"{stage} {name}" for stage, name in made["backends"].items())
        ways = f", {made['ways']} ways of making" if made["ways"] > 1 else ""
        lines.append(
            f"made by: facemake {made['version']}, {made['stage']}{ways}"
            + (f"; {backends}" if backends else "")
        )
    lines.append(f"local_params: {found['pdm']}")
    return lines


def _figures(one: dict[str, Any]) -> str:
    cells = [f"{'' if one.get(n) is None else format(one[n], '.5g'):>11}" for n in _FIGURES]
    return f"{one['missing']:>9} " + " ".join(cells)


_FIGURES = ("mean", "std", "min", "max")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


# merge


def _merge(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.dataset.joining import join

    if options.output.exists() and not options.force:
        raise FacemakeError(
            f"{options.output} is there already: name another file first, or --force to replace it"
        )
    with _Shown() as shown:
        done = join(options.files, options.output, drop_repeated=options.drop_repeated, tell=shown)
    if options.json:
        print(_json({"output": options.output, "files": options.files, **asdict(done)}))
        return 0
    for path, count in zip(options.files, done.counts, strict=True):
        print(f"{path}\t{counted(count, 'example')}")
    print(
        f"{options.output}: {counted(sum(done.counts), 'example')} of "
        f"{counted(len(options.files), 'file')}"
    )
    if done.repeated:
        kept = "left out" if done.dropped else "kept; --drop-repeated leaves them out"
        print(
            f"{done.repeated} examples show a face that an earlier one shows ({kept}): "
            f"{', '.join(done.first)}{', ...' if done.repeated > len(done.first) else ''}"
        )
    for words in done.two_splits[:10]:
        print(f"warning: {words}")
    if len(done.two_splits) > 10:
        print(f"warning: and {len(done.two_splits) - 10} more are in two splits")
    return 0


# validate


def _validate(options: argparse.Namespace, rest: list[str]) -> int:
    if options.against is not None:
        return _against(options)
    from facemake.dataset.checks import check
    from facemake.dataset.files import SetFile

    with _Shown() as shown:
        try:
            file = SetFile(options.file, shown)
        except TableError as error:
            return _damaged(options, str(error))
        with file:
            checked = check(file)
            sheet = None if options.no_sheet else _sheet(options, file, checked)
    valid = checked.is_valid
    if options.json:
        findings = [asdict(one) for one in checked.findings]
        document = {"file": options.file, "valid": valid, "examples": len(checked)}
        print(_json({**document, "findings": findings, "sheet": sheet}))
        return 0 if valid else 1
    for one in checked.findings:
        of = f"{counted(one.count, 'example')}: " if one.count else ""
        first = f", first {'; '.join(one.first)}" if one.first else ""
        print(f"{one.level}\t{one.name}\t{of}{one.words}{first}")
    counts = {level: sum(1 for o in checked.findings if o.level == level) for level in _LEVELS}
    said = ", ".join(counted(n, level) for level, n in counts.items())
    verdict = "valid" if valid else "not valid"
    print(f"{options.file}: {verdict}; {counted(len(checked), 'example')}, {said}")
    if sheet is not None:
        print(f"{sheet} shows the worst crops")
    return 0 if valid else 1


_LEVELS = ("error", "warning", "note")


def _damaged(options: argparse.Namespace, words: str) -> int:
    if options.json:
        finding = {"level": "error", "name": "damage", "words": words, "count": 0, "first": []}
        print(_json({"file": options.file, "valid": False, "findings": [finding], "sheet": None}))
    else:
        print(f"error\tdamage\t{words}")
        print(f"{options.file}: not valid")
    return 1


def _sheet(options: argparse.Namespace, file: Any, checked: Checked) -> Path | None:
    from facemake.dataset.worst import contact_sheet
    from facemake.runtime.atomic import replacing

    path: Path = options.sheet or Path(f"{options.file.stem}_worst.png")
    try:
        picture = contact_sheet(file, checked)
    except TableError:  # said by the checks
        return None
    if picture is None:
        return None
    try:
        with replacing(path) as beside:
            beside.write_bytes(picture)
    except OSError as error:
        raise FacemakeError(
            f"{path} cannot be written ({error.strerror}): name another with --sheet, or --no-sheet"
        ) from None
    return path


def _against(options: argparse.Namespace) -> int:
    from facemake.dataset.against import compare
    from facemake.dataset.files import SetFile

    with (
        _Shown() as shown,
        SetFile(options.file, shown) as a,
        SetFile(options.against) as b,
    ):
        found = compare(a, b, **TOLERANCE)
    code = 1 if found.verdict == "differs" else 0
    if options.json:
        document = {"file": options.file, "against": options.against, **asdict(found)}
        print(_json(document))
        return code
    for line in _difference_lines(found, options):
        print(line)
    return code


def _difference_lines(found: Difference, options: argparse.Namespace) -> list[str]:
    lines = [f"layout\t{words}" for words in found.layout]
    for path, count, first in zip(
        (options.file, options.against), found.only, found.first_only, strict=True
    ):
        if count:
            more = ", ..." if count > len(first) else ""
            lines.append(f"examples\t{count} only in {path}: {', '.join(first)}{more}")
    for name, one in found.fields.items():
        by = "" if math.isnan(one.largest) else f" by up to {one.largest:g}"
        if one.beyond:
            lines.append(
                f"{name}\t{_differ(one.beyond)}{by}, first {'; '.join(one.first)}"
                + (
                    f"; {one.examples - one.beyond} within tolerances"
                    if one.examples > one.beyond
                    else ""
                )
            )
        else:
            lines.append(f"{name}\t{_differ(one.examples)}{by}, within tolerances")
    lines += [f"note\t{words}" for words in found.notes]
    order = "" if found.in_order else ", in another order"
    verdict = {
        "identical": "identical, byte for byte",
        "same": f"the same values{order}",
        "within tolerances": f"the same within tolerances{order}",
        "differs": f"not the same{order}",
    }[found.verdict]
    n, m = found.examples
    lines.append(f"{options.file} ({n} examples) and {options.against} ({m}): {verdict}")
    return lines
