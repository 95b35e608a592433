"""Makes what a report is drawn from: the tables of a shard, a manifest, and reads the pages."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from facemake import h5, tables
from facemake.backends.aus import AU_COLUMNS
from facemake.provenance import Recipe
from facemake.samples import Sample, shard_text
from facemake.stages.report import report
from facemake.stages.report_pages import Sources, report_pages
from facemake.tables import SCHEMAS, TableWriter, coefficient_schema

REPORT = Recipe("report", None, {}, (), "c0de")
VOID = frozenset({"meta", "link", "img", "input", "br"})
HOSTILE = "<img src=x onerror=alert(1)> & \"quoted\" 'one' %41 ünï 顔"
LARGEST_PAGE = 1_500_000


class Page(HTMLParser):
    """What a browser would make of a page: its elements, its text, what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("script", "style"):
            self.scripts.append(data)
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag: str, kind: str = "") -> list[dict[str, str | None]]:
        """The attributes of the elements of a tag and class."""
        return (
            [a for t, a in self.elements if t == tag and kind in (a.get("class") or "").split(" ")]
            if kind
            else [a for t, a in self.elements if t == tag]
        )

    @property
    def loads(self) -> list[Any]:
        """What a browser would fetch to show the page."""
        found: list[Any] = [
            value
            for _, attributes in self.elements
            for name, value in attributes.items()
            if name in ("src", "srcset", "poster", "data", "xlink:href") and value
        ]
        found += [a["href"] or "" for a in self.all("link")]
        return found + re.findall(r"url\(([^)]*)\)|@import\s+(\S+)", "".join(self.scripts))


def metadata(stage: str, settings: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    made = Recipe(stage, None, settings or {}, (), "c0de")
    return {"recipe": made.to_dict(), "lineage": "0" * 64, "upstream": more}


class Shard:
    """A made shard: every table of its samples."""

    def __init__(self, folder: Path, name: str = "pack") -> None:
        self.folder, self.name = folder, name
        self.image_folders = "pictures"
        self.source = Path("/none")
        self.camera: dict[str, Any] = {"fov": 30.0}
        self.samples: list[Sample] = []
        self.probe: list[dict[str, Any]] = []
        self.rows: dict[str, dict[str, dict[str, Any]]] = {}
        self.scores: dict[str, list[float]] = {}
        self.pictures: dict[str, dict[int, bytes]] = {}

    def video(
        self,
        sample: str,
        times: np.ndarray,
        gap: np.ndarray | None = None,
        status: str = "lost",
        kind: str = "video",
        **columns: np.ndarray,
    ) -> None:
        """A sample whose face is there but in `gap`, looking straight unless `columns` say more."""
        n = len(times)
        gap = np.zeros(n, bool) if gap is None else gap
        words = np.where(gap, status, "ok").tolist()

        def some(values: Any) -> pa.Array:
            return pa.array(np.broadcast_to(np.float32(values), n), mask=gap)

        key = {"frame": np.arange(n), "track": np.zeros(n, np.int16), "status": words}
        clock = {"time": pa.array(times, mask=np.isnan(times))}
        box = {"x": some(40), "y": some(20), "w": some(30), "h": some(40), "score": some(0.9)}
        pose = {"rx": 0, "ry": 0, "rz": 0, "tx": 0, "ty": 0, "tz": 700, "error_px": 1, **columns}
        units = dict.fromkeys(AU_COLUMNS, 1)
        self.rows[sample] = {
            "detections": {**key, **clock, **box},
            "landmarks": {
                **key,
                **clock,
                "scheme": ["ibug68"] * n,
                "confidence": some(0.99),
                "points": [None if g else [50.0, 40.0] * 68 for g in gap.tolist()],
            },
            "fit": {**key, **{k: some(v) for k, v in pose.items()}},
            "aus": {**key, **{k: some(v) for k, v in units.items()}},
        }
        self._sample(sample, kind=kind, n_frames=n, width=160, height=90, rotation=0)

    def second_track(self, sample: str, first: int, last: int) -> None:
        """Give a sample a second face, which does as the first one does, from frame to frame."""
        for rows in self.rows[sample].values():
            plain = {
                k: v.to_pylist() if isinstance(v, pa.Array) else list(v) for k, v in rows.items()
            }
            keys = [(f, t) for f in range(len(plain["frame"])) for t in (0, 1)]
            keys = [(f, t) for f, t in keys if not t or first <= f <= last]
            rows |= {k: [v[f] for f, _ in keys] for k, v in plain.items()}
            rows["track"] = [t for _, t in keys]

    def broken(self, sample: str, status: str, reason: str) -> None:
        self._sample(sample, status=status, reason=reason)

    def _sample(self, sample: str, **probe: Any) -> None:
        self.samples.append(
            Sample(sample, self.source, subject=f"who {sample}", excluded="status" in probe)
        )
        self.probe.append({"sample": sample, "status": "ok", "reason": "", **probe})

    def write(self) -> Sources:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.plan.write_text(shard_text(self.samples), encoding="utf-8")
        with TableWriter(self.folder / "probe.parquet", SCHEMAS["probe"], metadata("probe")) as out:
            for row in self.probe:
                out.append(**row)
        aus = coefficient_schema(AU_COLUMNS, "")
        settings = {
            "detect": {"track": {"image_folders": self.image_folders}},
            "fit": self.camera,
        }
        for stage in ("detections", "landmarks", "fit", "aus"):
            made_by = "detect" if stage == "detections" else stage
            made = metadata(made_by, settings.get(made_by))
            path = self.folder / f"{stage}.parquet"
            with TableWriter(path, SCHEMAS.get(stage, aus), made) as out:
                for sample, rows in self.rows.items():
                    out.append_columns(sample, rows[stage])
        with h5.create(self.folder / "faces.h5") as file:
            h5.write_metadata(file, metadata("landmarks"))
            for sample, pictures in self.pictures.items():
                for frame, jpeg in pictures.items():
                    data = np.frombuffer(jpeg, np.uint8)
                    made = file.create_dataset(f"{sample}/contact/{frame:08d}", data=data)
                    made.attrs["scale"] = 0.5
        with h5.create(self.folder / "dataset.h5") as file:
            h5.write_metadata(file, metadata("dataset", {"min_quality": 0.5}))
            names = [name for name, scores in self.scores.items() for _ in scores]
            group = file.create_group("metadata")
            group.create_dataset("video_names", data=names, dtype=h5py.string_dtype())
            scores = [score for scores in self.scores.values() for score in scores]
            group.create_dataset("quality_scores", data=np.array(scores, np.float32))
        return Sources(
            self.folder / "probe.parquet",
            *(self.folder / f"{t}.parquet" for t in ("detections", "landmarks")),
            self.folder / "faces.h5",
            *(self.folder / f"{t}.parquet" for t in ("fit", "aus")),
            examples=self.folder / "dataset.h5",
        )

    @property
    def plan(self) -> Path:
        return self.folder / f"{self.name}.tsv"

    def pages(self, sources: Sources | None = None, to: str = "pages") -> dict[str, str]:
        """Sample -> its page."""
        folder = self.folder / to / self.name
        report_pages(self.plan, sources or self.write(), folder, REPORT)
        return {p.stem: p.read_text(encoding="utf-8") for p in sorted(folder.glob("*.html"))}


def seconds(n: int, fps: float = 25.0) -> np.ndarray:
    return np.arange(n) / fps


def picture(width: int = 80, height: int = 45) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(out, "JPEG")
    return out.getvalue()


def counts(sample: str, **more: Any) -> dict[str, Any]:
    row = {field.name: 0 for field in SCHEMAS["manifest"]}
    named = {"sample": sample, "subject": f"who {sample}", "split": "train", "kind": "video"}
    return {**row, **named, "status": "ok", "reason": "", **more}


def write_manifest(path: Path, rows: list[dict[str, Any]], **upstream: Any) -> Path:
    document = json.dumps(metadata("manifest", **upstream))
    schema = SCHEMAS["manifest"].with_metadata({tables.METADATA_KEY: document})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    return path


def index(
    folder: Path,
    rows: list[dict[str, Any]],
    pages: list[Path],
    people: Path | None = None,
    logs: Path | None = None,
    **upstream: Any,
) -> str:
    manifest = write_manifest(folder / "manifest.parquet", rows, **upstream)
    output = folder / "report" / "index.html"
    report(manifest, [], pages, [manifest], output, REPORT, people=people, logs=logs)
    return output.read_text(encoding="utf-8")
