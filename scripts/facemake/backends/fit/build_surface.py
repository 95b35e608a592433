"""Make the average face of interpolated surfaces: `python -m ...fit.build_surface [FILE ...]`.

Looks at what `build_builtin` looks at: the two public-domain portraits that installed wheels carry,
and pictures and videos on the command line. One video, and one face of one picture, counts as one
person. What is written is `face_surface.npz`, an average only, and `face_surface.md`.
"""

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemake import geometry, schemes
from facemake.backends.fit import archive, builtin, interpolated
from facemake.backends.fit.build_builtin import FRAMES_PER_VIDEO, VIDEOS, portraits
from facemake.errors import ModelError

Array = NDArray[np.float64]

PINS = schemes.subset(schemes.MEDIAPIPE478, schemes.IBUG68)


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the average face and its description."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="*", type=Path, help="more pictures and videos")
    parser.add_argument("--output", type=Path, default=interpolated.PATH)
    options = parser.parse_args(arguments)
    model = builtin.load_builtin()
    people: list[Array] = []
    used: list[tuple[Path, int, int]] = []
    for file in (*portraits(), *options.inputs):
        found = observe(file)
        people += [typical(points, model.mean) for points in found]
        used.append((file, len(found), sum(map(len, found))))
    vertices = average(people, model.mean)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    archive.write({"vertices": vertices.astype(np.float32)}, options.output)
    sidecar = options.output.with_suffix(".md")
    sidecar.write_text(describe(used, model.sha256, options.output), encoding="utf-8")
    print(f"{options.output}: {len(people)} people; {sidecar}")


def observe(file: Path) -> list[Array]:
    """FaceMesh's points of each person in a picture or a video: (n, 468, 3) px, z away."""
    import mediapipe as mp

    video = file.suffix.lower() in VIDEOS
    with mp.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=1 if video else 10, refine_landmarks=True
    ) as network:
        faces: list[Array] = []
        for rgb in _frames(file, video):
            height, width = rgb.shape[:2]
            for face in network.process(rgb).multi_face_landmarks or []:
                points = np.array([[p.x, p.y, p.z] for p in face.landmark])
                # FaceMesh counts pixels from the corner; z has the scale of x
                points = points * [width, height, width] - [0.5, 0.5, 0.0]
                faces.append(points[: interpolated.N_VERTICES])
    if video:
        return [np.stack(faces)] if faces else []
    return [face[None] for face in faces]


def typical(points: Array, mean: Array) -> Array:
    """The median shape (468, 3) of a person's frames, laid on the mean landmarks (68, 3) mm."""
    laid = []
    for one in points:
        scale, rotation, shift = geometry.similarity3d(one[PINS], mean)
        laid.append(scale * geometry.rotate(rotation, one) + shift)
    return np.asarray(np.median(laid, axis=0))


def average(people: Sequence[Array], mean: Array) -> Array:
    """The average (468, 3) mm: each bent until its landmarks are the mean's, then made symmetric.

    Raises:
        ModelError: there is nobody, or the average is too lopsided to be mirrored.
    """
    if not people:
        raise ModelError("no face was found")
    shape = np.mean([interpolated.bent(person, PINS, mean) for person in people], axis=0)
    mirrored = shape * [-1.0, 1.0, 1.0]
    partner = ((mirrored[:, None] - shape) ** 2).sum(axis=-1).argmin(axis=1)
    if (partner[partner] != np.arange(len(shape))).any():
        raise ModelError("the average face is not symmetric enough to tell its halves: more people")
    return interpolated.bent(0.5 * (shape + mirrored[partner]), PINS, mean)


def describe(used: Sequence[tuple[Path, int, int]], model: str, output: Path) -> str:
    """The sidecar: what the file is, and what it was made from; `model` is the SHA-256 of one."""
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    lines = [
        "# The average face of interpolated surfaces",
        "",
        f"{output.name} (SHA-256 {digest}). Licence: {builtin.LICENCE}. {interpolated.N_VERTICES} "
        "vertices in the numbering of MediaPipe's face mesh, mm, x image-right, y down, z away "
        "from the camera. Its triangles are not in it: they are read from MediaPipe's package.",
        "",
        "Made by `python -m facemake.backends.fit.build_surface`; do not edit.",
        "",
        "Points of MediaPipe FaceMesh on the files below: the median of each person's frames, bent "
        f"until the landmarks are those of the mean face of the built-in model {model[:16]}… (so "
        "that nobody's mouth is open, and depth has the model's scale), averaged over people, made "
        "symmetric. Models that are landmarks alone get their surface from it, bent to their own "
        "mean face (`interpolated.py`): it need not be made again when a model changes. Only this "
        "average is in the file: no picture, no face of one person.",
        "",
        "| file | SHA-256 | people | faces seen |",
        "|---|---|---|---|",
    ]
    for file, n_people, n_faces in used:
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        lines.append(f"| {file.name} | {sha256[:16]}… | {n_people} | {n_faces} |")
    lines += [
        "",
        "grace_hopper.jpg (in matplotlib) and astronaut.png (in scikit-image) are in the public "
        "domain. Other files were looked at and are not distributed: without them the script gives "
        "a slightly different face.",
    ]
    return "\n".join(lines) + "\n"


def _frames(file: Path, video: bool) -> Iterator[NDArray[np.uint8]]:
    """RGB frames of a video, at most about `FRAMES_PER_VIDEO` of them, or the one of a picture."""
    if not video:
        from PIL import Image

        yield np.asarray(Image.open(file).convert("RGB"))
        return
    import av

    with av.open(str(file)) as container:
        step = max(1, container.streams.video[0].frames // FRAMES_PER_VIDEO)
        for index, frame in enumerate(container.decode(video=0)):
            if index % step == 0:
                yield np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)


if __name__ == "__main__":
    main()
