"""facemake export: samples of a finished run in the file formats of other systems."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from facemake.errors import FacemakeError


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "export",
        help="write samples of a finished run in the file formats of other systems",
        description="Writes what facemake's own engine measured in other systems' file formats, "
        "where the quantity is the same: what is not has no file and no column. `snakemake export` "
        "does it for all samples, into the run's folder `export`.",
    )
    formats = parser.add_subparsers(required=True, metavar="FORMAT")
    _add_3di(formats)


def _add_3di(formats: Any) -> None:
    parser = formats.add_parser(
        "3di",
        help="3DI's raw files: rectangles, landmarks, pose, canonical landmarks",
        description="Files of track 0: SAMPLE_rects.3DI, _landmarks.3DI, _pose.3DI, "
        "_pose_smooth.3DI, _landmarks_canonicalized.3DI, a row a frame, each with a sidecar that "
        "names facemake. Expression coefficients only where the face model is bfm2009.",
        epilog="example: facemake export 3di anna_01 anna_02 --output for_bitbox",
    )
    parser.add_argument("samples", nargs="+", metavar="SAMPLE")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), metavar="DIR", help="a run's (results)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where to write (the results' folder export/3di)",
    )
    parser.set_defaults(function=_export_3di)


def _export_3di(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.stages.export_3di import export_sample

    results: Path = options.results
    folder = options.output or results / "export" / "3di"
    shards = _shards(results, options.samples)
    for sample in shards:
        if (raw := results / "3di" / sample).is_dir():
            raise FacemakeError(
                f"{results} is a run with 3DI, whose own files are in {raw}: they need no export"
            )
    for sample, shard in shards.items():
        tables = {name: results / name / f"{shard}.parquet" for name in _TABLES}
        if not tables["smooth"].is_file():
            del tables["smooth"]
        missing = [path for path in tables.values() if not path.is_file()]
        if missing:
            raise FacemakeError(f"{missing[0]} is missing: finish the run first")
        try:
            for path in export_sample(sample, tables, folder):
                print(path)
        except OSError as error:
            raise FacemakeError(f"{folder} cannot be written to: {error.strerror}") from None
    return 0


_TABLES = ("probe", "detections", "landmarks", "fit", "smooth")


def _shards(results: Path, samples: list[str]) -> dict[str, str]:
    """Sample -> shard, of the samples that are asked for.

    Raises:
        FacemakeError: there is no such run, or no such sample in it.
    """
    from facemake.tables import TableReader

    tables = sorted(p for p in (results / "probe").glob("*.parquet") if p.name[0] != ".")
    if not tables:
        raise FacemakeError(
            f"there is no table in {results / 'probe'}: --results names the results folder of a "
            "finished run"
        )
    found: dict[str, str] = {}
    for path in sorted(tables, key=lambda p: p.stem not in samples):
        if all(sample in found for sample in samples):
            break
        with TableReader(path) as reader:
            found |= {name: path.stem for name in reader.samples if name in samples}
    missing = [sample for sample in samples if sample not in found]
    if missing:
        raise FacemakeError(f"{results} has no sample {missing[0]}")
    return {sample: found[sample] for sample in dict.fromkeys(samples)}
