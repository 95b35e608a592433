"""Make the built-in face model: `python -m facemake.backends.fit.build_builtin [FILE ...]`.

Without arguments it looks at the two public-domain portraits that installed wheels carry
(matplotlib's grace_hopper.jpg and, where scikit-image is installed, its astronaut.png). Pictures,
videos and folders of them on the command line are looked at as well; one video, and one face of one
picture, counts as one person. FaceMesh finds the points; what is written is `face_model.npz` with
averages only, and `face_model.md`, which says what was looked at.
"""

import argparse
import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemake import schemes
from facemake.backends.fit import builtin, pdm
from facemake.backends.fit.bootstrap import Person, mean_face
from facemake.backends.fit.model import LinearFaceModel
from facemake.backends.fit.modelfile import save_model

VIDEOS = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm"})
PICTURES = frozenset({".jpg", ".jpeg", ".png"})
FRAMES_PER_VIDEO = 120


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the model and its description."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="*", type=Path, help="more pictures, videos or folders")
    parser.add_argument("--output", type=Path, default=builtin.PATH)
    options = parser.parse_args(arguments)
    files = [*portraits(), *_expand(options.inputs)]
    people: list[Person] = []
    used: list[tuple[Path, int, int]] = []
    for file in files:
        found = observe(file)
        people += found
        used.append((file, len(found), sum(len(p.points) for p in found)))
    model = builtin.assemble(mean_face(people))
    model = LinearFaceModel(**{**vars(model), "pdm": pdm.derive_pdm(model)})
    options.output.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, options.output)
    sidecar = options.output.with_suffix(".md")
    sidecar.write_text(describe(model, used, options.output), encoding="utf-8")
    print(f"{options.output}: {len(people)} people; {sidecar}")


def portraits() -> list[Path]:
    """The public-domain portraits that installed packages carry."""
    places = (
        ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
        ("skimage", "data/astronaut.png"),
    )
    found: list[Path] = []
    for package, inside in places:
        spec = importlib.util.find_spec(package)
        folders = (spec.submodule_search_locations or []) if spec is not None else []
        found += [Path(folder) / inside for folder in folders if (Path(folder) / inside).is_file()]
    return found


def observe(file: Path) -> list[Person]:
    """FaceMesh's points of the people in a picture or a video, as iBUG-68 with depth, px."""
    import mediapipe as mp

    video = file.suffix.lower() in VIDEOS
    with mp.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=1 if video else 10, refine_landmarks=True
    ) as network:
        faces: list[NDArray[np.float64]] = []
        for rgb in _video(file) if video else _picture(file):
            height, width = rgb.shape[:2]
            found = network.process(rgb).multi_face_landmarks or []
            for face in found:
                points = np.array([[p.x, p.y, p.z] for p in face.landmark])
                # FaceMesh counts pixels from the corner; z has the scale of x.
                points = points * [width, height, width] - [0.5, 0.5, 0.0]
                faces.append(schemes.convert(points, schemes.MEDIAPIPE478, schemes.IBUG68))
    if not faces:
        return []
    if video:
        return [Person(file.name, np.stack(faces))]
    return [Person(f"{file.name}#{i}", face[None]) for i, face in enumerate(faces)]


def describe(model: LinearFaceModel, used: Sequence[tuple[Path, int, int]], output: Path) -> str:
    """The sidecar: what the model is, what it was made from, and what each name means."""
    from facemake.backends.fit.fields import expression_fields
    from facemake.backends.fit.proportions import FREE, FREE_MM, FREE_REACH_MM, identity_fields

    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    lines = [
        f"# {model.name}",
        "",
        f"The built-in face model of facemake, {output.name} (SHA-256 {digest}). Licence: "
        f"{model.licence}. iBUG-68, mm, x image-right, y down, z away from the camera; origin on "
        "the midline, level with the mean of the inner 51 points, 41 mm behind the nose tip.",
        "",
        "Made by `python -m facemake.backends.fit.build_builtin`; do not edit.",
        "",
        "## Mean face",
        "",
        "Landmarks of MediaPipe FaceMesh on the files below, aligned by similarity (generalised "
        "Procrustes), averaged over people, made symmetric, scaled to 89 mm between the outer eye "
        "corners, the mouth from those who keep it closed and do not smile. Depth is FaceMesh's "
        "own, multiplied by one factor that brings the nose tip 43 mm before the outer eye corners "
        "(`bootstrap.py` has the sources). Bundle adjustment of the points of turning heads was "
        "tried for the depth and given up: within the 20 degrees that those heads turn it "
        "flattened the face to half its relief. Only this average is in the file: no picture, and "
        "no face of one person.",
        "",
        "| file | SHA-256 | people | faces seen |",
        "|---|---|---|---|",
    ]
    for file, n_people, n_faces in used:
        sha = hashlib.sha256(file.read_bytes()).hexdigest()
        lines.append(f"| {file.name} | {sha[:16]}… | {n_people} | {n_faces} |")
    lines += [
        "",
        "grace_hopper.jpg (in matplotlib) and astronaut.png (in scikit-image) are in the public "
        "domain. Other files were looked at and are not distributed: without them the script gives "
        "a slightly different mean face.",
        "",
        "## Expressions",
        "",
        "`_l` and `_r` are the image's sides. Coefficients are not negative; 1 is a full movement.",
        "",
        "| name | region | what it is |",
        "|---|---|---|",
        *(f"| {f.name} | {f.region} | {f.says} |" for f in expression_fields(model.mean)),
        "",
        "## Identity",
        "",
        "1 is one standard deviation.",
        "",
        "| name | what it is |",
        "|---|---|",
        *(f"| {f.name} | {f.says} |" for f in identity_fields(model.mean)),
        "",
        f"And {sum(n.startswith(FREE) for n in model.identity_names)} modes `{FREE}…` of a "
        f"Gaussian process: smooth deviations of {FREE_MM:g} mm over {FREE_REACH_MM:g} mm that no "
        "list of proportions foresees (`proportions.py` has the source).",
    ]
    return "\n".join(lines) + "\n"


def _expand(inputs: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in inputs:
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        files += [f for f in inside if f.suffix.lower() in VIDEOS | PICTURES]
    return files


def _picture(file: Path) -> Iterator[NDArray[np.uint8]]:
    import cv2

    bgr = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if bgr is not None:
        yield np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _video(file: Path) -> Iterator[NDArray[np.uint8]]:
    import av

    with av.open(str(file)) as container:
        count = container.streams.video[0].frames
        step = max(1, count // FRAMES_PER_VIDEO)
        for index, frame in enumerate(container.decode(video=0)):
            if index % step == 0:
                yield np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)


if __name__ == "__main__":
    main()
