"""facemake dataset: info, merge, validate, and validate --against."""

from __future__ import annotations

import ast
import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from facemake.cli import main
from facemake.data import TrainingDataWriter
from facemake.dataset import files, layout
from facemake.dataset.layout import AU_NAMES
from makemedia import public_folder, unprivileged
from maketrainingset import PDM, examples, write, write_as_pyfaceau

pytestmark = pytest.mark.xdist_group("training_sets")

N = 12


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a set of each kind; not to be changed."""
    folder = tmp_path_factory.mktemp("sets")
    write(folder / "ours.h5", N)
    write_as_pyfaceau(folder / "theirs.h5", N)
    write(folder / "empty.h5", 0)
    (folder / "text.h5").write_text("no HDF5 at all")
    (folder / "link.h5").symlink_to("pruned.h5")
    (folder / "cut.h5").write_bytes((folder / "ours.h5").read_bytes()[:-50_000])
    with h5py.File(folder / "foreign.h5", "w") as file:
        file["x"] = np.zeros(3)
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the command in a folder of its own: exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> tuple[int, str]:
        code = main(["dataset", *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out + said.err

    return command


Run = Callable[..., tuple[int, str]]


def spoiled(source: Path, path: Path, change: Callable[[h5py.File], None]) -> Path:
    shutil.copy(source, path)
    with h5py.File(path, "a") as file:
        change(file)
    return path


# --- info -----------------------------------------------------------------------------------------


def test_info_is_what_numpy_says(made: Path, run: Run):
    code, said = run("info", made / "ours.h5", "--json")
    (found,) = json.loads(said)
    assert code == 0 and found["examples"] == N and found["videos"] == found["subjects"] == 2
    half = {"examples": N // 2, "videos": 1, "subjects": 1}
    assert found["splits"] == {"train": half, "val": half}
    rows = examples(N)
    for field, name in (("images", "images"), ("hog_features",) * 2, ("landmarks",) * 2):
        about, values = found["fields"][field], rows[name].astype(np.float64)
        assert about["mean"] == pytest.approx(values.mean(), rel=1e-6)
        assert about["std"] == pytest.approx(values.std(), rel=1e-6)
        assert (about["min"], about["max"]) == (values.min(), values.max())
    red = rows["images"][..., 0]
    assert found["fields"]["images"]["of"]["red"]["mean"] == pytest.approx(red.mean())
    aus = rows["au_intensities"]
    for i, name in enumerate(AU_NAMES):
        assert found["aus"][name]["present"] == pytest.approx((aus[:, i] >= 1).mean())
        by = found["aus"][name]["present_by_split"]
        assert by["val"] == pytest.approx((aus[N // 2 :, i] >= 1).mean())
        of = found["fields"]["au_intensities"]["of"][name]
        assert of["std"] == pytest.approx(aus[:, i].std(), rel=1e-6)
    scores = rows["quality_scores"]
    assert found["quality"]["median"] == pytest.approx(float(np.median(scores)))
    assert found["pdm"] == PDM and found["made"]["stage"] == "training_data_writer"


def test_info_reads_pieces_and_missing_values(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
):
    aus = examples(N)["au_intensities"]
    aus[::2, 3] = np.nan
    path = write(tmp_path / "a.h5", N, au_intensities=aus)
    whole = json.loads(run("info", path, "--json")[1])
    monkeypatch.setattr(files, "_BYTES_AT_ONCE", 40_000)  # a picture at a time
    pieces = json.loads(run("info", path, "--json")[1])
    about = whole[0]["fields"]["au_intensities"]
    assert about["missing"] == N // 2 and whole[0]["aus"][AU_NAMES[3]]["known"] == N // 2
    assert about["of"][AU_NAMES[3]]["mean"] == pytest.approx(np.nanmean(aus[:, 3]), rel=1e-6)
    for name, one in whole[0]["fields"].items():
        for figure in ("missing", "mean", "std", "min", "max"):
            assert pieces[0]["fields"][name][figure] == pytest.approx(one[figure], rel=1e-9)


def test_info_for_people(made: Path, run: Run):
    code, said = run("info", made / "ours.h5", made / "theirs.h5", made / "empty.h5")
    assert code == 0
    assert "12 examples of 2 recordings and 2 known people" in said
    assert "train: 6 examples, 1 recording," in said and "AU45_r" in said
    assert "made by: not facemake" in said and "facemake 0" in said
    assert "0 examples of 0 recordings" in said
    assert "images                   not read" in run("info", "--quick", made / "ours.h5")[1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("text.h5", "cannot be read as HDF5"),
        ("cut.h5", "cannot be read as HDF5"),
        ("foreign.h5", "is no training set"),
        ("gone.h5", "is not there"),
        ("link.h5", "is a link to pruned.h5, which is not there"),
        (".", "is a folder"),
    ],
)
def test_what_is_no_training_set_is_said(made: Path, run: Run, name: str, said: str):
    code, words = run("info", made / name)
    assert code == 2 and said in words and str(made / name) in words
    code, words = run("merge", "out.h5", made / "ours.h5", made / name)
    assert code == 2 and said in words and not Path("out.h5").exists()
    code, words = run("validate", made / name)
    assert code == (2 if name in ("gone.h5", "link.h5", ".") else 1) and said in words


def test_what_may_not_be_read_is_said(made: Path, run: Run, monkeypatch: pytest.MonkeyPatch):
    with public_folder() as folder, monkeypatch.context() as patch:
        shutil.copy(made / "ours.h5", folder)
        locked = folder / "locked.h5"
        locked.touch(mode=0)
        folder.chmod(0o777)  # what must not be written could be
        patch.chdir(folder)
        asked = (["info", locked], ["merge", "out.h5", "ours.h5", locked], ["validate", locked])
        said = ast.literal_eval(unprivileged(lambda: [run(*words) for words in asked]))
        assert not (folder / "out.h5").exists()
    assert [code for code, _ in said] == [2, 2, 2]
    assert all(f"{locked}" in words and "may not be read" in words for _, words in said)


def test_a_file_that_does_not_say_whose_its_examples_are(made: Path, tmp_path: Path, run: Run):
    def nameless(file: h5py.File) -> None:
        del file["metadata/video_names"], file["metadata/frame_indices"], file["metadata/track"]

    path = spoiled(made / "theirs.h5", tmp_path / "nameless.h5", lambda file: file.pop("metadata"))
    assert f"{N} examples" in run("info", path)[1]
    code, said = run("validate", path)
    assert code == 1 and "row 0;" in said and "repeated" not in said
    assert Path("nameless_worst.png").is_file()
    code, said = run("merge", "out.h5", "--drop-repeated", path, path)
    assert code == 0 and f"{2 * N} examples of 2 files" in said and "show a face" not in said
    same = spoiled(made / "ours.h5", tmp_path / "same.h5", nameless)
    code, said = run("validate", same, "--against", made / "ours.h5")
    assert code == 1 and "only" in said and "has metadata/video_names" in said


def test_a_file_of_other_pictures_is_looked_at_as_far_as_it_goes(tmp_path: Path, run: Run):
    with h5py.File("large.h5", "w") as file:
        file["images"], file["landmarks"] = np.zeros((3, 224, 224, 3), "u1"), np.zeros((3, 68, 2))
    code, said = run("info", "large.h5")
    assert code == 2 and "images is of type uint8 and shape (3, 224, 224, 3), not uint8" in said
    with h5py.File("large.h5", "a") as file:
        file["bboxes"] = np.zeros((3, 4), "f4")
    code, said = run("info", "large.h5")
    assert code == 0 and "not uint8 ('n', 112, 112, 3)" in said
    assert run("validate", "large.h5")[0] == 1


# --- merge ----------------------------------------------------------------------------------------


def test_merged_examples_are_those_of_the_files_in_order(
    made: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
):
    other = write(tmp_path / "other.h5", 8, seed=1, video_names=["c.mp4"] * 8)
    monkeypatch.setattr(files, "_BYTES_AT_ONCE", 100_000)
    code, said = run("merge", "out.h5", made / "ours.h5", made / "empty.h5", other)
    assert code == 0 and "out.h5: 20 examples of 3 files" in said
    with h5py.File("out.h5") as out, h5py.File(made / "ours.h5") as a, h5py.File(other) as b:
        assert layout.length(out) == 20 and out.attrs["pdm"] == PDM
        for field in layout.FIELDS:
            both = np.concatenate([a[field.name][:], b[field.name][:]])
            np.testing.assert_array_equal(out[field.name][:], both)
        assert json.loads(out.attrs["facemake"])["recipe"]["stage"] == "join_training_sets"
    before = Path("out.h5").read_bytes()
    assert run("merge", "out.h5", made / "ours.h5")[0] == 2
    assert Path("out.h5").read_bytes() == before
    assert run("merge", "--force", "out.h5", "out.h5", other)[0] == 2
    run("merge", "--force", "out.h5", made / "ours.h5", made / "empty.h5", other)
    assert Path("out.h5").read_bytes() == before


def test_any_number_of_files_is_merged_whatever_may_be_open(made: Path, run: Run):
    run("merge", "out.h5", made / "ours.h5")  # what is imported is open before
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(os.listdir("/proc/self/fd")) + 8
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        code, said = run("merge", "--force", "out.h5", *[made / "empty.h5"] * 20, made / "ours.h5")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert code == 0 and f"{N} examples of 21 files" in said


def test_a_file_without_examples_goes_with_any_face_model(made: Path, tmp_path: Path, run: Run):
    nothing = write(tmp_path / "nothing.h5", 0, pdm=None)
    assert run("merge", "out.h5", nothing, made / "ours.h5")[0] == 0
    with h5py.File("out.h5") as file:
        assert layout.length(file) == N and file.attrs["pdm"] == PDM
    with TrainingDataWriter("written.h5", pdm=PDM) as writer, files.SetFile(nothing) as other:
        assert writer.add_file(other) == 0


def test_an_interrupted_merge_leaves_nothing(made: Path, run: Run, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("facemake.dataset.joining._describe", interrupted)
    code, said = run("merge", "out.h5", made / "ours.h5")
    assert code == 130 and "interrupted" in said and not list(Path().iterdir())


def test_repeated_examples_and_people_in_two_splits_are_told(made: Path, tmp_path: Path, run: Run):
    other = write(tmp_path / "other.h5", 4, splits=["val"] * 4)
    code, said = run("merge", "kept.h5", made / "ours.h5", other)
    assert code == 0 and "4 examples show a face that an earlier one shows (kept" in said
    assert "a.mp4 frame 0" in said and "subject anna is in train and val" in said
    code, said = run("merge", "dropped.h5", "--drop-repeated", made / "ours.h5", other)
    assert code == 0 and "left out" in said
    with h5py.File("dropped.h5") as file, h5py.File(made / "ours.h5") as ours:
        assert layout.length(file) == N
        np.testing.assert_array_equal(file["images"][:], ours["images"][:])


def test_sets_that_do_not_go_together_are_refused(made: Path, tmp_path: Path, run: Run):
    code, said = run("merge", "out.h5", made / "ours.h5", made / "theirs.h5")
    assert code == 2 and "theirs.h5 has another layout: it has no" in said
    code, said = run("merge", "out.h5", made / "theirs.h5", made / "ours.h5")
    assert code == 2 and "which pyfaceau did not write" in said
    code, said = run("merge", "out.h5", made / "ours.h5", write(tmp_path / "b.h5", 2, pdm="other"))
    assert code == 2 and "pdm is 'other'" in said

    def rename(file: h5py.File) -> None:
        file.attrs["au_names"] = [*AU_NAMES[1:], AU_NAMES[0]]

    code, said = run("merge", "out.h5", spoiled(made / "ours.h5", tmp_path / "c.h5", rename))
    assert code == 2 and "other action units" in said
    assert not Path("out.h5").exists()


def test_files_of_pyfaceau_become_one(made: Path, tmp_path: Path, run: Run):
    other = write_as_pyfaceau(tmp_path / "other.h5", 3, seed=1)
    assert run("merge", "out.h5", made / "theirs.h5", other)[0] == 0
    with h5py.File("out.h5") as file:
        assert len(file["images"]) == N + 3 == file.attrs["num_samples"]
        assert "affine" not in file and "facemake" not in file.attrs
    assert "15 examples" in run("info", "out.h5")[1]


# --- validate -------------------------------------------------------------------------------------


def test_a_sound_file_is_valid(made: Path, run: Run):
    code, said = run("validate", made / "ours.h5")
    assert code == 0 and "ours.h5: valid; 12 examples, 0 errors, 0 warnings, 0 notes" in said
    with Image.open("ours_worst.png") as sheet:
        assert sheet.width > 600 and sheet.height > 400
    Path("ours_worst.png").unlink()
    code, said = run("validate", made / "empty.h5")
    assert code == 0 and "there is no example" in said
    run("validate", made / "ours.h5", "--no-sheet")
    assert not list(Path().iterdir())


def test_a_set_of_the_workflow_is_valid(examples_of_the_workflow: Path, run: Run):
    code, said = run("validate", examples_of_the_workflow, "--json", "--sheet", "sheet.png")
    found = json.loads(said)
    assert code == 0 and found["valid"] and found["examples"] > 70
    assert Path("sheet.png").is_file()


def change(name: str, rows: Any, value: Any) -> Callable[[h5py.File], None]:
    def apply(file: h5py.File) -> None:
        values = file[name][:]
        values[rows] = value
        file[name][...] = values

    return apply


def swap_colours(file: h5py.File) -> None:
    file["images"][...] = file["images"][:][..., ::-1]


def no_bboxes(file: h5py.File) -> None:
    del file["bboxes"]


def wide_bboxes(file: h5py.File) -> None:
    del file["bboxes"]
    file["bboxes"] = np.zeros((N, 4))


def count(file: h5py.File) -> None:
    file.attrs["num_samples"] = 99


def bgr(file: h5py.File) -> None:
    file.attrs["color_format"] = "BGR"


def elsewhere(file: h5py.File) -> None:
    del file["bboxes"]
    file["bboxes"] = h5py.ExternalLink("ours.h5", "bboxes")


def raw_elsewhere(file: h5py.File) -> None:
    del file["bboxes"]
    file.create_dataset("bboxes", (N, 4), "<f4", external=[("/etc/passwd", 0, N * 16)])


SPOILED = [
    (elsewhere, "error\tlayout"),
    (raw_elsewhere, "bboxes lies in another file, which is not followed"),
    (change("landmarks", 3, np.nan), "error\tlandmarks\t1 example: a value that is no number"),
    (change("landmarks", 3, 400), "a landmark lies more than 28 px outside the crop, first row 3"),
    (change("landmarks", (3, 0, 0), 57), "error\taffine\t1 example: it does not take"),
    (change("landmarks", (3, slice(18)), np.nan), "error\tlandmarks\t1 example"),
    (change("affine", 2, 1), "error\taffine"),
    (change("affine", (2, 0, 0), np.nan), "some values, but not all, are NaN"),
    (change("global_params", (4, 3), 1.2), "error\tglobal_params\t1 example: they are not"),
    (change("hog_features", (5, 7), np.inf), "error\thog_features\t1 example: an infinite value"),
    (change("hog_features", (5, 7), 0.9), "FHOG is not that of the picture"),
    (swap_colours, "pictures may be BGR"),
    (change("images", 6, 0), "error\timages\t1 example: a picture of one colour"),
    (change("au_intensities", (1, 2), 5.5), "error\tau_intensities\t1 example: outside 0 to 5"),
    (change("au_intensities", 1, np.nan), "warning\tau_intensities\t1 example: no action unit"),
    (change("metadata/quality_scores", 0, -0.1), "error\tmetadata/quality_scores"),
    (change("metadata/frame_indices", 0, -1), "error\tmetadata/frame_indices"),
    (change("metadata/frame_indices", 1, 0), "warning\trepeated\t1 example"),
    (change("bboxes", 0, [5, 5, 5, 9]), "error\tbboxes\t1 example"),
    (change("metadata/split", 0, "test"), "error\tsplits\tsubject anna is in test and train"),
    (change("metadata/subjects", slice(6), ""), "note\tsubjects\t6 examples: nobody said who"),
    (no_bboxes, "error\tlayout\tthere is no bboxes"),
    (wide_bboxes, "bboxes is of type float64 and shape (12, 4)"),
    (count, "num_samples is 99, and there are 12 examples"),
    (bgr, "error\tcolor_format\tit is BGR, not RGB"),
]


@pytest.mark.parametrize(("spoil", "said"), SPOILED)
def test_what_is_wrong_is_named(
    made: Path, tmp_path: Path, run: Run, spoil: Callable[[h5py.File], None], said: str
):
    path = spoiled(made / "ours.h5", tmp_path / "bad.h5", spoil)
    code, words = run("validate", path, "--no-sheet")
    assert said in words
    assert code == (1 if "error" in words.split("bad.h5:")[0] else 0)
    assert code == (0 if said.startswith(("warning", "note")) else 1)


def test_a_set_made_with_3di_has_no_jaw(made: Path, tmp_path: Path, run: Run):
    def spoil(file: h5py.File) -> None:
        for name in ("landmarks", "frame/landmarks"):
            change(name, (slice(None), slice(17)), np.nan)(file)
        change("metadata/confidence", slice(None), np.nan)(file)

    path = spoiled(made / "ours.h5", tmp_path / "jawless.h5", spoil)
    code, said = run("validate", path)
    assert code == 0 and "12 examples: iBUG-51: the jaw is not known" in said
    change_one = change("landmarks", (3, 20, 0), 57)
    code, said = run("validate", spoiled(path, tmp_path / "bad.h5", change_one))
    assert code == 1 and "error\taffine\t1 example" in said


def test_the_worst_crops_come_first(made: Path, tmp_path: Path, run: Run):
    from facemake.dataset.checks import check

    def spoil(file: h5py.File) -> None:
        change("landmarks", 7, 400)(file)
        change("metadata/quality_scores", 9, 0.1)(file)

    path = spoiled(made / "ours.h5", tmp_path / "bad.h5", spoil)
    with files.SetFile(path) as file:
        checked = check(file)
        assert checked.worst(2) == [7, 9]
        assert sorted(checked.worst(99)) == list(range(N))
        assert checked.reasons(7) == ["landmarks", "affine"] and checked.reasons(9) == []


def test_the_sheet_says_what_is_wrong_with_any_example():
    from facemake.dataset.checks import Checked

    checked = Checked(300)
    every, one = checked.new_error("every"), checked.new_error("one")
    checked.mark(every, np.arange(300))
    checked.mark(one, np.array([250]))
    assert checked.worst(1) == [250] and checked.reasons(250) == ["every", "one"]


def test_a_file_of_pyfaceau(made: Path, run: Run):
    code, said = run("validate", made / "theirs.h5", "--no-sheet")
    assert code == 1  # its landmarks are of the frame, which no network can learn from a crop
    assert "pyfaceau wrote pixels of the frame" in said and "not written by facemake" in said
    assert "error\tlayout" not in said and "hog_features" not in said


def test_a_damaged_chunk_is_an_error_that_names_it(made: Path, tmp_path: Path, run: Run):
    path = Path(shutil.copy(made / "theirs.h5", tmp_path / "bad.h5"))
    with h5py.File(path) as file:
        where = file["hog_features"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as handle:
        handle.seek(where)
        handle.write(b"\xff" * 200)
    code, said = run("validate", path, "--no-sheet")
    assert code == 1 and "error\tdamage" in said and "hog_features cannot be read" in said
    assert run("info", path)[0] == 2


# --- against --------------------------------------------------------------------------------------


def test_the_same_bytes_values_and_order_are_told_apart(made: Path, tmp_path: Path, run: Run):
    ours = made / "ours.h5"
    same = Path(shutil.copy(ours, tmp_path / "same.h5"))
    code, said = run("validate", ours, "--against", same)
    assert code == 0 and "identical, byte for byte" in said
    run("merge", "values.h5", ours)
    code, said = run("validate", "values.h5", "--against", ours)
    assert code == 0 and said.splitlines()[-1].endswith(": the same values")
    assert "note\tmade in another way: join_training_sets" in said
    order = np.random.default_rng(3).permutation(N)
    rows = {k: [v[i] for i in order] for k, v in examples(N).items()}
    mixed = write(
        tmp_path / "mixed.h5",
        N,
        **{k: np.array(v) if isinstance(v[0], np.ndarray) else v for k, v in rows.items()},
    )
    code, said = run("validate", mixed, "--against", ours)
    assert code == 0 and said.splitlines()[-1].endswith(": the same values, in another order")


def test_what_differs_is_named_by_field_and_row(made: Path, tmp_path: Path, run: Run):
    ours = made / "ours.h5"

    def spoil(file: h5py.File) -> None:
        change("landmarks", (3, 5, 1), file["landmarks"][3, 5, 1] + 2)(file)
        change("local_params", slice(2), file["local_params"][:2] + 1e-5)(file)
        change("metadata/subjects", 8, "carl")(file)
        change("au_intensities", (1, 0), np.nan)(file)

    path = spoiled(ours, tmp_path / "other.h5", spoil)
    code, said = run("validate", path, "--against", ours)
    assert code == 1
    assert "landmarks\t1 example differs by up to 2, first a.mp4 frame 3[5, 1]: " in said
    assert "local_params\t2 examples differ by up to 1" in said and "within tolerances" in said
    assert "b.mp4 frame 2: 'carl' against 'bob'" in said
    assert "au_intensities\t1 example differs, first a.mp4 frame 1[0]: nan against" in said
    found = json.loads(run("validate", path, "--against", ours, "--json")[1])
    assert found["verdict"] == "differs" and found["fields"]["local_params"]["beyond"] == 0
    assert found["only"] == [0, 0] and "images" not in found["fields"]


def test_within_tolerances_is_the_same(made: Path, tmp_path: Path, run: Run):
    def spoil(file: h5py.File) -> None:
        change("landmarks", 0, file["landmarks"][0] + 1e-4)(file)

    path = spoiled(made / "ours.h5", tmp_path / "other.h5", spoil)
    code, said = run("validate", path, "--against", made / "ours.h5")
    assert code == 0 and "the same within tolerances" in said
    path = spoiled(made / "ours.h5", tmp_path / "other.h5", change("images", (0, 0, 0, 0), 7))
    assert run("validate", path, "--against", made / "ours.h5")[0] == 1  # a level is a whole number


def test_examples_of_one_side_only(made: Path, tmp_path: Path, run: Run):
    names = ["a.mp4"] * 4
    fewer = write(tmp_path / "fewer.h5", 4, frame_indices=[0, 0, 1, 7], video_names=names)
    code, said = run("validate", fewer, "--against", made / "ours.h5")
    assert code == 1
    # the first of two with one name is the one that the other file has
    assert "examples\t2 only in" in said and "a.mp4 frame 0, a.mp4 frame 7" in said
    assert "examples\t10 only in" in said
    code, said = run("validate", made / "empty.h5", "--against", made / "ours.h5")
    assert code == 1 and "examples\t12 only in" in said


def test_against_a_file_of_pyfaceau(made: Path, run: Run):
    code, said = run("validate", made / "ours.h5", "--against", made / "theirs.h5")
    assert code == 1 and "layout\tonly" in said and "has affine" in said
    assert "landmarks\t12 examples differ" in said and "images\t" not in said
    code, said = run("validate", made / "theirs.h5", "--against", made / "cut.h5")
    assert code == 2 and "cut.h5 cannot be read as HDF5" in said


@pytest.fixture(scope="module")
def examples_of_the_workflow(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled clip's, by the stages."""
    from facemake.data import TrainingDataGenerator

    path = tmp_path_factory.mktemp("workflow") / "set.h5"
    TrainingDataGenerator(verbose=False).process_video(bundled / "moving_portrait.mp4", path)
    return path
