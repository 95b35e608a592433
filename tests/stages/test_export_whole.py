"""A whole run as an RO-Crate, and in a layout like that of BIDS."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from facemake import settings
from facemake.cli import main
from facemake.crate.finished import FinishedRun
from facemake.crate.graph import ni
from facemake.crate.workflow import About
from facemake.errors import FacemakeError
from facemake.exports import CRATE, set_aside
from facemake.provenance import file_sha256
from facemake.samples import Sample, read_shard
from facemake.stages.export_bids import export_bids, labels, named
from facemake.stages.export_crate import export_crate
from makestudy import Study, inside

STAGES = ("probe", "detect", "landmarks", "fit", "smooth", "expressions", "aus", "dataset")
CONFIG = settings.without_words(settings.filled({}))
LOG = "2026-03-01 12:00:{:02d},500 INFO {:.1f} s, 3.0 s of CPU, at most 150 MB\n"
NOON = time.mktime((2026, 3, 1, 12, 0, 0, 0, 0, -1))


@pytest.fixture(scope="module")
def run(portraits: Study, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """The study, with the logs of its jobs: each worked for 2.5 s, and wrote within them.

    The log of `aus` is of a job that made something else, as where its tables came from the cache.
    """
    results = tmp_path_factory.mktemp("finished") / "results"
    shutil.copytree(portraits.folder / "results", results)
    (shard,) = portraits.plan.shards
    folders = {"detect": "detections"}
    for number, stage in enumerate(STAGES[:-1]):
        log = results / "logs" / stage / f"{shard}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(LOG.format(10 + number, 2.5))
        table = results / folders.get(stage, stage) / f"{shard}.parquet"
        written = NOON + number + (3600 if stage == "aus" else 9)
        os.utime(table, (written, written))
    return FinishedRun(results, portraits.plan.shards, STAGES, CONFIG)


def graph(crate: Path) -> dict[str, dict]:
    entities = json.loads((crate / CRATE).read_text())["@graph"]
    found = {one["@id"]: one for one in entities}
    assert len(found) == len(entities)
    return found


def references(value: object) -> list[str]:
    if isinstance(value, list):
        return [one for part in value for one in references(part)]
    if isinstance(value, dict):
        return [value["@id"]] if value.keys() == {"@id"} else references(list(value.values()))
    return []


def listed(value: object) -> list:
    return value if isinstance(value, list) else [value]


@pytest.fixture(scope="module")
def crate(run: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    about = About(author="A. Author", orcid="0000-0002-1825-0097", licence="https://example.org/l")
    return export_crate(run, tmp_path_factory.mktemp("crates") / "crate", about)


def test_what_a_crate_names_is_in_it(crate: Path):
    """As RO-Crate 1.1 and the Workflow Run profiles ask; roc-validator needs a network."""
    found = graph(crate)
    spec = ("https://w3id.org/ro/crate/1.1", "https://w3id.org/workflowhub/workflow-ro-crate/1.0")
    for one in found.values():
        assert one["@type"]
        for name in references([v for k, v in one.items() if k != "@id"]):
            assert name in found or name in spec, f"{one['@id']} names {name}"
    root = found["./"]
    for key in ("name", "description", "datePublished", "license"):
        assert root[key]
    assert found[CRATE]["about"] == {"@id": "./"}
    assert "ComputationalWorkflow" in found[root["mainEntity"]["@id"]]["@type"]
    assert any(name.endswith("/provenance/0.5") for name in references(root["conformsTo"]))
    files = {p.relative_to(crate).as_posix() for p in crate.rglob("*") if p.is_file()}
    inside = [k for k, v in found.items() if "File" in v["@type"]]
    assert set(inside) == files - {CRATE}
    for name in inside:
        if "sha256" in found[name]:
            assert file_sha256(crate / name) == found[name]["sha256"]
    reachable, pending = set(), ["./"]
    while pending:
        for name in references(found[pending.pop()].get("hasPart", [])):
            if name not in reachable:
                reachable.add(name)
                pending.append(name)
    assert set(inside) <= reachable


def test_each_job_is_an_action_with_its_times_and_models(crate: Path, run: FinishedRun):
    found = graph(crate)
    (shard,) = run.shards
    steps = [one for one in found.values() if one["@type"] == "HowToStep"]
    stages = [step["name"] for step in sorted(steps, key=lambda s: int(s["position"]))]
    assert stages == list(STAGES[:-1])
    action = found[f"#action-fit-{shard}"]
    start, end = (pd.Timestamp(action[key]) for key in ("startTime", "endTime"))
    assert (end - start).total_seconds() in (2, 3) and end.timestamp() == NOON + 13
    assert pd.Timestamp(found["#run"]["startTime"]) < start
    made = {found[name]["name"] for name in references(action["result"])}
    assert made == {f"fit/{shard}.parquet", f"identity/{shard}.parquet"}
    given = [found[name] for name in references(action["object"])]
    assert [one["name"] for one in given if "/" in one["name"]] == [
        *(f"probe/{shard}.parquet", f"landmarks/{shard}.parquet")
    ]
    smooth = found[f"#action-smooth-{shard}"]
    assert smooth["result"] == {"@id": f"results/smooth/{shard}.parquet"}
    assert found["#tool-fit"]["softwareVersion"] and found["#tool-fit"]["identifier"]
    given = [found[name] for name in references(found[f"#action-detect-{shard}"]["object"])]
    (model,) = [one for one in given if one.get("description") == "model"]
    assert model["license"] and model["citation"] and model["@id"] == ni(model["sha256"])
    (setting,) = [one for one in given if one["@type"] == "PropertyValue"]
    assert json.loads(setting["value"])["min_score"] > 0
    assert {"@id": f"#recordings-{shard}"} in found[f"#action-detect-{shard}"]["object"]
    control = found["#control-fit"]
    assert control["object"] == {"@id": f"#action-fit-{shard}"}
    assert found[control["instrument"]["@id"]]["workExample"] == {"@id": "#tool-fit"}


def test_a_log_of_something_else_dates_nothing(crate: Path, run: FinishedRun):
    action = graph(crate)[f"#action-aus-{run.shards[0]}"]
    assert action["result"] and "startTime" not in action and "endTime" not in action
    assert action["description"] == "from the cache, or its log is not there"


def test_overlays_of_the_report_are_of_the_run_and_others_are_not(run: FinishedRun, tmp_path: Path):
    (shard,) = run.shards
    results = tmp_path / "results"
    shutil.copytree(run.results, results)
    (results / "overlay" / shard).mkdir(parents=True)
    (results / "overlay" / shard / "clip.mp4").write_bytes(b"of clip")
    alone = replace(run, results=results, stages=(*STAGES, "overlay"))
    assert f"#action-overlay-{shard}" not in graph(export_crate(alone, tmp_path / "a", About()))
    config = {**CONFIG, "overlay": {**CONFIG["overlay"], "in_report": True, "draw": ["aus"]}}
    crate = export_crate(replace(alone, config=config), tmp_path / "b", About())
    found = graph(crate)
    action = found[f"#action-overlay-{shard}"]
    assert found[action["result"]["@id"]]["name"] == f"overlay/{shard}/clip.mp4"
    given = [found[name]["name"] for name in references(action["object"])]
    assert [name for name in given if "/" in name] == [
        *(f"{table}/{shard}.parquet" for table in ("probe", "detections", "aus"))
    ]
    assert {"@id": f"#recordings-{shard}"} in action["object"]
    assert not (crate / "results" / "overlay").exists()


def test_files_of_the_same_bytes_are_each_what_its_own_job_made(run: FinishedRun, tmp_path: Path):
    """Of two recordings without a face, say: one entity for both would be the result of both."""
    (shard,) = run.shards
    results = tmp_path / "results"
    shutil.copytree(run.results, results)
    for path in list(results.glob(f"*/{shard}.*")):
        shutil.copyfile(path, path.with_name(f"again{path.suffix}"))
    twice = replace(run, results=results, shards=(shard, "again"))
    for contents in ((), ("fit", "identity")):
        found = graph(export_crate(twice, tmp_path / "crate", About(), contents))
        for name in twice.shards:
            made = [found[one] for one in references(found[f"#action-fit-{name}"]["result"])]
            assert [one["name"] for one in made] == [
                f"fit/{name}.parquet",
                f"identity/{name}.parquet",
            ]


def test_what_shows_faces_is_named_and_left_out(crate: Path, run: FinishedRun, portraits: Study):
    found = graph(crate)
    assert sorted(p.name for p in (crate / "results").iterdir()) == [
        *("aus", "expressions", "probe", "smooth")
    ]
    faces = run.results / "faces" / f"{run.shards[0]}.h5"
    outside = found[f"#results/faces/{run.shards[0]}.h5"]
    assert outside["name"] == f"faces/{run.shards[0]}.h5" and outside["@type"] == "CreativeWork"
    assert outside["identifier"] == ni(file_sha256(faces))
    recordings = [found[name] for name in references(found["#recordings"]["hasPart"])]
    assert {one["name"] for one in recordings} == {"clip", "collins", "hopper", "blank", "nonsense"}
    samples = {s.sample: s.sha256 for s in read_shard(portraits.plan_file(run.shards[0]))}
    (clip,) = [one for one in recordings if one["name"] == "clip"]
    assert clip["@id"] == ni(samples["clip"]) and clip["identifier"] == "clip"
    said = "".join(p.read_text() for p in crate.glob("*.*"))
    assert str(portraits.folder) not in said and "moving_portrait" not in said
    assert "/tmp" not in said and "/home" not in said


def test_the_name_of_a_content():
    """RFC 6920, section 8.1: the SHA-256 of Hello World!"""
    sha256 = "7f83b1657ff1fc53b92dc18148a1d65dfc2d4b1fa3d677284addd200126d9069"
    assert ni(sha256) == "ni:///sha-256;f4OxZX_x_FO5LcGBSKHWXfwtSx-j1ncoSt3SABJtkGk"


def test_no_word_of_a_user_is_in_the_configuration():
    given = {
        "samples": "/data/anna.tsv",
        "models_dir": "/home/anna/models",
        "detect": {"backend": "scrfd", "model": "anna.onnx", "min_score": 0.5},
        "containers": {"core": "/images/core.sif"},
        "export": {"formats": ["csv"], "tables": ["aus"]},
    }
    kept = settings.without_words(settings.filled(given))
    text = json.dumps(kept)
    assert "anna" not in text and "sif" not in text and "facemake" not in text
    assert kept["detect"] == {
        **{"backend": "scrfd", "min_score": 0.5, "start_score": None, "tile": None}
    }
    assert kept["export"]["tables"] == ["aus"]


def test_a_crate_is_the_same_bytes_and_replaces_its_own_alone(run: FinishedRun, tmp_path: Path):
    one, other = tmp_path / "one.zip", tmp_path / "two.zip"
    said: list[str] = []
    for path in (one, other, one):
        export_crate(run, path, About(), ("aus",), said.append)
    assert said[:2] == ["hashing probe: 1 file", "hashing detect: 1 file"]
    assert one.read_bytes() == other.read_bytes()
    with zipfile.ZipFile(one) as archive:
        names = archive.namelist()
    assert CRATE in names and f"results/aus/{run.shards[0]}.parquet" in names
    assert not any(name.startswith("results/fit") for name in names)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(FacemakeError, match="is no crate that facemake wrote"):
        export_crate(run, tmp_path / "mine", About())
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_run_that_is_not_finished_is_no_crate(run: FinishedRun, tmp_path: Path):
    early = FinishedRun(run.results, run.shards, (*STAGES, "embed"), run.config)
    with pytest.raises(FacemakeError, match=r"embeddings/.* is missing: finish the run first"):
        export_crate(early, tmp_path / "crate", About())
    assert not list(tmp_path.iterdir())


def test_a_crate_and_a_layout_of_samples_that_went_are_set_aside(
    crate: Path, bids: Path, portraits: Study, tmp_path: Path
):
    results, (shard,) = tmp_path / "results", portraits.plan.shards
    people = {s.sample: s.subject for s in read_shard(portraits.plan_file(shard))}
    exported = results / "export"
    shutil.copytree(crate, exported / "rocrate")
    shutil.copytree(bids, exported / "bids")
    assert set_aside(results, {shard}, {**people, "new": "new"}) == []
    orphans = results / ".orphans" / "export"
    without = {k: v for k, v in people.items() if k != "hopper"}
    assert set_aside(results, {shard}, without) == [orphans / "bids", orphans / "rocrate"]
    assert list(exported.iterdir()) == [] and (orphans / "bids" / "sub-hopper").is_dir()
    # who it is was corrected: a layout has the old name, a crate has none
    shutil.copytree(crate, exported / "rocrate")
    shutil.copytree(bids, exported / "bids")
    renamed = {**people, "hopper": "P01"}
    assert set_aside(results, {shard}, renamed) == [orphans / "bids"]
    # one that does not say of whom it is; what facemake did not write
    shutil.copytree(bids, exported / "bids")
    (exported / "bids" / "code" / "names.tsv").unlink()
    assert set_aside(results, {shard}, people) == [orphans / "bids"]
    for name in ("bids/sub-hopper/notes.txt", "rocrate/notes.txt"):
        (exported / name).parent.mkdir(parents=True, exist_ok=True)
        (exported / name).touch()
    (exported / "bids" / "dataset_description.json").write_text('{"Name": "mine"}')
    assert set_aside(results, {shard}, without) == [orphans / "rocrate"]
    assert (exported / "bids" / "sub-hopper" / "notes.txt").is_file()
    (exported / ".bids.part" / "sub-hopper").mkdir(parents=True)
    assert set_aside(results, {shard}, without) == [orphans / ".bids.part"]
    # a link that was set aside is not gone through by what comes after it
    shutil.rmtree(exported / "bids")
    shutil.copytree(bids, tmp_path / "elsewhere")
    before = sorted((tmp_path / "elsewhere").iterdir())
    (exported / "bids").symlink_to(tmp_path / "elsewhere")
    assert set_aside(results, {shard}, without) == [orphans / "bids"]
    shutil.copytree(bids, exported / "bids")
    assert set_aside(results, {shard}, without) == [orphans / "bids"]
    assert (orphans / "bids").is_dir() and not (orphans / "bids").is_symlink()
    assert sorted((tmp_path / "elsewhere").iterdir()) == before


def test_names_with_quotes_and_tabs_are_kept_apart(portraits: Study, tmp_path: Path):
    (shard,) = portraits.plan.shards
    members = read_shard(portraits.plan_file(shard))
    who = ['"anna', "o\tt\n\nto", "a  b", "日本", "e"]
    renamed = [replace(s, subject=name) for s, name in zip(members, who, strict=True)]
    results = tmp_path / "results"
    export_bids(
        {shard: renamed}, portraits.folder / "results", results / "export" / "bids", ["aus"]
    )
    names = pd.read_csv(results / "export/bids/code/names.tsv", sep="\t", keep_default_na=False)
    assert names["subject"].tolist() == ['"anna', "o t to", "a  b", "日本", "e"]
    assert set_aside(results, {shard}, {s.sample: s.subject for s in renamed}) == []


NAMES = ["anna", "Anna", "anna_01", "anna-01", "anna.01", "é", "e", "日本", "01", "a" * 150]


def test_labels_are_letters_and_digits_and_no_two_are_one():
    made = labels(NAMES)
    assert all(re.fullmatch("[A-Za-z0-9]+", label) for label in made.values())
    assert len({label.lower() for label in made.values()}) == len(NAMES)
    assert made["01"] == "01"
    assert made["anna"].startswith("anna") and len(made["anna"]) == 10
    assert labels(reversed(NAMES)) == made
    long = {f"{'a' * 150}-{k}": f"{'a' * 60}" for k in range(3)}
    for name, label in labels(long).items():
        assert label.startswith(long[name]) and len(label) == 66
    samples = [Sample(name, Path(), f"{name}-who") for name in long]
    assert max(len(Path(one.file("expressions")).name) for one in named(samples)) < 240


def test_recordings_of_a_task_are_counted_by_person():
    samples = [Sample(f"s{k}", Path(), subject) for k, subject in enumerate("abab")]
    found = [one.file("aus") for one in named(samples, "smiles")]
    assert found[2:] == [f"sub-{s}/beh/sub-{s}_task-smiles_acq-aus_run-02_beh" for s in "ab"]
    with pytest.raises(FacemakeError, match="letters and digits"):
        named(samples, "big smiles")


@pytest.fixture(scope="module")
def bids(portraits: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    shard = portraits.plan.shards[0]
    members = read_shard(portraits.plan_file(shard))
    output = tmp_path_factory.mktemp("bids") / "study"
    return export_bids({shard: members}, portraits.folder / "results", output, ["fit", "aus"])


def test_tables_of_bids_say_what_the_tables_say(bids: Path, portraits: Study):
    people = pd.read_csv(bids / "participants.tsv", sep="\t")
    assert people["participant_id"].tolist() == [
        *("sub-blank", "sub-hopper", "sub-nonsense", "sub-one")
    ]
    assert people["recordings"].tolist() == [1, 1, 1, 2]
    stem = bids / "sub-one" / "beh" / "sub-one_task-clip_acq-fit_beh"
    read = pd.read_csv(f"{stem}.tsv", sep="\t", na_values="n/a")
    shard = portraits.plan.shards[0]
    for name in ("fit", "landmarks"):
        table = pd.read_parquet(portraits.table(name, shard))
        table = table[table["sample"] == "clip"]
        if name == "landmarks":
            np.testing.assert_array_equal(read["time"], table["time"])
        else:
            np.testing.assert_array_equal(read["ry"].astype(np.float32), table["ry"])
            canonical = read.filter(regex="^canonical_").to_numpy(np.float32)
            np.testing.assert_array_equal(canonical, np.stack(table["canonical"]))
    said = json.loads(Path(f"{stem}.json").read_text())
    assert set(read.columns) <= said.keys()
    assert said["tx"]["Units"] == "mm" and said["time"]["Units"] == "s"
    assert said["facemake"]["stages"]["fit"]["version"]
    assert str(portraits.folder) not in json.dumps(said)


def test_every_file_of_bids_has_the_same_columns_and_a_status(bids: Path):
    files = sorted(bids.glob("sub-*/beh/*_acq-fit_beh.tsv"))
    assert len(files) == 5
    assert len({path.read_text().partition("\n")[0] for path in files}) == 1
    names = pd.read_csv(bids / "code" / "names.tsv", sep="\t", keep_default_na=False)
    row = names.set_index("sample").loc["nonsense"]
    assert row["status"] == "unreadable" and row["reason"] != "n/a"
    blank = (bids / "sub-blank" / "beh" / "sub-blank_task-blank_acq-aus_beh.tsv").read_text()
    assert "n/a" in blank.splitlines()[1] and blank.splitlines()[1].endswith("no_face")
    description = json.loads((bids / "dataset_description.json").read_text())
    assert {"Name", "BIDSVersion", "GeneratedBy"} <= description.keys()
    for path in (p.relative_to(bids).as_posix() for p in bids.rglob("*") if p.is_file()):
        assert re.fullmatch(
            r"README|dataset_description\.json|participants\.(tsv|json)|code/names\.tsv|"
            r"sub-([a-zA-Z0-9]+)/beh/sub-\2_task-[a-zA-Z0-9]+_acq-[a-z]+_beh\.(tsv|json)",
            path,
        ), path


def test_the_commands(portraits: Study, tmp_path: Path, capsys):
    here = ("-d", str(portraits.folder))
    assert main(["export", "bids", str(tmp_path / "b"), *here, "-t", "aus", "--task", "rest"]) == 0
    assert len(list(tmp_path.glob("b/sub-one/beh/*_run-02_beh.tsv"))) == 1
    again = ["export", "bids", str(tmp_path / "b"), *here, "-t", "aus"]
    assert main(again) == 0  # its own is replaced
    assert not list(tmp_path.glob("b/sub-one/beh/*_run-02_beh.tsv"))
    capsys.readouterr()
    assert main(["export", "bids", str(portraits.folder), *here, "-t", "aus"]) == 2
    assert "is no data set that facemake wrote" in capsys.readouterr().err
    assert main(["export", "rocrate", str(tmp_path / "c"), *here]) == 2
    assert "is missing: finish the run first" in capsys.readouterr().err
    author = ("--author", "A. Author", "--orcid", "1825-0097")
    assert main(["export", "rocrate", str(tmp_path / "c"), *here, *author]) == 2
    assert "is none: they are like" in capsys.readouterr().err
    author = ("--author", "A. Author", "--orcid", "0000-0002-1825-0079")  # two digits swapped
    assert main(["export", "rocrate", str(tmp_path / "c"), *here, *author]) == 2
    assert "is none: they are like" in capsys.readouterr().err
    assert main(["export", "rocrate", str(tmp_path / "c"), *here, "--with", "videos"]) == 2
    assert "--with videos: there are probe, " in capsys.readouterr().err
    assert main(["export", "rocrate", str(tmp_path / "c"), "-d", str(tmp_path)]) == 2
    assert "start the workflow in this folder first" in capsys.readouterr().err


@pytest.mark.parametrize("place", [".", "here", "..", "../link"])
def test_the_folder_that_one_is_in_is_not_replaced(portraits: Study, tmp_path: Path, place, capsys):
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("here")
    where = place if place != "here" else str(tmp_path / "here")
    with inside(tmp_path / "here"):
        for form in (("bids", "-t", "aus"), ("rocrate",)):
            command = ["export", form[0], where, "-d", str(portraits.folder), *form[1:]]
            assert main(command) == 2
            assert "is the folder that you are in" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["here", "link"]


def test_a_link_leads_to_the_folder_that_is_replaced(portraits: Study, tmp_path: Path, capsys):
    (tmp_path / "archive").mkdir()
    (tmp_path / "link").symlink_to("archive")
    command = ["export", "bids", str(tmp_path / "link"), "-d", str(portraits.folder), "-t", "aus"]
    for task in ("one", "two"):
        assert main([*command, "--task", task]) == 0
    assert (tmp_path / "link").is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["archive", "link"]
    found = [p.name for p in (tmp_path / "archive").glob("sub-hopper/beh/*.tsv")]
    assert found == ["sub-hopper_task-two_acq-aus_run-01_beh.tsv"]
