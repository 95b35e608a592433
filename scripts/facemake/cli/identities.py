"""facemake identities: who is who in a finished run, by its embeddings."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemake.cli.arguments import add_models_dir
from facemake.cli.tables import aligned, as_csv
from facemake.counting import counted
from facemake.errors import FacemakeError
from facemake.hashes import private_folder
from facemake.models import use_models_dir
from facemake.runtime.atomic import replacing
from facemake.runtime.quiet import quiet_libraries

if TYPE_CHECKING:
    from facemake.people.looks import Looks, Maker, ShardTables
    from facemake.people.verification import Pairs, Point

_FOLDER = "identities"
_LAW = (
    "Embeddings are biometric data: what these commands do is what the law calls processing them "
    "to identify people (docs/privacy.md). Their output goes to a private folder."
)
_LABELS = (
    "who is who, a TSV: columns sample and person, and track and frame where a sample shows "
    "several people (default: the sample sheet)"
)


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "identities",
        help="find out who is who in a finished run: index, search, cluster, error rates",
        description=f"Find out who is who from the embeddings of a finished run. {_LAW}",
        epilog="examples: facemake identities index; facemake identities search anna.jpg; "
        "facemake identities cluster; facemake identities verify --labels people.tsv",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_index(actions)
    _add_search(actions)
    _add_cluster(actions)
    _add_verify(actions)


def _add_index(actions: Any) -> None:
    parser = actions.add_parser(
        "index",
        help="build the index that `search` uses",
        description="Write a FAISS index with one vector per track (the mean of its faces, "
        "weighted by quality; of pictures that stand alone, one per face) and a table of whose "
        "they are. Search is exact up to 4 million vectors of 128 numbers and approximate above "
        "that; index.json says which it is, and why.",
        epilog="example: facemake identities index --results results",
    )
    _add_results(parser)
    _add_index_folder(parser)
    parser.add_argument(
        "--frames", action="store_true", help="one vector per face of a chosen frame, not per track"
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--exact", action="store_true", help="exact search at any size")
    kinds.add_argument("--approximate", action="store_true", help="approximate search at any size")
    parser.add_argument("--json", action="store_true", help="print index.json")
    parser.set_defaults(function=_index)


def _add_search(actions: Any) -> None:
    parser = actions.add_parser(
        "search",
        help="find a person by one or more pictures",
        description="Embed the face in the pictures as the run embedded its own, and print the "
        "most similar ones. Several pictures of the same person make one better query. `same` is "
        "yes from --threshold on; without it, from the run's dataset.same_person, "
        "or else from the similarity published for its embedder.",
        epilog="examples: facemake identities search anna.jpg; facemake identities search "
        "party.jpg --face 2 --top 20 --out found.csv",
    )
    parser.add_argument("pictures", type=Path, nargs="+", metavar="PICTURE", help="of one person")
    parser.add_argument(
        "--face",
        type=int,
        action="append",
        default=[],
        metavar="N",
        help="which face to use of a picture with several (they are listed if this is missing); "
        "repeat it for each such picture, in order",
    )
    parser.add_argument(
        "--top", type=_count, default=10, metavar="K", help="how many results (default: 10)"
    )
    _add_threshold(parser)
    parser.add_argument(
        "--detector", metavar="NAME", help="the face detector (default: the run's own)"
    )
    add_models_dir(parser)
    _add_results(parser)
    _add_index_folder(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a table: .csv or .parquet")
    parser.set_defaults(function=_search)


def _add_cluster(actions: Any) -> None:
    parser = actions.add_parser(
        "cluster",
        help="group tracks into people",
        description="Group tracks by exact average linkage: two groups are one person if their "
        "faces are alike on average over all pairs. Tracks seen in the same frame are never one "
        "person. Write people.parquet: sample, track, frame (of pictures), person, similarity to "
        "the person's mean.",
        epilog="example: facemake identities cluster --threshold 0.93",
    )
    _add_results(parser)
    _add_threshold(parser)
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="where to write the table, .parquet or .csv (default: "
        f"{_FOLDER}/people.parquet in the results)",
    )
    parser.set_defaults(function=_cluster)


def _add_verify(actions: Any) -> None:
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
    _add_results(parser)
    parser.add_argument("--labels", type=Path, metavar="FILE", help=_LABELS)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help=f"where to write (default: {_FOLDER}/verification in the results)",
    )
    parser.set_defaults(function=_verify)


def _add_results(parser: Any) -> None:
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="the results of a run (default: results)",
    )


def _add_index_folder(parser: Any) -> None:
    parser.add_argument(
        "--index",
        type=Path,
        metavar="DIR",
        help=f"the folder of the index (default: {_FOLDER} in the results)",
    )


def _add_threshold(parser: Any) -> None:
    parser.add_argument(
        "--threshold",
        type=_similarity,
        metavar="S",
        help="cosine similarity from which two faces are one person (default: the run's "
        "dataset.same_person, else the embedder's own)",
    )


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _similarity(text: str) -> float:
    value = float(text)
    if not -1 < value <= 1:
        raise argparse.ArgumentTypeError("is a cosine: above -1, at most 1")
    return value


def _index(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.people.index import APPROXIMATE, EXACT, build
    from facemake.people.looks import read_looks
    from facemake.people.sheet import who_is_who

    looks = read_looks(_shards(options.results), each_face=options.frames)
    kind = EXACT if options.exact else APPROXIMATE if options.approximate else None
    of = "a face of a chosen frame" if options.frames else "a track; a face of a single picture"
    folder = options.index or options.results / _FOLDER
    document = build(looks, who_is_who(options.results), folder, kind, of)
    if options.json:
        print(json.dumps(document, indent=1, ensure_ascii=False))
        return 0
    samples = counted(len(looks.names), "sample")
    print(f"{counted(document['rows'], 'vector')} of {samples} in {folder}")
    print(f"search is {document['search']}: {document['why']} ({document['method']})")
    return 0


def _search(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.backends.detect import DETECTORS
    from facemake.people.index import open_index
    from facemake.people.looks import same_person
    from facemake.people.reference import recognizer_of, reference

    if options.detector is not None and options.detector not in DETECTORS:
        raise FacemakeError(
            f"there is no detector {options.detector}; there are {', '.join(DETECTORS)}"
        )
    _check_suffix(options.out)
    use_models_dir(options.models_dir)
    folder = options.index or options.results / _FOLDER
    index = open_index(folder)
    if options.index is None or (options.results / "embeddings").is_dir():
        _say_if_stale(index.changed(_shards(options.results)), folder)
    maker = index.maker
    threshold = options.threshold
    if threshold is None:
        threshold = same_person(options.results, maker)
    with quiet_libraries(), recognizer_of(maker, options.detector) as recognizer:
        asked = reference(options.pictures, options.face, recognizer, maker.flip)
    found = index.search(asked.vector, options.top)
    rows = [
        {
            "rank": rank,
            "similarity": row["similarity"],
            "same": _same(row["similarity"], threshold),
            **{name: row[name] for name in _FOUND},
        }
        for rank, row in enumerate(found, 1)
    ]
    if options.out is not None:
        _write_table(options.out, rows)
    if options.json:
        document = {
            "threshold": threshold,
            "search": index.document["search"],
            "pictures": [
                {"picture": str(path), "bbox": face.bbox.tolist(), "score": face.score}
                for path, face in zip(options.pictures, asked.faces, strict=True)
            ],
            "found": rows,
        }
        print(json.dumps(document, indent=1, ensure_ascii=False))
        return 0
    print(_aligned(rows))
    print(_of_threshold(maker, threshold, options.threshold is not None))
    if index.document["search"] != "exact":
        print(f"the search is {index.document['search']} ({index.document['method']})")
    return 0


_FOUND = ("sample", "track", "frame", "faces", "quality", "subject", "split")


def _same(similarity: float, threshold: float | None) -> str:
    if threshold is None:
        return "?"
    return "yes" if similarity >= threshold else "no"


def _of_threshold(maker: Maker, threshold: float | None, asked: bool) -> str:
    if threshold is None:
        return (
            f"from which similarity on faces are one person, nobody published for "
            f"{maker.models[0]['name']}: say it by --threshold or dataset.same_person (`facemake "
            "identities verify` measures it)"
        )
    if asked:
        return f"same: from {threshold:g} on"
    published = threshold == maker.same_person
    whence = f"published for {maker.embedder}" if published else "the run's dataset.same_person"
    return f"same: from {threshold:g} on, {whence}"


def _say_if_stale(changed: Sequence[str], folder: Path) -> None:
    if not changed:
        return
    named = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
    print(
        f"the index in {folder} is not of these results any more (tables that changed, came or "
        f"went: {named}): make it again by `facemake identities index`",
        file=sys.stderr,
    )


def _cluster(options: argparse.Namespace, rest: list[str]) -> int:
    import numpy as np

    from facemake.people.grouping import group, similarity_to_person
    from facemake.people.looks import read_looks, same_person
    from facemake.people.sheet import subjects, who_is_who

    _check_suffix(options.out)
    looks = read_looks(_shards(options.results))
    maker = _maker(looks, options.results)
    threshold = options.threshold
    if threshold is None:
        threshold = same_person(options.results, maker)
    if threshold is None:
        raise FacemakeError(_of_threshold(maker, None, False))
    path = options.out or _own_folder(options.results) / "people.parquet"
    person = group(looks.vectors, threshold, looks.together)
    names, splits = subjects(looks, who_is_who(options.results))
    alike = similarity_to_person(looks.vectors, person)
    rows = [
        {
            "sample": looks.names[looks.sample[row]],
            "track": int(looks.track[row]),
            "frame": int(looks.frame[row]) if looks.alone[row] else None,
            "person": int(person[row]),
            "similarity": float(alike[row]),
            "faces": int(looks.count[row]),
            "quality": float(looks.quality[row]),
            "subject": names[row],
            "split": splits[row],
        }
        for row in range(len(looks))
    ]
    _write_table(path, rows)
    sizes = np.bincount(person)
    document = {
        "faces": len(looks),
        "people": len(sizes),
        "seen_once": int((sizes == 1).sum()),
        "largest": int(sizes.max()),
        "threshold": threshold,
    }
    if options.json:
        print(json.dumps(document, indent=1))
        return 0
    print(
        f"{len(looks)} tracks and faces of single pictures are {len(sizes)} people, "
        f"{document['seen_once']} of them seen once; the most seen is in {document['largest']}"
    )
    print(_of_threshold(maker, threshold, options.threshold is not None))
    print(f"{path} has the table")
    return 0


def _verify(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.people import verification as verifying
    from facemake.people.looks import read_looks
    from facemake.people.sheet import labels_of_file, labels_of_subjects, who_is_who

    shards = _shards(options.results)
    looks = read_looks(shards)
    maker = _maker(looks, options.results)
    if options.labels is None:
        labels = labels_of_subjects(looks, who_is_who(options.results))
    else:
        labels = labels_of_file(looks, options.labels, shards)
    pairs = verifying.pairs_of(looks.vectors, labels)
    folder = options.out or _own_folder(options.results) / "verification"
    points = [verifying.equal_error(pairs)]
    points += [verifying.at_far(pairs, target) for target in verifying.TARGETS]
    if (own := maker.same_person) is not None:
        points.append(verifying.Point(f"{maker.embedder}'s own", own, *pairs.rates(own)))
    rows = verifying.curve(pairs)
    _write_table(folder / "roc.csv", rows)
    _write_table(folder / "thresholds.csv", [point.document for point in points])
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
    print(_aligned([_in_words(point) for point in points]))
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


def _shards(results: Path) -> list[ShardTables]:
    from facemake.people.looks import tables_of

    _say_how_far()
    if not results.is_dir():
        raise FacemakeError(
            f"there is no folder {results}: --results names the results folder of a finished run"
        )
    return tables_of(results)


def _say_how_far() -> None:
    """Lines now and then, of what takes more than ten seconds."""
    logger = logging.getLogger("facemake.people")
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
        logger.setLevel(logging.INFO)


def _own_folder(results: Path) -> Path:
    """Where these commands write unless they are told, readable by its user alone."""
    try:
        return private_folder(results / _FOLDER)
    except OSError as error:
        raise FacemakeError(
            f"the folder {results / _FOLDER} cannot be made ({error.strerror}): name another place "
            "by --out"
        ) from None


def _maker(looks: Looks, results: Path) -> Maker:
    if looks.maker is None or not len(looks):
        raise FacemakeError(f"no face of {results} has an embedding")
    return looks.maker


def _check_suffix(path: Path | None) -> None:
    if path is not None and path.suffix not in (".csv", ".parquet"):
        raise FacemakeError(f"{path} is to be a table: let its name end in .csv or .parquet")


def _write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """A table of rows, readable by its user alone: it says who is where."""
    try:
        with replacing(path, private=True) as beside:
            if path.suffix == ".parquet":
                import pyarrow as pa
                import pyarrow.parquet as pq

                pq.write_table(pa.Table.from_pylist(rows), beside, compression="zstd")
            else:
                beside.write_text(as_csv(rows), encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise FacemakeError(f"{path} cannot be written: {error.strerror or error}") from None


def _aligned(rows: list[dict[str, Any]]) -> str:
    """Rows as a table of text."""
    if not rows:
        return "nothing is found"
    return aligned([list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
