"""facemake identities verify: error rates, where it is known who is who."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemake.cli.arguments import add_results
from facemake.cli.people import (
    FOLDER,
    aligned_text,
    embedded_shards,
    maker_of,
    own_folder,
    write_table,
)
from facemake.runtime.atomic import replacing

if TYPE_CHECKING:
    from facemake.people.looks import Maker
    from facemake.people.verification import Pairs, Point

_LABELS = (
    "who is who, a TSV: columns sample and person, and track and frame where a sample shows "
    "several people (default: the sample sheet)"
)


def add_to(actions: Any) -> None:
    """Add the action to the parser of `facemake identities`."""
    parser = actions.add_parser(
        "verify",
        help="measure error rates by similarity, where it is known who is who",
        description="Compare all pairs of labelled tracks and report how often two people pass for "
        "one (FAR) and one person for two (FRR) at each threshold, the point where both are equal "
        "(EER), and the share of same-person pairs accepted (TAR) at FAR 0.1 to 0.0001, as far as "
        "there are enough pairs. Write roc.csv, roc.png and thresholds.csv. Without --labels, the "
        "main face of a sample belongs to the `subject` named in the sample sheet.",
        epilog="example: facemake identities verify --labels people.tsv",
    )
    add_results(parser)
    parser.add_argument("--labels", type=Path, metavar="FILE", help=_LABELS)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help=f"where to write (default: {FOLDER}/verification in the results)",
    )
    parser.set_defaults(function=_verify)


def _verify(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.people import verification as verifying
    from facemake.people.looks import read_looks
    from facemake.people.sheet import labels_of_file, labels_of_subjects, who_is_who

    shards = embedded_shards(options.results)
    looks = read_looks(shards)
    maker = maker_of(looks, options.results)
    if options.labels is None:
        labels = labels_of_subjects(looks, who_is_who(options.results))
    else:
        labels = labels_of_file(looks, options.labels, shards)
    pairs = verifying.pairs_of(looks.vectors, labels)
    folder = options.out or own_folder(options.results) / "verification"
    points = [verifying.equal_error(pairs)]
    points += [verifying.at_far(pairs, target) for target in verifying.TARGETS]
    if (own := maker.same_person) is not None:
        points.append(verifying.Point(f"{maker.embedder}'s own", own, *pairs.rates(own)))
    rows = verifying.curve(pairs)
    write_table(folder / "roc.csv", rows)
    write_table(folder / "thresholds.csv", [point.document for point in points])
    _draw(folder / "roc.png", rows, pairs, maker)
    document = {
        "faces": pairs.faces,
        "people": pairs.people,
        "not_labelled": len(looks) - pairs.faces,
        "pairs_of_one_person": len(pairs.same),
        "pairs_of_two_people": len(pairs.other),
        "drawn": pairs.drawn,
        "points": [point.document for point in points],
    }
    if options.json:
        print(json.dumps(document, indent=1, ensure_ascii=False))
        return 0
    print(
        f"{pairs.faces} labelled faces of {pairs.people} people ({document['not_labelled']} more "
        f"have no label): {len(pairs.same):,} pairs of one person, {len(pairs.other):,} of two"
        + (", drawn of all there are" if pairs.drawn else "")
    )
    print(aligned_text([_in_words(point) for point in points]))
    print(
        "threshold: cosine similarity; FAR: two people pass for one; FRR: one person for two; "
        "TAR: 1 - FRR"
    )
    print(f"{folder} has roc.csv, roc.png and thresholds.csv")
    return 0


def _in_words(point: Point) -> dict[str, Any]:
    row: dict[str, Any] = {"at": point.what}
    if point.threshold is None or point.far is None or point.frr is None:
        return {**row, "threshold": point.why, "FAR": "", "FRR": "", "TAR": ""}
    return {
        **row,
        "threshold": f"{point.threshold:.4f}",
        "FAR": f"{point.far:.5f}",
        "FRR": f"{point.frr:.5f}",
        "TAR": f"{1 - point.frr:.5f}",
    }


def _draw(path: Path, rows: list[dict[str, float]], pairs: Pairs, maker: Maker) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    far, tar = ([row[name] for row in rows] for name in ("far", "tar"))
    left.plot(far, tar, color="tab:blue")
    left.set_xscale("symlog", linthresh=1 / len(pairs.other))
    left.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="false accept rate", ylabel="true accept rate")
    values = [row["threshold"] for row in rows]
    # up to a value as at it: no pair lies between two values
    right.step(values, far, where="pre", label="FAR: two people pass for one", color="tab:red")
    missed = [1 - v for v in tar]
    right.step(values, missed, where="pre", label="FRR: one person for two", color="tab:blue")
    if maker.same_person is not None:
        right.axvline(maker.same_person, color="grey", linestyle=":", label="published threshold")
    right.set(xlabel="cosine similarity", ylabel="rate", ylim=(0, 1.01))
    right.legend(fontsize="small")
    figure.suptitle(
        f"{maker.embedder}: {len(pairs.same):,} pairs of one person, {len(pairs.other):,} of two"
    )
    with replacing(path, private=True) as beside:
        figure.savefig(beside, format="png", dpi=120)
