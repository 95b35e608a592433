"""Stand-in for the programs of 3DI and 3DI-lite. It measures nothing.

One file plays every program of both engines, told apart by the name that it was started as and by
its folder (`build.py` copies it under each name). It takes the arguments of the real programs, is
strict about them and about the working directory, decodes the video, and writes files of the real
formats. The faces in them are made up: a fixed mean face that moves smoothly in the middle of the
picture, the same for the same video. All files of one video tell of the same face, so that numbers
can be checked against each other; none of them says anything about what is in the picture, but that
a frame without contrast is taken for one without a face.

`standin.json` plays failures: {"video_detect_face": "nan"}; see MODES. It is in the install folder,
or, for images, in the folder that the program writes to.

Python 3.9 or later, PyAV, and nothing else: it also runs in images.
"""
# ruff: noqa: B905 (zip of Python 3.9 knows no strict)

import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import socket
import struct
import sys
import time
from pathlib import Path

SAYS = "stand-in for 3DI, no measurement"
FOV = 30.0
"""Degrees; what programs assume that are not told of the camera."""
LEAST_CONTRAST = 8.0
"""Standard deviation of luma, of 255: a frame of less has no face."""
LEAST_WIDTH = 10.0
"""px: a narrower rectangle is no face."""
N_EXPRESSIONS, N_IDENTITY = 79, 199
FULL_VERTICES = 19830
SIOCGIFFLAGS, IFF_UP = 0x8913, 1  # of Linux
LITE_MODEL = "BFMmm-23660"
MODES = {
    "exit": "says that it failed, exit code 1",
    "nothing": "writes nothing, and ends as if all were well",
    "empty": "writes empty files",
    "half": "writes files that are cut in the middle of a number",
    "nan": "writes one NaN where a number should be",
    "inf": "writes one infinity where a number should be",
    "columns": "writes one column too few",
    "frames": "writes half of the rows",
    "sleep": "never ends",
    "noise": "says 1 MB on standard error, exit code 3",
    "one": "writes only the first of its files",
}


class ProgramError(Exception):
    """What a program says when it cannot go on, and its exit code."""

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


# --- the face ------------------------------------------------------------------------------------
# mm; x to the image's right, y down, z forward (away from the camera); placed by hand. A point
# with x is also the mirror image of one with -x, so the left half and the middle are enough.

_BROW = [(-55, -43, 9), (-47, -51, -2), (-36, -55, -9), (-25, -54, -14), (-13, -51, -17)]
_BRIDGE = [(0, -33, -17), (0, -20, -25), (0, -7, -33), (0, 6, -41)]
_UNDER_NOSE = [(-15, 14, -18), (-8, 17, -23), (0, 19, -26)]
_EYE = [
    (-44.5, -31, 5),
    (-37, -36, -2),
    (-24, -36, -5),
    (-16, -30, -4),
    (-25, -28, -4),
    (-37, -28, -1),
]
_UPPER_LIP = [(-26, 43, -8), (-17, 38, -17), (-7, 35, -23), (0, 36.5, -24)]
_LOWER_LIP = [(-17, 48, -15), (-8, 52, -20), (0, 53, -21)]
_INNER_LIP = [(-21, 43, -10), (-8, 42, -18), (0, 42.5, -20)]
_INNER_LOW = [(-8, 44, -18), (0, 44.5, -19.5)]


def _mirror(points):
    return [(-x, y, z) for x, y, z in points]


def _mean_face():
    """The 51 points in iBUG's order."""
    eye = _mirror(_EYE)
    return [
        *_BROW,
        *_mirror(_BROW[::-1]),
        *_BRIDGE,
        *_UNDER_NOSE,
        *_mirror(_UNDER_NOSE[1::-1]),
        *_EYE,
        *(eye[i] for i in (3, 2, 1, 0, 5, 4)),
        *_UPPER_LIP,
        *_mirror(_UPPER_LIP[2::-1]),
        *_mirror(_LOWER_LIP[:2]),
        *_LOWER_LIP[::-1],
        *_INNER_LIP,
        *_mirror(_INNER_LIP[1::-1]),
        *_mirror(_INNER_LOW[:1]),
        *_INNER_LOW[::-1],
    ]


MEAN = [tuple(float(v) for v in p) for p in _mean_face()]


def _expressions():
    """For each of the 79 coefficients: point -> (dx, dy, dz) in mm at 1."""
    lower = {38: 0.8, 39: 1.0, 40: 1.0, 41: 1.0, 42: 0.8, 48: 1.0, 49: 1.0, 50: 1.0}
    smile = {31: (-8, -7, 4), 43: (-7, -6, 4), 32: (-4, -4, 2), 42: (-4, -4, 2), 33: (-1, -1, 0)}
    mirrored = {31: 37, 43: 47, 32: 36, 42: 38, 33: 35}
    corners = (31, 37, 43, 47)
    mouth = range(31, 51)
    modes = [
        # the jaw opens
        {**{p: (0, 20 * w, 6 * w) for p, w in lower.items()}, **dict.fromkeys(corners, (0, 4, 1))},
        # the corners of the mouth go up and out, the image's left, then its right
        smile,
        {mirrored[p]: (-x, y, z) for p, (x, y, z) in smile.items()},
        # the brows go up; their inner ends go down and together
        dict.fromkeys(range(10), (0, -10, 1)),
        {3: (2, 6, 0), 4: (3, 8, 0), 5: (-3, 8, 0), 6: (-2, 6, 0)},
        # the lids close
        {
            **dict.fromkeys((20, 21, 26, 27), (0, 7, 0)),
            **dict.fromkeys((23, 24, 29, 30), (0, -0.8, 0)),
        },
        # the outer ends of the brows go up
        {0: (0, -8, 1), 1: (0, -7, 1), 8: (0, -7, 1), 9: (0, -8, 1)},
        # the lips go together and forward; the corners of the mouth go down
        {p: (-0.3 * MEAN[p][0], 0, -5) for p in mouth},
        dict.fromkeys(corners, (0, 6, 2)),
        # the nose is wrinkled
        {14: (0, -4, 0), 15: (0, -2, 0), 17: (0, -2, 0), 18: (0, -4, 0), 12: (0, -1, 0)},
    ]
    for k in range(len(modes), N_EXPRESSIONS):  # one point, one way, a little
        way = [0.0, 0.0, 0.0]
        way[(k + k // 51) % 3] = 0.3
        modes.append({7 * k % 51: tuple(way)})
    return [{p: tuple(v / 1000 for v in way) for p, way in mode.items()} for mode in modes]


EXPRESSIONS = _expressions()


def deformation(coefficients):
    """What 79 coefficients move: 51 of [dx, dy, dz], mm."""
    moved = [[0.0, 0.0, 0.0] for _ in MEAN]
    for value, mode in zip(coefficients, EXPRESSIONS):
        for point, way in mode.items():
            for axis in range(3):
                moved[point][axis] += value * way[axis]
    return moved


def landmark_vertices(n_vertices):
    """Which vertices of a mesh are the 51 points."""
    step = n_vertices // len(MEAN)
    return [step // 2 + step * i for i in range(len(MEAN))]


def mean_mesh(n_vertices):
    """The mean person: the 51 points among vertices of half an ellipsoid."""
    mesh = []
    for i in range(n_vertices):
        height = 1 - 2 * (i + 0.5) / n_vertices
        around = math.pi * (0.5 + (i * 0.6180339887498949) % 1.0)
        ring = math.sqrt(1 - height * height)
        x, y, z = 75 * ring * math.sin(around), 108 * height, 85 * ring * math.cos(around)
        mesh.append((x, y, 60 + z))
    for vertex, point in zip(landmark_vertices(n_vertices), MEAN):
        mesh[vertex] = point
    return mesh


def with_identity(vertex, point, alpha):
    """A point of the mean person for the 199 numbers of another one; linear in them."""
    x, y, z = point
    dx = 0.02 * alpha[0] * x + 0.0002 * alpha[3] * x * y
    dy = 0.02 * alpha[1] * y + 0.0002 * alpha[4] * abs(x) * y
    dz = 0.02 * alpha[2] * z + 0.0002 * alpha[5] * x * x
    dz += 0.05 * alpha[6 + vertex % (N_IDENTITY - 6)]
    return x + dx, y + dy, z + dz


# --- the made up person and what it does ---------------------------------------------------------


def rotation(pitch, yaw, roll):
    """Rz(roll) Ry(yaw) Rx(pitch)."""
    cx, sx = math.cos(pitch), math.sin(pitch)
    cy, sy = math.cos(yaw), math.sin(yaw)
    cz, sz = math.cos(roll), math.sin(roll)
    return [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]


def rotation_vector(r):
    """Of a rotation matrix by less than half a turn."""
    w = [r[2][1] - r[1][2], r[0][2] - r[2][0], r[1][0] - r[0][1]]
    sine = math.sqrt(sum(v * v for v in w)) / 2
    angle = math.atan2(sine, (r[0][0] + r[1][1] + r[2][2] - 1) / 2)
    return [v * (angle / sine if sine else 1.0) / 2 for v in w]


class Person:
    """Who is in a video, and how they move: all of it made from the hash of the file."""

    def __init__(self, video):
        self._seed = hashlib.sha256(Path(video.path).read_bytes()).digest()
        self._width, self._height = video.width, video.height
        self.alpha = [math.sin(self._phase(k) + k) for k in range(N_IDENTITY)]
        self.beta = [math.cos(self._phase(k) + k) for k in range(N_IDENTITY)]

    def _phase(self, k):
        return 2 * math.pi * self._seed[k % len(self._seed)] / 256

    def _wave(self, k, t, period):
        return math.sin(2 * math.pi * t / period + self._phase(k))

    def angles(self, t):
        """Pitch, yaw and roll in frame t, radians."""
        waves = (self._wave(0, t, 70), self._wave(1, t, 90), self._wave(2, t, 110))
        return 0.12 * waves[0], 0.25 * waves[1], 0.08 * waves[2]

    def expression(self, t):
        """The 79 coefficients in frame t."""
        e = [60 * self._wave(k, t, 40 + k) for k in range(N_EXPRESSIONS)]
        for k, size in enumerate((200, 250, 220, 150, 120, 100, 80, 60, 70, 90)):
            e[k] = size * (1 + self._wave(k, t, 40 + 7 * k))  # a movement has one way
        blink = (t + self._seed[7]) % 75
        e[5] += 800 * math.exp(-(((blink - 37) / 2.5) ** 2))
        return e

    def translation(self, t, camera):
        """Where the head is in frame t, mm: near the middle, 0.4 of the picture's height."""
        fx, fy, cx, cy = camera
        z = fx * 190 / (0.4 * self._height) * (1 + 0.05 * self._wave(3, t, 130))
        u = self._width * (0.5 + 0.04 * self._wave(4, t, 85))
        v = self._height * (0.5 + 0.03 * self._wave(5, t, 95))
        return (u - cx) * z / fx, (v - cy) * z / fy, z

    def landmarks(self, t, n_vertices):
        """x0 y0 ... of the 51 points in frame t, px, as a camera of FOV sees them."""
        camera = camera_of(f"{FOV}", self._width, self._height)
        r, (tx, ty, tz) = rotation(*self.angles(t)), self.translation(t, camera)
        row = []
        moved = deformation(self.expression(t))
        for vertex, point, way in zip(landmark_vertices(n_vertices), MEAN, moved):
            p = [a + b for a, b in zip(with_identity(vertex, point, self.alpha), way)]
            x, y, z = (sum(a * b for a, b in zip(line, p)) for line in r)
            row.append(camera[0] * (x + tx) / (z + tz) + camera[2])
            row.append(camera[1] * (y + ty) / (z + tz) + camera[3])
        return row


TEMPLATE = [
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
]
"""ArcFace's five points in 112 x 112; 3DI-lite's crop has them at 1.5 times that, plus 25."""


def crop_roll(landmarks):
    """By how much the similarity from the template to a frame's landmarks turns, radians."""
    points = list(zip(landmarks[::2], landmarks[1::2]))

    def middle(one, other):
        return tuple((points[one][axis] + points[other][axis]) / 2 for axis in (0, 1))

    seen = [middle(19, 22), middle(25, 28), points[13], points[31], points[37]]
    ours = [(1.5 * x + 25, 1.5 * y + 25) for x, y in TEMPLATE]
    means = [[sum(p[axis] for p in five) / 5 for axis in (0, 1)] for five in (ours, seen)]
    along = across = 0.0
    for a, b in zip(ours, seen):
        ax, ay = a[0] - means[0][0], a[1] - means[0][1]
        bx, by = b[0] - means[1][0], b[1] - means[1][1]
        along += ax * bx + ay * by
        across += ax * by - ay * bx
    return math.atan2(across, along)


def lite_pose(angles, landmarks):
    """The three last numbers of 3DI-lite's pose: the turn as its crop shows it.

    Who reads it negates x and turns by the crop's roll; here the other way round.
    """
    turn = rotation(0.0, 0.0, -crop_roll(landmarks))
    whole = rotation(*angles)
    columns = list(zip(*whole))
    x, y, z = rotation_vector(
        [[sum(a * b for a, b in zip(row, column)) for column in columns] for row in turn]
    )
    return [-x, y, z]


# --- what comes in -------------------------------------------------------------------------------


class Video:
    """A decoded video: its size, and which frames have contrast."""

    def __init__(self, path):
        import av  # here, so that programs that see no video need no PyAV

        if not Path(path).is_file():
            raise ProgramError(f"cannot open video {path}")
        self.path, self.lively = path, []
        try:
            # an open file: a name with a colon is no protocol
            with open(path, "rb") as file, av.open(file) as container:
                stream = container.streams.video[0]
                self.width, self.height = stream.width, stream.height
                self._count = stream.frames
                for packet in container.demux(stream):
                    self._take(packet, av)
        except (av.FFmpegError, IndexError, OSError) as error:
            raise ProgramError(f"cannot decode video {path}: {error}") from None
        if not self.lively:
            raise ProgramError(f"no frame in video {path}")
        print()

    def __len__(self):
        return len(self.lively)

    def _take(self, packet, av):
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            return  # damaged: the decoder goes on behind it
        for frame in frames:
            grey = frame.reformat(width=64, height=36, format="gray")
            plane = grey.planes[0]
            luma = bytes(plane)[: plane.line_size * 36]
            rows = [luma[y * plane.line_size : y * plane.line_size + 64] for y in range(36)]
            values = b"".join(rows)
            mean = sum(values) / len(values)
            spread = math.sqrt(max(sum(v * v for v in values) / len(values) - mean * mean, 0))
            self.lively.append(spread >= LEAST_CONTRAST)
            print(f"Processing frame #{len(self.lively)}/{self._count}", end="\r", flush=True)


def numbers(path, columns, rows=None):
    """The numbers of an input file, checked for its columns and rows; NaN is a number here."""
    try:
        lines = Path(path).read_text(encoding="ascii").splitlines()
        table = [[float(word) for word in line.split()] for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise ProgramError(f"cannot read {path}: {error}") from None
    if not table or any(len(row) != columns for row in table):
        raise ProgramError(f"{path}: wanted {columns} columns in every row")
    if rows is not None and len(table) != rows:
        raise ProgramError(f"{path}: has {len(table)} rows, wanted {rows}")
    return table


def configured_model(config):
    """The face model of a landmark configuration, by its name."""
    match = re.fullmatch(r"(.+)\.cfg[12]\.([^.]+)\.txt", Path(config).name)
    if not match:
        raise ProgramError(f"{config}: is named like no configuration")
    if not Path(config).is_file():
        raise ProgramError(f"cannot open configuration {config}")
    return vertices_of(match.group(1))


def vertices_of(model):
    """The number of vertices of a face model, which must be installed."""
    folder = Path("models") / "MMs" / model
    if not folder.is_dir():
        raise ProgramError(f"OSError: ./{folder}/X0_mean.dat not found.")
    digits = model.rpartition("-")[2]
    if not digits.isdigit() or int(digits) < 1000:
        raise ProgramError(f"./{folder} is no face model of this stand-in")
    return int(digits)


def camera_of(word, width, height):
    """fx, fy, cx, cy in px of a field of view in degrees, or of a calibration file."""
    try:
        fov = float(word)
    except ValueError:
        return _calibrated(word)
    if not 0 < fov < 180:
        raise ProgramError(f"{word} degrees are no field of view")
    focal = width / 2 / math.tan(math.radians(fov) / 2)
    return focal, focal, width / 2, height / 2


def _calibrated(path):
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProgramError(f"cannot read calibration {path}: {error}") from None
    for name in ("cameraMatrix_postUndistort", "camera_matrix", "cameraMatrix_preUndistort"):
        found = re.search(name + r".*?data:\s*\[([^]]*)\]", text, re.DOTALL)
        if found:
            values = [float(word) for word in found.group(1).replace(",", " ").split()]
            if len(values) == 9:
                return values[0], values[4], values[2], values[5]
    raise ProgramError(f"{path}: has no camera matrix")


# --- the programs --------------------------------------------------------------------------------
# Each takes its arguments and returns {path: rows of numbers as text}; a path to copy for a video.


def undistort(video, camera, out):
    seen = Video(video)
    camera_of(camera, seen.width, seen.height)
    print("this stand-in undistorts nothing: the video is copied as it is")
    return {out: Path(video)}


def detect_face(video, rects):
    seen = Video(video)
    person, rows = Person(seen), []
    for t, lively in enumerate(seen.lively):
        if not lively:
            rows.append(["0"] * 4)
            continue
        points = person.landmarks(t, FULL_VERTICES)
        x0, x1, y0, y1 = (f(points[i::2]) for i in (0, 1) for f in (min, max))
        wide = 0.15 * (x1 - x0)
        box = (x0 - wide, y0 - wide, x1 - x0 + 2 * wide, y1 - y0 + 3 * wide)
        rows.append([f"{v:.0f}" for v in box])
    return {rects: rows}


def detect_landmarks(video, rects, landmarks, config):
    n_vertices, seen = configured_model(config), Video(video)
    person, rows = Person(seen), []
    for t, box in enumerate(numbers(rects, 4, len(seen))):
        there = box[2] > LEAST_WIDTH
        points = person.landmarks(t, n_vertices) if there else [0.0] * 102
        rows.append([f"{v:.4f}" for v in points])
    return {landmarks: rows}


def learn_identity(video, landmarks, config, camera, shape_coeff, texture_coeff):
    configured_model(config)
    seen = Video(video)
    camera_of(camera, seen.width, seen.height)
    _some_face(numbers(landmarks, 102, len(seen)))
    person = Person(seen)
    return {
        shape_coeff: [[f"{v:.6f}"] for v in person.alpha],
        texture_coeff: [[f"{v:.6f}"] for v in person.beta],
    }


def _some_face(landmarks):
    if not any(any(row) for row in landmarks):
        raise ProgramError("no frame of the video has a face")


def save_shape(shape_coeff, texture_coeff, one, other, shape, texture, model):
    float(one), float(other)
    n_vertices = vertices_of(model)
    alpha = [row[0] for row in numbers(shape_coeff, 1, N_IDENTITY)]
    beta = [row[0] for row in numbers(texture_coeff, 1, N_IDENTITY)]
    mesh = [with_identity(i, point, alpha) for i, point in enumerate(mean_mesh(n_vertices))]
    tones = (128 + 5 * beta[i % N_IDENTITY] for i in range(n_vertices))
    return {
        shape: [[f"{v:.18e}" for v in point] for point in mesh],
        texture: [[f"{tone:.18e}"] for tone in tones],
    }


def fit(video, landmarks, config, camera, shape, texture, expression, pose, illumination):
    n_vertices, seen = configured_model(config), Video(video)
    lens = camera_of(camera, seen.width, seen.height)
    points = numbers(landmarks, 102, len(seen))
    numbers(shape, 3, n_vertices)
    numbers(texture, 1, n_vertices)
    person = Person(seen)
    rows = {expression: [], pose: [], illumination: []}
    with_face = [t for t, row in enumerate(points) if any(row)]
    for t in range(max(with_face, default=0)):  # it leaves out the last frame that it fitted
        fitted = any(points[t])
        pitch, yaw, roll = person.angles(t)
        turn = rotation_vector(rotation(pitch, yaw, roll))
        where = person.translation(t, lens)
        for path, values in (
            (expression, person.expression(t)),
            (pose, [*where, *turn, yaw, pitch, roll]),
            (illumination, [48.0, 9.9, 798.2, 0.005]),
        ):
            rows[path].append([f"{v:.6f}" if fitted else "nan" for v in values])
    return rows


def fit_lite(video, landmarks, expression, pose, shape_coeff, texture_coeff, illumination):
    vertices_of(LITE_MODEL)
    seen = Video(video)
    points = numbers(landmarks, 102, len(seen))
    _some_face(points)
    person = Person(seen)
    rows = {expression: [], pose: [], illumination: []}
    row_e, row_p = ["nan"] * N_EXPRESSIONS, ["nan"] * 6
    for t in range(len(seen) - 1):
        if any(points[t]):  # else the row before once more
            angles = lite_pose(person.angles(t), points[t])
            row_e = [f"{v:.6f}" for v in person.expression(t)]
            row_p = [f"{v:.9f}" for v in (0.1, -0.2, 1500.0, *angles)]
        rows[expression].append(row_e)
        rows[pose].append(row_p)
        rows[illumination].append(["48.06574", "9.913327", "798.2065", "0.005"])
    # a mean over frames, of which the first ones may be NaN
    known = any(points[0])
    rows[shape_coeff] = [[f"{v:.6f}" if known else "nan"] for v in person.alpha]
    rows[texture_coeff] = [[f"{v:.6f}" if known else "nan"] for v in person.beta]
    return rows


def smooth_expression(expression, smooth, model):
    vertices_of(model)
    return {smooth: _smoothed(numbers(expression, N_EXPRESSIONS))}


def smooth_pose(pose, smooth):
    table = numbers(pose, 9)
    rows = _smoothed([row[:6] for row in table])
    # the angles stay as they are, NaN where they are NaN
    return {smooth: [row + [f"{v:.6f}" for v in old[6:]] for row, old in zip(rows, table)]}


def filled_in(table):
    """Rows of NaN become the mean of the others."""
    known = [row for row in table if not any(math.isnan(v) for v in row)]
    if not known:
        raise ProgramError("no frame was fitted")
    mean = [sum(column) / len(known) for column in zip(*known)]
    return [mean if any(math.isnan(v) for v in row) else row for row in table]


def _smoothed(table):
    """A mean of three rows, after rows of NaN were filled in."""
    whole, out = filled_in(table), []
    for t in range(len(whole)):
        near = whole[max(t - 1, 0) : t + 2]
        out.append([f"{sum(column) / len(near):.6f}" for column in zip(*near)])
    return out


def canonical(expression, out, model):
    vertices_of(model)
    rows = []
    for e in numbers(expression, N_EXPRESSIONS):
        row = []
        for (x, y, z), (dx, dy, dz) in zip(MEAN, deformation(e)):
            row += [x + dx, -(y + dy), z + dz]
        rows.append([f"{v:.4f}" for v in row])
    return {out: rows}


_LIPS = ([*range(31, 37), *range(43, 47)], [*range(37, 43), *range(47, 51)])
_FACE = [range(0, 5), range(5, 10), range(10, 19), range(19, 25), range(25, 31)]
REGIONS = list(zip([*_FACE, *_LIPS], (4, 4, 4, 4, 4, 5, 7)))
REGIONS_LITE = list(zip([*_FACE, [*_LIPS[0], *_LIPS[1]]], (5, 5, 3, 7, 7, 23)))
"""Points of a region, and how many coefficients it has."""


def localized(expression, out, model, basis, normalize):
    if not re.fullmatch(r"[\w.\-]+", basis):
        raise ProgramError(f"no basis {basis}")
    vertices_of(model)
    return {out: _localized(numbers(expression, N_EXPRESSIONS), REGIONS, normalize)}


def localized_lite(expression, out, normalize):
    vertices_of(LITE_MODEL)
    table = filled_in(numbers(expression, N_EXPRESSIONS))
    return {out: _localized(table, REGIONS_LITE, normalize)}


def _localized(table, regions, normalize):
    """For each coefficient of a region: how far its points go one way, mm, never negative."""
    if normalize not in ("0", "1"):
        raise ProgramError(f"{normalize} is neither 0 nor 1")
    rows = []
    for e in table:
        moved, row = deformation(e), []
        for points, count in regions:
            for j in range(count):
                axis, sign, waves = (1, 0, 2)[j // 2 % 3], (1, -1)[j % 2], j // 6
                value = 0.0
                for i, point in enumerate(points):
                    weight = math.cos(math.pi * waves * (i + 0.5) / len(points))
                    value += sign * weight * moved[point][axis] / len(points)
                row.append(value if value > 0 or math.isnan(value) else 0.0)
        if normalize == "1":
            row = [(v - 0.01 * (j + 1)) / (0.5 + 0.01 * j) for j, v in enumerate(row)]
        rows.append([f"{v:.6f}" for v in row])
    return rows


_LITE_FILES = ("expression", "pose", "shape_coeff", "texture_coeff", "illumination")
PROGRAMS = {
    "video_undistort": (undistort, ("out",)),
    "video_detect_face": (detect_face, ("rects",)),
    "video_detect_landmarks": (detect_landmarks, ("landmarks",)),
    "video_learn_identity": (learn_identity, ("shape_coeff", "texture_coeff")),
    "video_from_saved_identity": (fit, ("expression", "pose", "illumination")),
    "scripts/save_identity_and_shape.py": (save_shape, ("shape", "texture")),
    "scripts/total_variance_rec.py": (smooth_expression, ("smooth",)),
    "scripts/total_variance_rec_pose.py": (smooth_pose, ("smooth",)),
    "scripts/produce_canonicalized_3Dlandmarks.py": (canonical, ("out",)),
    "scripts/compute_local_exp_coefficients.py": (localized, ("out",)),
    "process_video.py": (fit_lite, _LITE_FILES),
    "produce_canonicalized_3Dlandmarks.py": (canonical, ("out",)),
    "compute_local_exp_coefficients.py": (localized_lite, ("out",)),
}
"""Path in the install folder -> what it does, and which arguments are files that it writes."""

ENDS_WITH_ONE = ("video_undistort", "video_detect_landmarks", "video_learn_identity")
"""Programs whose exit code is 1 when all went well, as in the public source of the real ones."""


# --- what goes out -------------------------------------------------------------------------------


def write(made, mode):
    """Write what a program made, or what the mode makes of it."""
    items = list(made.items())[: 1 if mode == "one" else None]
    for path, content in items:
        if isinstance(content, Path):
            shutil.copyfile(str(content), path)
            if mode in ("empty", "half"):
                os.truncate(path, 0 if mode == "empty" else os.path.getsize(path) // 2)
            continue
        rows = [list(row) for row in content]
        middle = len(rows) // 2
        if mode in ("nan", "inf"):
            rows[middle][-1] = mode
        elif mode == "columns":
            rows = [row[:-1] for row in rows]
        elif mode == "frames":
            rows = rows[:middle]
        text = "".join(" ".join(row) + "\n" for row in rows)
        if mode == "empty":
            text = ""
        elif mode == "half":
            text = text[: len(text) // 2].rstrip("\n") + ".1e-"
        Path(path).write_text(text, encoding="ascii")


def interfaces_up():
    """Names of this process's network interfaces that are up (/sys may show another's)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asks:
        for _, name in socket.if_nameindex():
            told = fcntl.ioctl(asks, SIOCGIFFLAGS, struct.pack("16s16x", name.encode()))
            if struct.unpack_from("h", told, 16)[0] & IFF_UP:
                yield name


def check_image(video, folders):
    """In an image: the video cannot be harmed, there is no network, and who owns the output."""
    if video is not None and Path(video).parent.resolve() not in folders:
        probe = Path(video).parent / ".standin-was-here"
        try:
            probe.touch()
            probe.unlink()
        except OSError:
            pass
        else:
            raise ProgramError(f"{probe.parent} can be written to", 97)
    for name in interfaces_up():
        if name != "lo":
            raise ProgramError(f"there is a network, by {name}", 96)
    for folder in folders:
        if folder.stat().st_uid != os.getuid():
            raise ProgramError(
                f"{folder} is of user {folder.stat().st_uid}, this is {os.getuid()}", 95
            )


def mode_of(folders, name):
    """The failure that a `standin.json` in one of the folders asks of a program; "" for none."""
    for folder in folders:
        try:
            asked = json.loads((folder / "standin.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        mode = asked.get(name) or asked.get(Path(name).name) or ""
        if mode and mode not in MODES:
            raise ProgramError(f"standin.json: {mode} is none of {', '.join(MODES)}")
        if mode:
            return mode
    return ""


def run(executable, arguments):
    """Play one program; its exit code. Raises ProgramError."""
    here = executable.parent
    root = here.parent if here.name == "scripts" else here
    name = executable.relative_to(root).as_posix()
    print(f"{SAYS}: {name} {arguments}")
    print(f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', '')}", flush=True)
    if name not in PROGRAMS:
        raise ProgramError(f"there is no program {name}")
    function, written = PROGRAMS[name]
    words = function.__code__.co_varnames[: function.__code__.co_argcount]
    if len(arguments) != len(words):
        raise ProgramError(
            f"usage: {name} {' '.join(words).upper()}; got {len(arguments)} arguments"
        )
    if Path.cwd().resolve() != root.resolve():
        raise ProgramError(f"{name} must be started in {root}, not in {Path.cwd()}")
    given = dict(zip(words, arguments))
    folders = {Path(given[word]).parent.resolve() for word in written}
    for folder in folders:
        if not folder.is_dir():
            raise ProgramError(f"Directory for target file(s) does not exist: {folder}")
    if str(root).startswith("/app/"):
        check_image(given.get("video"), folders)
    mode = mode_of([root, *folders], name)
    if mode == "exit":
        raise ProgramError("told to fail")
    if mode == "noise":
        sys.stderr.write("told to be loud\n" * (1 << 16))
        raise ProgramError("told to fail loudly", 3)
    if mode == "sleep":
        while True:
            time.sleep(3600)
    made = function(*arguments)
    if mode != "nothing":
        write(made, mode)
    print("Done.")
    return int(name in ENDS_WITH_ONE)


if __name__ == "__main__":
    try:
        sys.exit(run(Path(sys.argv[0]).absolute(), sys.argv[1:]))
    except ProgramError as error:
        print(f"{SAYS}: {error}", file=sys.stderr)
        sys.exit(error.code)
