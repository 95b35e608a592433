"""Which disk is full."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from facemake.runtime import disks
from facemake.runtime.atomic import replacing, replacing_folder
from facemake.watch.state import KILLED, killed


@pytest.mark.parametrize("whole", [replacing, replacing_folder])
def test_an_error_of_a_full_disk_says_which(tmp_path: Path, whole):
    for number, text in ((errno.ENOSPC, "No space left on device"), (errno.EACCES, "denied")):
        with pytest.raises(OSError) as raised, whole(tmp_path / "new" / "x"):
            raise OSError(number, text)
        said = disks.blamed(raised.value)
        assert said.endswith(f" (with {tmp_path / 'new' / 'x'})") == (number == errno.ENOSPC)
        assert bool(said) == (number == errno.ENOSPC)
        if said:
            assert Path(said.partition(" (with ")[0]).is_mount()


def test_a_job_that_left_no_note_may_have_had_no_room_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert disks.full([tmp_path, tmp_path / "not" / "there"]) == ""
    assert killed(tmp_path, "results") == KILLED
    monkeypatch.setattr(disks, "_NO_ROOM", 1 << 62)
    assert disks.full([tmp_path]).endswith(f" (with {tmp_path})")
    said = killed(tmp_path, "results")
    assert said.startswith("ended without a word; the disk /") and str(tmp_path / "results") in said
    assert said.endswith("is full: make room there and run again")
