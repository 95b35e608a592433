"""The index of a large dataset: what it costs to write, and how long a reader waits for it.

The tables are made up: 25 s of video a sample, a person in about ten samples, a log a stage. Videos
of one length are the worst case for finding copies, since each is compared with each.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tests import browser

from benchmarks.measure import cost
from facemake.backends.aus import AU_COLUMNS
from facemake.provenance import Recipe
from facemake.report import summaries, timecourse
from facemake.report.alike import SIDE
from facemake.stages.report import report
from facemake.tables import METADATA_KEY, SCHEMAS

FRAMES = 600
STAGES = ("probe", "detect", "landmarks", "fit", "smooth", "expressions", "aus", "embed", "dataset")
_ROWS_OF_TABLE = "document.querySelectorAll('#table-samples tbody tr').length"


def run(folder: Path, count: int, runs: int) -> None:
    """Print what writing the index costs, and what a browser needs to show it and to answer.

    Args:
        folder: scratch.
        count: samples.
        runs: of opening the page.
    """
    made = folder / "report-of-many"
    _make(made, count)
    print(f"The index of {count:,} samples of {FRAMES} frames:")
    whole = cost("-m", "benchmarks.report", str(made), folder=folder)
    page = made / "report" / "index.html"
    print(
        f"  written in {whole.cpu:.1f} s of CPU, at most {whole.peak / 1e6:.0f} MB; the page has "
        f"{page.stat().st_size / 1e6:.1f} MB"
    )
    executable = browser.find()
    if executable is None:
        print(f"  no browser is installed ({', '.join(browser.NAMES)}): not opened")
        return
    with browser.Browser(executable, folder / "profile") as one:
        opened: list[float] = []
        answers: dict[str, list[float]] = {}
        for _ in range(runs):
            tab = one.open(page)
            began = time.monotonic()
            assert tab.run(_ROWS_OF_TABLE) == 100
            opened.append(tab.seconds + time.monotonic() - began)
            for what, milliseconds in tab.run(_ANSWERS):
                answers.setdefault(what, []).append(milliseconds)
        version = one.call("Browser.getVersion")["product"]
    print(f"  {version}: opened in {median(opened):.2f} s (longest of {runs}: {max(opened):.2f} s)")
    for what, took in answers.items():
        print(f"  {what}: laid out in {median(took):.0f} ms (longest: {max(took):.0f} ms)")


# a click or a letter, and the layout that follows it
_ANSWERS = """
(() => {
  const section = document.getElementById('table-samples');
  const heads = [...section.querySelectorAll('thead button')];
  const words = section.querySelector('[name=words]');
  const timed = (what, does) => {
    const began = performance.now();
    does();
    section.getBoundingClientRect();
    return [what, performance.now() - began];
  };
  const type = (text) => () => {
    words.value = text;
    words.dispatchEvent(new Event('input', { bubbles: true }));
  };
  return [
    timed('sorted by name, the first time', () => heads[0].click()),
    timed('sorted by name, downwards', () => heads[0].click()),
    timed('sorted by share of frames with a face', () => heads[5].click()),
    timed('searched for one letter', type('s')),
    timed('searched for three words', type('sample who 77')),
    timed('searched for nothing any more', type('')),
  ];
})()
"""


def _make(folder: Path, count: int) -> None:
    rng = np.random.default_rng(1)
    scene = rng.integers(30, 220, (1, SIDE * SIDE))
    names = [f"sample {i:06d}" for i in range(count)]
    subjects = [f"subject {i // 10:05d}" for i in range(count)]
    splits = [("train", "train", "train", "val", "test")[i // 10 % 5] for i in range(count)]
    spreads = {
        name: timecourse.spread_of(name)
        for name in (*timecourse.SPREADS, *(c for c in AU_COLUMNS if c.endswith("_r")))
    }
    seen = rng.integers(FRAMES // 2, FRAMES, count).tolist()
    for i, name in enumerate(names):
        pages = folder / "report" / "samples" / name
        pages.mkdir(parents=True)
        (pages / f"{name}.html").touch()
        moves = rng.normal(scale=8, size=(12, SIDE * SIDE))
        small = np.clip(scene + moves, 0, 255).astype(np.uint8)
        about = summaries.Summary(
            sample=name,
            kind="video",
            sha256=f"{i:064x}",
            duration=25.0,
            frames=FRAMES,
            statuses={"ok": seen[i], "lost": FRAMES - seen[i]},
            measured=dict.fromkeys(summaries.MEASURES, seen[i]),
            values=dict.fromkeys(spreads, (seen[i], 1.0)),
            present={c[:-2]: (seen[i], 0.1) for c in AU_COLUMNS if c.endswith("_c")},
            spreads={
                key: summaries.trimmed(rng.binomial(seen[i], np.full(one[2] // 2, 2 / one[2])))
                for key, one in spreads.items()
                if one
            },
            small=base64.b64encode(small.tobytes()).decode(),
        )
        summaries.write(pages, [about])
    for stage in STAGES:
        (folder / "logs" / stage).mkdir(parents=True)
        for name in names:
            line = "2030-01-01 00:00:00,000 INFO 9.0 s, 8.5 s of CPU, at most 200 MB\n"
            (folder / "logs" / stage / f"{name}.log").write_text(line)
    zeros = {field.name: [0] * count for field in SCHEMAS["manifest"]}
    rows = {
        **zeros,
        **{"sample": names, "subject": subjects, "split": splits, "kind": ["video"] * count},
        **{"n_frames": [FRAMES] * count, "n_face": seen, "n_kept": seen, "n_considered": seen},
        **{"status": ["ok"] * count, "reason": [""] * count},
    }
    _table(folder / "manifest.parquet", "manifest", rows)
    rows = {
        **{"sample": names, "subject": subjects, "split": splits},
        **{"track": [0] * count, "frame": [None] * count, "faces": [8] * count},
        **{"person": [i // 10 for i in range(count)], "similarity": [0.95] * count},
        "quality": [0.9] * count,
    }
    _table(folder / "people.parquet", "people", rows)


def _table(path: Path, stage: str, rows: dict[str, list[object]]) -> None:
    made = Recipe(stage, None, {"same_person": 0.9}, (), "0" * 64).to_dict()
    document = json.dumps({"recipe": made, "lineage": "0" * 64, "upstream": {}})
    schema = SCHEMAS[stage].with_metadata({METADATA_KEY: document})
    pq.write_table(pa.table(rows, schema=schema), path)


if __name__ == "__main__":
    where = Path(sys.argv[1])
    report(
        manifest=where / "manifest.parquet",
        probe=[],
        pages=sorted((where / "report" / "samples").iterdir()),
        made=[where / "manifest.parquet"],
        output=where / "report" / "index.html",
        recipe=Recipe("report", None, {}, (), "0" * 64),
        people=where / "people.parquet",
        logs=where / "logs",
    )
