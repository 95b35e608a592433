"""facemake identities: who is who in a finished run, by its embeddings."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemake.cli import identities_verify
from facemake.cli.arguments import add_models_dir, add_results, count
from facemake.cli.people import (
    FOLDER,
    aligned_text,
    check_suffix,
    embedded_shards,
    maker_of,
    own_folder,
    write_table,
)
from facemake.counting import counted
from facemake.errors import FacemakeError
from facemake.models import use_models_dir
from facemake.runtime.quiet import quiet_libraries

if TYPE_CHECKING:
    from facemake.people.looks import Maker

_LAW = (
    "Embeddings are biometric data: what these commands do is what the law calls processing them "
    "to identify people (docs/privacy.md). Their output goes to a private folder."
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
    identities_verify.add_to(actions)


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
    add_results(parser)
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
        "--top", type=count, default=10, metavar="K", help="how many results (default: 10)"
    )
    _add_threshold(parser)
    parser.add_argument(
        "--detector", metavar="NAME", help="the face detector (default: the run's own)"
    )
    add_models_dir(parser)
    add_results(parser)
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
    add_results(parser)
    _add_threshold(parser)
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="where to write the table, .parquet or .csv (default: "
        f"{FOLDER}/people.parquet in the results)",
    )
    parser.set_defaults(function=_cluster)


def _add_index_folder(parser: Any) -> None:
    parser.add_argument(
        "--index",
        type=Path,
        metavar="DIR",
        help=f"the folder of the index (default: {FOLDER} in the results)",
    )


def _add_threshold(parser: Any) -> None:
    parser.add_argument(
        "--threshold",
        type=_similarity,
        metavar="S",
        help="cosine similarity from which two faces are one person (default: the run's "
        "dataset.same_person, else the embedder's own)",
    )


def _similarity(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -1 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no cosine: above -1, at most 1")
    return value


def _index(options: argparse.Namespace, rest: list[str]) -> int:
    from facemake.people.index import APPROXIMATE, EXACT, build
    from facemake.people.looks import read_looks
    from facemake.people.sheet import who_is_who

    looks = read_looks(embedded_shards(options.results), each_face=options.frames)
    kind = EXACT if options.exact else APPROXIMATE if options.approximate else None
    of = "a face of a chosen frame" if options.frames else "a track; a face of a single picture"
    folder = options.index or options.results / FOLDER
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
    check_suffix(options.out)
    use_models_dir(options.models_dir)
    folder = options.index or options.results / FOLDER
    index = open_index(folder)
    if options.index is None or (options.results / "embeddings").is_dir():
        _say_if_stale(index.changed(embedded_shards(options.results)), folder)
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
        write_table(options.out, rows)
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
    print(aligned_text(rows))
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

    check_suffix(options.out)
    looks = read_looks(embedded_shards(options.results))
    maker = maker_of(looks, options.results)
    threshold = options.threshold
    if threshold is None:
        threshold = same_person(options.results, maker)
    if threshold is None:
        raise FacemakeError(_of_threshold(maker, None, False))
    path = options.out or own_folder(options.results) / "people.parquet"
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
    write_table(path, rows)
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
