"""The table of what is left out of the training set: read, refused, planned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facemake.errors import ConfigError
from facemake.exclusions import Exclusion, Exclusions, excludes, read
from makestudy import make_study

KNOWN = {"anna", "berta"}


def table(folder: Path, text: str) -> Path:
    path = folder / "exclude.tsv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_is_read_as_people_write_it(tmp_path: Path):
    text = "\ufeffsample\tfirst\tlast\treason\n# a note\n\nanna\t\t\tblurred\nberta\t3\t\t\n"
    found = read(table(tmp_path, text), KNOWN)
    assert found == [
        Exclusion("anna", None, None, "blurred"),
        Exclusion("berta", 3, None, "excluded by dataset.exclude"),
    ]
    assert [row.whole for row in found] == [True, False]
    assert found[1].words == "frames 3 to the end excluded: excluded by dataset.exclude"
    assert read(table(tmp_path, "sample\n"), KNOWN) == []
    assert read(table(tmp_path, "sample\nberta\n"), KNOWN)[0].whole


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path):
    text = "sample\tfirst\tlast\nana\t\t\nanna\t5\t3\nanna\tx\t\nberta\t-1\t\nanna\t1\t2\tz\n"
    with pytest.raises(ConfigError) as error:
        read(table(tmp_path, text), KNOWN)
    said = str(error.value).splitlines()[1:]
    assert [line.split(":")[1] for line in said] == ["2", "3", "4", "5", "6"]
    assert "did you mean anna?" in said[0] and "last 3 is before first 5" in said[1]
    many = "".join(f"ana{i}\n" for i in range(9))
    with pytest.raises(ConfigError) as error:
        read(table(tmp_path, f"sample\n{many}"), KNOWN)
    assert str(error.value).count("is no sample") == 9
    assert str(error.value).count("did you mean anna?") == 5  # each takes long where there are many
    for text in ("", "sampel\treason\n", "sample\tsample\n", "reason\n", "sample,first\nanna,\n"):
        with pytest.raises(ConfigError, match="column"):
            read(table(tmp_path, text), KNOWN)
    with pytest.raises(ConfigError, match="facemake qc"):
        read(tmp_path / "none.tsv", KNOWN)


def test_which_frames():
    rows = Exclusions([("b", 2, 3, ""), ("a", None, 1, ""), ("b", 6, None, "")])
    assert excludes(rows.of("b"), np.arange(8)).nonzero()[0].tolist() == [2, 3, 6, 7]
    assert excludes(rows.of("a"), np.arange(4)).tolist() == [True, True, False, False]
    assert not excludes(rows.of("c"), np.arange(4)).any()
    again = Exclusions([("b", 6, None, ""), ("b", 2, 3, ""), ("a", None, 1, "")])
    assert again.digest == rows.digest != Exclusions([("b", 2, 3, "")]).digest


def test_each_shard_has_its_own_in_the_plan(bundled: Path, tmp_path: Path):
    (tmp_path / "study").mkdir()
    table(tmp_path / "study", "sample\tfirst\nanna\t\nberta\t4\n")
    sheet = [
        {"sample": name, "path": str(bundled / "portraits")} for name in ("anna", "berta", "carla")
    ]
    plan = make_study(tmp_path / "study", sheet, dataset={"exclude": "exclude.tsv"}).plan
    assert plan.excluded == {
        "anna": [["anna", None, None, "excluded by dataset.exclude"]],
        "berta": [["berta", 4, None, "excluded by dataset.exclude"]],
    }
    assert plan.left_out == ["anna"]
    assert "exclude" not in plan.recipes["dataset"]["settings"]  # other shards stay as they are
