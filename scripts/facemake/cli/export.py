"""facemake export: samples of a finished run in the file formats of other systems."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from facemake.errors import FacemakeError
from facemake.exports import BIDS_TABLES, PACKED, TABLES, bids_tables
from facemake.samples import WORK


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "export",
        help="write samples of a finished run in the file formats of other systems",
        description="Write what was measured in the file formats of other systems, as far as the "
        "quantities are the same: those that are not have no file, no column or an empty one. "
        "`facemake run export` does this for all samples, in the formats of export.formats, into "
        "the folder `export` of the results.",
    )
    formats = parser.add_subparsers(required=True, metavar="FORMAT")
    _add_packed(
        formats,
        "openface",
        "OpenFace's CSV: 714 columns, one row per frame and face",
        "Write SAMPLE.csv and SAMPLE.csv.json, which describes each column, the sample's status "
        "and what made it. What was not measured is empty; a failed frame has success 0.",
        "facemake export openface anna_01 anna_02 --output for_openface",
    )
    _add_packed(
        formats,
        "pyfeat",
        "py-feat's Fex CSV, for its read_feat()",
        "Write SAMPLE.csv and SAMPLE.csv.json, which describes each column. Angles are in "
        "radians, action units are intensities divided by 5; emotions are empty.",
        "facemake export pyfeat --all",
    )
    _add_3di(formats)
    for form, what in (
        ("csv", "any tables of the results as CSV, one column per number"),
        ("parquet", "any tables of the results as Parquet, one file per sample"),
    ):
        _add_packed(
            formats,
            form,
            what,
            f"Write TABLE/SAMPLE.{form} for each table that --tables names.",
            f"facemake export {form} anna_01 --tables smooth aus",
        )
    _add_bids(formats)
    _add_rocrate(formats)


def _add_packed(formats: Any, form: str, what: str, description: str, example: str) -> None:
    parser = formats.add_parser(
        form, help=what, description=description, epilog=f"example: {example}"
    )
    _add_common(parser, form)
    if form == "openface":
        parser.add_argument(
            "--models-dir",
            type=Path,
            metavar="DIR",
            help="the folder of the fit's face model, if it is not the built-in one",
        )
    if not PACKED[form]:
        parser.add_argument(
            *("--tables", "-t"),
            nargs="+",
            choices=tuple(TABLES),
            default=["fit", "aus"],
            metavar="TABLE",
            help=f"which of {', '.join(TABLES)} (default: fit aus)",
        )
    parser.set_defaults(function=_export_packed, form=form)


def _add_3di(formats: Any) -> None:
    parser = formats.add_parser(
        "3di",
        help="3DI's raw files: rectangles, landmarks, pose, canonical landmarks",
        description="Write the files of track 0: SAMPLE_rects.3DI, _landmarks.3DI, _pose.3DI, "
        "_pose_smooth.3DI, _landmarks_canonicalized.3DI, one row per frame, each with a sidecar "
        "that names facemake. Expression coefficients are written only if the face model is "
        "bfm2009.",
        epilog="example: facemake export 3di anna_01 anna_02 --output for_bitbox",
    )
    _add_common(parser, "3di")
    parser.set_defaults(function=_export_3di)


def _add_rocrate(formats: Any) -> None:
    parser = formats.add_parser(
        "rocrate",
        help="a finished run as a Workflow Run RO-Crate",
        description="Write a folder (or OUT.zip) that describes what the run did, with which "
        "settings, models and code, to which recordings (by their SHA-256), with tables of the "
        "results. It contains the names of samples; pictures, embeddings and the shape of faces "
        "only if --with asks for them.",
        epilog="example: facemake export rocrate smiles-crate --author 'A. Author' "
        "--licence https://creativecommons.org/licenses/by/4.0/",
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="the folder or OUT.zip to write")
    _add_directory(parser)
    parser.add_argument(
        "--with",
        nargs="*",
        dest="contents",
        metavar="FOLDER",
        help="folders of the results whose files go into the crate (default: probe smooth "
        "expressions aus); files of the others are listed by their SHA-256",
    )
    parser.add_argument("--name", default="", help="name of the study")
    parser.add_argument("--author", default="", help="who ran it (default: nobody is named)")
    parser.add_argument(
        "--orcid", default="", metavar="0000-0000-0000-0000", help="the author's ORCID iD"
    )
    parser.add_argument(
        "--licence", default="", help="licence of the data: an address, or in words"
    )
    parser.set_defaults(function=_export_rocrate)


def _say(line: str) -> None:
    """How far it is, for who looks."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr)


def _add_bids(formats: Any) -> None:
    parser = formats.add_parser(
        "bids",
        help="all samples in a BIDS-like layout, one folder per person",
        description="Write sub-PERSON/beh/sub-PERSON_task-RECORDING_acq-TABLE_beh.tsv with "
        "sidecars for units and versions, participants.tsv and dataset_description.json. Names are "
        "reduced to letters and digits; OUT/code/names.tsv has the original ones.",
        epilog="example: facemake export bids smiles-bids --tables aus fit",
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="the folder to write")
    _add_directory(parser)
    parser.add_argument(
        *("--tables", "-t"),
        nargs="+",
        choices=BIDS_TABLES,
        metavar="TABLE",
        help=f"which of {', '.join(BIDS_TABLES)} (default: all that the run has)",
    )
    parser.add_argument(
        "--task",
        default="",
        help="one task name for all recordings; a person's recordings are then numbered as runs "
        "(default: each recording is a task)",
    )
    parser.add_argument("--name", default="", help="name of the data set")
    parser.add_argument("--licence", default="", help="licence of the data")
    parser.set_defaults(function=_export_bids)


def _export_bids(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.plan import load
    from facemake.samples import plan_file, read_shard
    from facemake.stages.export_bids import export_bids

    plan = load(options.directory / WORK)
    tables = options.tables or bids_tables(plan.recipes)
    shards = {s: read_shard(plan_file(s, options.directory / WORK)) for s in plan.shards}
    results = options.directory / plan.config["outdir"]
    said = {k: getattr(options, k) for k in ("name", "licence", "task")}
    try:
        print(export_bids(shards, results, _place(options.output), tables, say=_say, **said))
    except OSError as error:
        raise _failed(error, options.output) from None
    return 0


def _place(output: Path) -> Path:
    """Where the folder or file is that is going to be replaced as a whole.

    Raises:
        FacemakeError: the command runs in it.
    """
    place = Path(os.path.realpath(output))
    if Path.cwd().is_relative_to(place):
        raise FacemakeError(f"{output} is the folder that you are in: name another one")
    return place


def _failed(error: OSError, output: Path) -> FacemakeError:
    if isinstance(error, BrokenPipeError):  # whose central cure, a good end, would hide the gap
        return FacemakeError(
            f"what read this list of files (| head?) has ended: not all are in {output}; run it "
            "again without"
        )
    path = error.filename or output
    return FacemakeError(f"{path} cannot be read or written: {error.strerror or error}")


def _add_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-d", "--directory", type=Path, default=Path(), help="the run's folder (default: this one)"
    )


def _export_rocrate(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.crate.finished import FOLDERS, SHARED, FinishedRun
    from facemake.crate.workflow import About
    from facemake.engines import stages
    from facemake.plan import load
    from facemake.settings import without_words
    from facemake.stages.export_crate import export_crate

    contents = SHARED if options.contents is None else tuple(options.contents)
    if unknown := [name for name in contents if name not in FOLDERS]:
        raise FacemakeError(f"--with {unknown[0]}: there are {', '.join(FOLDERS)}")
    if options.orcid and not options.author:
        raise FacemakeError("--orcid needs --author")
    if options.orcid and not _is_orcid(options.orcid):
        raise FacemakeError(
            f"--orcid {options.orcid} is none: they are like 0000-0002-1825-0097, and the last "
            "digit checks the others"
        )
    plan = load(options.directory / WORK)
    run = FinishedRun(
        options.directory / plan.config["outdir"],
        plan.shards,
        [stage for stage in stages(plan.config) if plan.enabled(stage)],
        without_words(plan.config),
    )
    said = {k: getattr(options, k) for k in ("name", "author", "orcid", "licence")}
    about = About(**{k: v for k, v in said.items() if v})
    try:
        print(export_crate(run, _place(options.output), about, contents, _say))
    except OSError as error:
        raise _failed(error, options.output) from None
    return 0


def _is_orcid(text: str) -> bool:
    """By its form, and its last digit, which checks the others (ISO 7064, MOD 11-2)."""
    if not re.fullmatch(r"(\d{4}-){3}\d{3}[\dX]", text, re.ASCII):
        return False
    total = 0
    for digit in text.replace("-", "")[:-1]:
        total = (total + int(digit)) * 2
    return text[-1] == "0123456789X"[(12 - total % 11) % 11]


def _add_common(parser: argparse.ArgumentParser, form: str) -> None:
    parser.add_argument("samples", nargs="*", metavar="SAMPLE", help="a sample of the run")
    parser.add_argument("--all", action="store_true", help="export all samples of the run")
    _add_directory(parser)
    parser.add_argument(
        "--results",
        type=Path,
        metavar="DIR",
        help="the run's results (default: those in its folder)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help=f"where to write (default: export/{form} in the results)",
    )


def _export_packed(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.models import use_models_dir
    from facemake.stages.exporting import Tables, format_of, write_files

    use_models_dir(getattr(options, "models_dir", None))
    form, results = str(options.form), _results(options)
    names = PACKED[form] or tuple(dict.fromkeys(options.tables))
    writer_of = format_of(form)
    settings = {"tables": list(names)}

    def write(shard: str, samples: list[str], folder: Path) -> None:
        paths = _tables(results, shard, ("probe", *(n for n in names if n != "probe")))
        with Tables.open(paths) as tables:
            writer = writer_of(tables, settings)
            for sample in samples:
                for path in write_files(writer, sample, folder):
                    print(path)

    return _export(options, form, write)


def _export_3di(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.stages.export_3di import export_sample

    results = _results(options)

    def write(shard: str, samples: list[str], folder: Path) -> None:
        for sample in samples:
            if (raw := results / "3di" / sample).is_dir():
                raise FacemakeError(
                    f"{results} is a run with 3DI, whose own files are in {raw}: they need no "
                    "export"
                )
        smoothed = (results / "smooth" / f"{shard}.parquet").is_file()
        tables = _tables(results, shard, _OF_3DI if smoothed else _OF_3DI[:-1])
        for sample in samples:
            for path in export_sample(sample, tables, folder):
                print(path)

    return _export(options, "3di", write)


_OF_3DI = ("probe", "detections", "landmarks", "fit", "smooth")


def _results(options: argparse.Namespace) -> Path:
    """The results that are exported: `--results`, or those of the run in `--directory`."""
    if options.results:
        return Path(options.results)
    try:
        plan = json.loads((options.directory / WORK / "plan.json").read_text(encoding="utf-8"))
        return Path(options.directory / plan["config"]["outdir"])
    except (OSError, ValueError, KeyError, TypeError):
        return Path(options.directory / "results")


def _export(
    options: argparse.Namespace, form: str, write: Callable[[str, list[str], Path], None]
) -> int:
    """Find the samples' shards, and write each shard's."""
    results = _results(options)
    folder = options.output or results / "export" / form
    if options.all and options.samples:
        raise FacemakeError(f"--all means all samples, and {options.samples[0]} is named beside it")
    if not options.all and not options.samples:
        raise FacemakeError("name the samples, or say --all")
    wanted = None if options.all else options.samples
    for shard, samples in shards_of(results, wanted, getattr(options, "tables", ())).items():
        try:
            write(shard, samples, folder)
        except OSError as error:
            raise _failed(error, folder) from None
    return 0


def _tables(results: Path, shard: str, names: tuple[str, ...]) -> dict[str, Path]:
    """The tables of a shard.

    Raises:
        FacemakeError: a stage did not run.
    """
    paths = {name: results / name / f"{shard}.parquet" for name in names}
    for name, path in paths.items():
        if not path.is_file():
            cure = (
                "finish the run first"
                if any((results / name).glob("[!.]*.parquet")) or name in _ALWAYS
                else f"this run's config does not make {name}"
            )
            raise FacemakeError(f"{path} is missing: {cure}")
    return paths


_ALWAYS = ("probe", "detections", "landmarks", "fit", "identity", "expressions", "aus")


def shards_of(
    results: Path, samples: list[str] | None, tables_named: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Shard -> its samples, of those that are asked for, or of all.

    Args:
        results: of a run.
        samples: by name; None: all.
        tables_named: if any, what is no sample may be a table that is misspelt.

    Raises:
        FacemakeError: there is no such run, or no such sample in it.
    """
    from facemake.tables import TableReader

    tables = sorted(p for p in (results / "probe").glob("*.parquet") if p.name[0] != ".")
    if not tables:
        raise FacemakeError(
            f"there is no table in {results / 'probe'}: -d names the folder of a finished run, or "
            "--results its results"
        )
    found: dict[str, list[str]] = {}
    known: list[str] = []
    left = None if samples is None else dict.fromkeys(samples)
    for path in sorted(tables, key=lambda p: p.stem not in (left or ())):
        if left is not None and not left:
            break
        with TableReader(path) as reader:
            known += reader.samples
            for name in reader.samples:
                if left is None or name in left:
                    found.setdefault(path.stem, []).append(name)
                    if left is not None:
                        del left[name]
    if left:
        name = next(iter(left))
        near = difflib.get_close_matches(name, [*known, *(TABLES if tables_named else ())], 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise FacemakeError(f"{results} has no sample {name}{meant}")
    return found
