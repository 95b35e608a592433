"""Face models read from their makers' files: right numbers, and words for wrong files."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facemake import facemodels, pins
from facemake.backends.fit import archive, sources
from facemake.backends.fit.modelfile import load_mesh, load_model, model_of, save_model
from facemake.backends.fit.sources import bfm2009, ict_facekit, openface_pdm
from facemake.errors import ModelError
from makefaces import ict
from makesources import MODEL, Bfm, bfm, bfm_prepared, bfm_raw, ict_folder, mat, obj, openface

SMALL = bfm()
BFM_LICENCE = "Basel Face Model licence"


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ict_folder(tmp_path_factory.mktemp("kit") / "FaceXModel")


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A raw folder whose .mat file is read without SciPy."""
    monkeypatch.setattr(bfm2009, "_read_mat", lambda path: mat(SMALL))
    return bfm_raw(tmp_path / "raw", SMALL)


def read_raw(folder: Path, model: Bfm = SMALL) -> archive.Content:
    return bfm2009.read(folder, len(model.ids), model.landmarks)


# ------------------------------------------------------------------------------- ICT-FaceKit


def test_ict_is_read_from_its_obj_files(kit: Path) -> None:
    content = sources.complete(ict_facekit.read(kit.parent), str(kit))
    model = model_of(content, "kit")
    assert (model.name, model.scheme, model.licence) == ("ict-facekit", "ibug68", "MIT")
    assert np.allclose(model.mean, MODEL.mean, atol=1e-4), "cm, y up, taken to our axes"
    assert np.allclose(model.identity, MODEL.identity[:3], atol=0.02)
    assert np.allclose(model.expression, MODEL.expression[:4], atol=0.02)
    assert model.expression_names == ("browDown_L", "jawOpen", "mouthSmile_L", "mouthSmile_R")
    assert model.identity_names == ("identity000", "identity001", "identity002")
    assert (model.identity_sd == 1).all() and (model.expression_upper == 1).all()
    assert (model.expression_lower == 0).all()
    assert content["neutral"].shape == (9409, 3), "without what is not the face"
    # a quad is two triangles; faces with a vertex beyond the face are none
    assert sorted(map(sorted, content["triangles"].tolist())) == [[0, 1, 2], [0, 2, 3], [4, 5, 6]]
    assert content["pdm"].shape == (204, 34)


def test_ict_landmarks_of_another_numbering_are_not_taken(kit: Path, tmp_path: Path) -> None:
    folder = ict_folder(tmp_path / "old")
    shuffled = np.random.default_rng(0).permutation(9409)[:68].tolist()
    (folder / "vertex_indices.json").write_text(json.dumps({"idx_to_landmark_verts": shuffled}))
    assert (ict_facekit.read(folder)["landmarks_ibug68"] == ict_facekit.LANDMARKS).all()
    (folder / "vertex_indices.json").unlink()
    assert (ict_facekit.read(folder)["landmarks_ibug68"] == ict_facekit.LANDMARKS).all()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "generic_neutral_mesh.obj").unlink(), r"has no generic_neutral_mesh\.obj"),
        (lambda f: [p.unlink() for p in f.glob("identity*")], r"has 0 identity\*\.obj.*git lfs"),
        (
            lambda f: obj(f / "jawOpen.obj", np.zeros((100, 3)), []),
            r"jawOpen\.obj has 100 vertices and generic_neutral_mesh\.obj 9469",
        ),
        (
            lambda f: (f / "jawOpen.obj").write_text("version https://git-lfs.github.com/spec/v1"),
            r"jawOpen\.obj is not an \.obj file.*git lfs pull",
        ),
        (
            lambda f: (f / "jawOpen.obj").write_text("v 1 2 3\nv 1 2\n"),
            r"jawOpen\.obj is not an \.obj file",
        ),
        (lambda f: (f / "jawOpen.obj").write_text("v 1 nan 3\n"), "three finite coordinates"),
        (lambda f: (f / "jawOpen.obj").write_text("v 1 two 3\n"), "three finite coordinates"),
        (
            lambda f: (f / "vertex_indices.json").write_text("{}"),
            r"vertex_indices\.json has no list.*idx_to_landmark_verts",
        ),
        (
            lambda f: append(f / "generic_neutral_mesh.obj", "f 1 2 99999\n"),
            "face of vertices that are not there",
        ),
        (lambda f: append(f / "generic_neutral_mesh.obj", "f a b c\n"), "no list of numbers"),
    ],
)
def test_a_damaged_kit_is_refused_in_words(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    folder = ict_folder(tmp_path / "kit")
    damage(folder)
    with pytest.raises(ModelError, match=message):
        ict_facekit.read(folder)


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_a_mesh_of_something_else_is_no_kit(tmp_path: Path) -> None:
    folder = tmp_path / "mesh"
    folder.mkdir()
    for name in ("generic_neutral_mesh", "identity000", "jawOpen"):
        obj(folder / f"{name}.obj", np.ones((500, 3)), [])
    with pytest.raises(ModelError, match=r"500 vertices of the face.*not ICT-FaceKit's mesh"):
        ict_facekit.read(folder)


@pytest.mark.parametrize("factor", [10.0, 0.01])
def test_a_kit_in_another_unit_is_refused(tmp_path: Path, factor: float) -> None:
    folder = ict_folder(tmp_path / "kit")
    content = ict_facekit.read(folder)
    content["neutral"] = content["neutral"] * np.float32(factor)
    with pytest.raises(ModelError, match=r"between the outer eye corners.*is its unit right"):
        sources.complete(content, str(folder))


def test_the_shared_arrays_are_one_model(shared: Path, tmp_path: Path) -> None:
    face = sources.build("ict-facekit", shared / "models" / "ict_face_f16.npz", tmp_path / "a")
    points = sources.build("ict-facekit", shared / "models" / "ict_lm68.npz", tmp_path / "b")
    assert face.n_vertices == 9409 and points.n_vertices == 68
    whole = archive.read((shared / "models" / "ict_face_f16.npz").read_bytes(), "f16")
    lm68 = archive.read((shared / "models" / "ict_lm68.npz").read_bytes(), "lm68")
    at = list(ict_facekit.LANDMARKS)
    assert np.array_equal(whole["neutral"][at], lm68["neutral"]), "the README's list"
    assert np.array_equal(face.model.mean, points.model.mean)
    assert np.abs(face.model.expression - points.model.expression).max() < 0.02
    reference = ict(shared)
    assert np.allclose(points.model.mean, reference.mean)
    assert np.allclose(points.model.expression, reference.expression)
    assert points.model.expression_names == reference.expression_names
    assert np.array_equal(points.model.expression_sd, reference.expression_sd.astype(np.float32))
    mesh = load_mesh(face.path)
    assert mesh.mean.dtype == np.float32 and mesh.identity.shape == (100, 9409, 3)
    assert np.allclose(mesh.mean[mesh.landmarks["ibug68"]], face.model.mean, atol=1e-4)
    smile = np.zeros(57)
    smile[list(mesh.expression_names).index("mouthSmile_L")] = 0.8
    person = np.random.default_rng(3).normal(size=100)
    surface = mesh.shape(person, smile)[mesh.landmarks["ibug68"]]
    fitted = face.model.neutral(person) + np.tensordot(smile, face.model.expression, 1)
    assert np.allclose(surface, fitted, atol=1e-2), "what holds at landmarks holds for the surface"
    inner = load_model(face.path, "ibug51")
    assert np.array_equal(inner.mean, face.model.mean[17:])
    assert inner.pdm is None, "the file's modes are of the 68 points"


def test_arrays_that_are_not_the_kits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.npz"
    shapes = {"neutral": np.zeros((70, 3)), "identity": np.zeros((2, 70, 3))}
    archive.write(shapes, path)
    with pytest.raises(ModelError, match=r"some\.npz lacks expression, expr_names"):
        ict_facekit.read(path)
    shapes |= {"expression": np.zeros((2, 70, 3)), "expr_names": np.array(["a", "b"])}
    archive.write(shapes, path)
    with pytest.raises(ModelError, match=r"neutral has shape \(70, 3\), wanted \(9409, 3\)"):
        ict_facekit.read(path)
    archive.write({**shapes, "identity": np.zeros((2, 69, 3))}, path)
    with pytest.raises(ModelError, match=r"identity has shape \(2, 69, 3\)"):
        ict_facekit.read(path)
    np.savez(path, neutral=np.array([{}], dtype=object))
    with pytest.raises(ModelError, match="not a face model file"):
        ict_facekit.read(path)


# ----------------------------------------------------------------------------------- BFM 2009


def test_bfm_raw_and_prepared_are_one_model(raw: Path, tmp_path: Path) -> None:
    """The prepared mean is turned about x and its bases are not: read back to one frame."""
    a = sources.complete(read_raw(raw), "raw")
    b = sources.complete(bfm2009.read(bfm_prepared(tmp_path / "BFMmm-00500", SMALL)), "prepared")
    assert a.keys() == b.keys()
    for key in ("identity", "expression", "triangles", "landmarks_ibug51"):
        assert np.array_equal(a[key], b[key]), key
    for key in ("neutral", "identity_sd", "expression_sd", "expression_lower", "expression_upper"):
        assert np.allclose(a[key], b[key], rtol=1e-5, atol=1e-4), key
    one, other = model_of(a, "raw"), model_of(b, "prepared")
    assert np.allclose(one.mean, other.mean, atol=1e-4)
    assert one.scheme == "ibug51" and one.n_points == 51
    assert (one.inner == np.arange(51)).all() and one.eye_corners == (19, 28)
    assert len(one.identity) == 199 and len(one.expression) == 79
    assert one.expression_names[0] == "GE0" and one.expression_names[-1] == "GE78"
    assert BFM_LICENCE in one.licence and "not to be distributed" in one.licence
    assert one.pdm is not None and one.pdm.shape == (153, 34)
    assert np.allclose(one.mean, MODEL.mean[17:] * 89 / np.ptp(MODEL.mean[[36, 45], 0]), atol=0.01)


def test_bfm_in_our_axes_moves_as_the_basel_model_does(raw: Path) -> None:
    """Mean and bases are one head: a taller head is taller, and a dropped lip goes down."""
    model = model_of(read_raw(raw), "raw")
    taller = model.neutral(np.eye(199)[0] * 20)
    assert np.ptp(taller[:, 1]) > np.ptp(model.mean[:, 1]) + 1
    assert np.allclose(np.ptp(taller[:, 0]), np.ptp(model.mean[:, 0]))
    assert model.expression[0, 40, 1] == pytest.approx(1), "mm along a mode of unit length; y down"
    raw_landmarks = SMALL.expression[:, SMALL.kept[list(SMALL.landmarks)]]
    assert np.allclose(model.expression, raw_landmarks * [1, -1, -1], atol=1e-4)


def test_bfm_scales_are_those_of_3di(raw: Path) -> None:
    model = model_of(read_raw(raw), "raw")
    left, right = model.eye_corners
    assert model.mean[right, 0] - model.mean[left, 0] == pytest.approx(89, abs=1e-3)
    mean = SMALL.mean[SMALL.whole].astype(float)
    micrometres = abs(np.diff(mean[[SMALL.landmarks[19], SMALL.landmarks[28]], 0]))[0]
    sigma_alphas = 2 * SMALL.identity_sd * 89 / micrometres
    assert np.allclose(2 * model.identity_sd, sigma_alphas, rtol=1e-5)
    sigma = SMALL.expression_sd / 26000 * 89 * (mean - mean.mean(axis=0)).std() / micrometres
    assert np.allclose(model.expression_sd, sigma, rtol=1e-5)
    assert np.allclose(model.expression_upper, 2.5 * sigma, rtol=1e-5)
    assert np.allclose(model.expression_lower, -2.5 * sigma, rtol=1e-5)


def test_bfm_triangles_are_of_kept_vertices_and_look_outwards(raw: Path) -> None:
    content = sources.complete(read_raw(raw), "raw")
    kept = set(SMALL.whole.tolist())
    whole = [t for t in SMALL.triangles.tolist() if kept.issuperset(t)]
    assert len(content["triangles"]) == len(whole) > 5
    back = SMALL.whole[content["triangles"]]
    assert sorted(map(sorted, back.tolist())) == sorted(map(sorted, whole))
    corners = content["neutral"][content["triangles"]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert normals[:, 2].sum() > 0, "towards the viewer, on the whole"
    content["triangles"] = content["triangles"][:, ::-1]
    again = sources.complete(content, "turned")
    corners = again["neutral"][again["triangles"]]
    assert np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2].sum() > 0


def test_a_real_mat_file_is_read(tmp_path: Path) -> None:
    io = pytest.importorskip("scipy.io", reason="the extra bfm is not installed")
    folder = bfm_raw(tmp_path / "raw", SMALL)
    path = folder / "01_MorphableModel.mat"
    io.savemat(path, {**mat(SMALL), "texPC": np.zeros((3, 3))}, do_compression=True)
    model = model_of(read_raw(path), "raw")  # the file itself may be named
    assert model.expression_names[0] == "GE0"
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], b"", b"MATLAB 7.3 MAT-file" + bytes(600), data[:200]):
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match=r"01_MorphableModel\.mat"):
            read_raw(folder)
    io.savemat(path, {**mat(SMALL), "shapePC": np.zeros((2700, 60))})
    with pytest.raises(ModelError, match=r"shapePC has shape \(2700, 60\), wanted \(2700, 199\)"):
        read_raw(folder)
    io.savemat(path, {"shapeMU": np.zeros((9, 1))})
    with pytest.raises(ModelError, match="lacks shapePC, shapeEV, tl"):
        read_raw(folder)


def test_without_scipy_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ModelError, match=r"extra bfm: pip install 'facemake\[bfm\]'"):
        read_raw(bfm_raw(tmp_path / "raw", SMALL))


@pytest.mark.parametrize("name", list(bfm2009._RAW))
def test_a_missing_raw_file_is_named_with_where_it_is(raw: Path, name: str) -> None:
    (raw / name).unlink()
    with pytest.raises(ModelError) as caught:
        read_raw(raw)
    assert f"lacks {name} (from {bfm2009._RAW[name]})" in str(caught.value)


def cut(path: Path, share: float = 0.9) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: cut(f / "Exp_Pca.bin"), r"Exp_Pca\.bin has \d+ bytes, wanted 768004.*cut off"),
        (lambda f: (f / "Exp_Pca.bin").write_bytes(b""), r"Exp_Pca\.bin has 0 bytes"),
        (
            lambda f: (f / "Exp_Pca.bin").write_bytes(np.array([29], "<i4").tobytes()),
            "has 29 modes, wanted 79",
        ),
        (lambda f: cut(f / "std_exp.txt", 0.5), r"std_exp\.txt has shape \(\d+,\), wanted \(79,\)"),
        (lambda f: (f / "std_exp.txt").write_text("a b"), r"std_exp\.txt is not a text file"),
        (lambda f: (f / "std_exp.txt").write_text("nan " * 79), "not finite"),
        (lambda f: (f / "ids_53215.dat").write_text("1\n2\n"), "has 2 numbers, wanted 800"),
        (lambda f: (f / "ids_53215.dat").write_text("0.5\n" * 800), "numbers that are not whole"),
        (lambda f: (f / "ids_53215.dat").write_text("900\n" * 800), r"up to 900.*has 0 to 899"),
        (lambda f: (f / "w.dat").write_text("1\n2\n"), r"w\.dat is not a list of coordinates"),
        (lambda f: (f / "w.dat").write_text("2\n3\n4\n"), r"w\.dat is not a list of coordinates"),
        (lambda f: (f / "w.dat").write_text("2401\n2402\n2403\n"), "from 1 to 2400"),
        (lambda f: (f / "w.dat").write_text("1\n2\n3\n"), "w.dat has 1 vertices, and landmarks"),
    ],
)
def test_a_damaged_raw_folder_is_refused_in_words(
    raw: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(raw)
    with pytest.raises(ModelError, match=message):
        sources.complete(read_raw(raw), str(raw))


def test_a_basel_model_in_millimetres_is_refused(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {**mat(SMALL), "shapeMU": mat(SMALL)["shapeMU"] / 1000}
    monkeypatch.setattr(bfm2009, "_read_mat", lambda path: small)
    with pytest.raises(ModelError, match=r"89 between the outer eye corners.*micrometres"):
        read_raw(raw)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "IY.dat").unlink(), r"lacks IY\.dat"),
        (lambda f: (f / "E" / "EZ_79.dat").unlink(), r"lacks E/EZ_79\.dat"),
        (
            lambda f: np.savetxt(f / "IX.dat", np.zeros((500, 60))),
            r"\(500, 60\), wanted \(500, 199",
        ),
        (
            lambda f: np.savetxt(f / "Y0_mean.dat", np.zeros(499)),
            r"Y0_mean\.dat has shape \(499,\), wanted \(500,\)",
        ),
        (lambda f: (f / "sigma_alphas.dat").write_text("1 2 3"), r"wanted \(199,\)"),
        (lambda f: (f / "li.dat").write_text("1\n2\n"), "li.dat has 2 numbers"),
        (lambda f: np.savetxt(f / "li.dat", np.arange(51) + 450, fmt="%d"), "from 0 to 499"),
        (lambda f: (f / "li.dat").unlink(), r"lacks li\.dat"),
        (lambda f: (f / "tl.dat").write_text("1 2\n"), "three a line"),
        (lambda f: (f / "tl.dat").write_text("1 2 501\n"), "beyond the 500"),
        (lambda f: np.savetxt(f / "X0_mean.dat", np.full(500, np.nan)), "not finite"),
        (
            lambda f: [
                np.savetxt(f / f"{a}0_mean.dat", np.loadtxt(f / f"{a}0_mean.dat") / 10)
                for a in "XYZ"
            ],
            "8.9 mm between the outer eye corners",
        ),
        (
            lambda f: np.savetxt(f / "Y0_mean.dat", -np.loadtxt(f / "Y0_mean.dat")),
            "upside down",
        ),
    ],
)
def test_a_damaged_prepared_folder_is_refused_in_words(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    folder = bfm_prepared(tmp_path / "BFMmm-00500", SMALL)
    damage(folder)
    with pytest.raises(ModelError, match=message):
        sources.complete(bfm2009.read(folder), str(folder))


def test_a_prepared_mesh_of_23660_vertices_needs_no_list_of_landmarks(tmp_path: Path) -> None:
    assert (bfm2009._landmarks_of(tmp_path, bfm2009.LANDMARKS, 23660) == bfm2009.LANDMARKS).all()


# ----------------------------------------------------------------------------------- OpenFace


def test_openface_brings_its_own_modes(tmp_path: Path) -> None:
    path = openface(tmp_path / "model" / "pdms" / openface_pdm.FILE)
    content = sources.complete(openface_pdm.read(tmp_path), str(tmp_path))
    model = model_of(content, "openface")
    assert np.allclose(model.mean, MODEL.mean, atol=1e-6), "one origin for all models"
    assert np.allclose(model.pdm_origin, [-0.5, 3, -20], atol=1e-6), "where the file's own one is"
    save_model(model, tmp_path / "again.npz")
    again = load_model(tmp_path / "again.npz")
    assert np.allclose(again.pdm_origin, model.pdm_origin, atol=1e-5)
    assert np.allclose(again.mean, model.mean, atol=1e-5) and again.pdm_name == model.pdm_name
    assert model.local_params_are == f"OpenFace's own 34 modes ({openface_pdm.FILE})"
    assert model.pdm is not None
    assert np.allclose(model.identity_sd**2, np.linspace(900, 4, 34))
    assert np.allclose(model.expression_sd, model.identity_sd / 2)
    assert np.allclose(model.expression_upper, 3 * model.identity_sd)
    assert np.allclose(model.expression_lower, -3 * model.identity_sd)
    p = np.random.default_rng(4).normal(size=34) * model.identity_sd
    shape = model.neutral(0.3 * p) + np.tensordot(0.7 * p, model.expression, 1)
    flat = (shape - model.mean).T.ravel()  # all x, all y, all z
    assert np.allclose(flat @ model.pdm, p), "identity and expression sum to OpenFace's p"
    lines = path.read_text().splitlines()
    assert lines[1:4] == ["204", "1", "6"]


@pytest.mark.parametrize("scale", [10.0, 89.0])
def test_a_pdm_in_another_unit_is_scaled_and_says_so(tmp_path: Path, scale: float) -> None:
    model = model_of(openface_pdm.read(openface(tmp_path / "pdm.txt", scale)), "pdm")
    left, right = model.eye_corners
    assert np.linalg.norm(model.mean[right] - model.mean[left]) == pytest.approx(89)
    factor = float(model.pdm_name.split("its unit is ")[1].split(" mm")[0])
    assert factor == pytest.approx(scale, rel=1e-3)
    assert model.identity_sd[0] == pytest.approx(30, rel=1e-3), "mm along the modes"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("204\n1\n6\n", "204\n2\n6\n", r"the mean has shape \(204, 2\).*wanted \(204, 1\)"),
        ("204\n34\n6\n", "204\n30\n6\n", r"principal components has shape \(204, 30\)"),
        ("1\n34\n6\n", "1\n34\n16\n", "OpenCV type 16"),
        (
            "204\n1\n6\n",
            "rows\n1\n6\n",
            "the mean should begin with rows, columns.*there is rows 1",
        ),
        ("1\n34\n6\n900", "1\n34\n6\nnan", "eigenvalues has 34 numbers, wanted 34 finite"),
        ("1\n34\n6\n900", "1\n34\n6\n-9", "eigenvalue is not above 0"),
        ("1\n34\n6\n900", "1\n34\n6\nx", "eigenvalues has what is no number"),
        ("1\n34\n6\n900", "1\n34\n6\n900 1", "1 words follow"),
        ("204\n34\n6\n", "204\n34\n6\n9 ", "what is no number|words|should begin|orthonormal"),
    ],
)
def test_a_damaged_pdm_is_refused_in_words(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = openface(tmp_path / openface_pdm.FILE)
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(ModelError, match=message):
        openface_pdm.read(path)


def test_a_cut_or_turned_pdm_is_refused(tmp_path: Path) -> None:
    path = openface(tmp_path / openface_pdm.FILE)
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(ModelError, match=r"principal components has .* wanted 6936 finite"):
        openface_pdm.read(path)
    path.write_text("")
    with pytest.raises(ModelError, match="there is nothing"):
        openface_pdm.read(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="not a text file"):
        openface_pdm.read(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"has no In-the-wild.*OpenFace"):
        openface_pdm.read(tmp_path / "empty")
    lines = text.splitlines()
    lines[4 + 136 : 4 + 204] = [str(-float(z)) for z in lines[4 + 136 : 4 + 204]]
    path.write_text("\n".join(lines))
    with pytest.raises(ModelError, match="looks backwards"):
        sources.complete(openface_pdm.read(path), str(path))


# ----------------------------------------------------------------------------------- building


def test_a_built_file_is_whole_pinned_private_and_the_same_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FACEMAKE_MODELS", "")
    source = openface(tmp_path / openface_pdm.FILE)
    built = sources.build("openface-pdm", source)
    assert built.path == facemodels.default_folder() / "openface-pdm.npz"
    assert stat.S_IMODE(built.path.parent.stat().st_mode) == 0o700
    data = built.path.read_bytes()
    assert built.sha256 == hashlib.sha256(data).hexdigest() == built.model.sha256
    assert facemodels.find("openface-pdm").sha256 == built.sha256
    assert "OpenFace licence" in facemodels.find("openface-pdm").licence
    assert facemodels.find("openface-pdm").pdm.startswith("OpenFace's own 34 modes")
    assert sources.build("openface-pdm", source).sha256 == built.sha256
    assert built.path.read_bytes() == data
    names = sorted(path.name for path in built.path.parent.iterdir())
    assert names == ["openface-pdm.npz", "openface-pdm.npz.sha256"], "nothing half-written is left"
    openface(source, 10.0)
    again = sources.build("openface-pdm", source)
    assert facemodels.find("openface-pdm").sha256 == again.sha256 != built.sha256


def test_a_build_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    source = openface(tmp_path / openface_pdm.FILE)
    built = sources.build("openface-pdm", source, tmp_path / "models")
    data = built.path.read_bytes()
    source.write_text("")
    with pytest.raises(ModelError):
        sources.build("openface-pdm", source, tmp_path / "models")
    assert built.path.read_bytes() == data
    assert pins.verify_pin(built.path) == built.sha256
    with pytest.raises(ModelError, match=r"there is no .*nowhere: wanted is In-the-wild"):
        sources.build("openface-pdm", tmp_path / "nowhere", tmp_path / "models")


def test_every_name_of_the_config_has_its_reader() -> None:
    assert list(sources.READERS) == list(facemodels.SOURCES)
