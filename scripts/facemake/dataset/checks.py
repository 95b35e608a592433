"""Whether a training set holds what its layout says: a pass over all of it, in pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from facemake.dataset.crop import global_params_in_crop
from facemake.dataset.fhog import fhog
from facemake.dataset.files import PYFACEAU, Keys, Rows, SetFile
from facemake.dataset.layout import AU_NAMES, FIELDS
from facemake.dataset.people import in_two_splits
from facemake.errors import TableError
from facemake.geometry import apply_affine
from facemake.template import CROP_SIZE

Level = Literal["error", "warning", "note"]

FAR = CROP_SIZE / 4
"""px; a landmark so far outside the crop is none of its face. Chin and ears of a turned face lie a
few pixels outside."""
_FAR_WORDS = f"a landmark lies more than {FAR:g} px outside the crop"
AFFINE_TOLERANCE = 0.01
"""px; the affine and both landmarks are float32."""
_SCALE_TOLERANCE, _ANGLE_TOLERANCE, _SHIFT_TOLERANCE = 1e-3, 1e-3, 0.05
_HOG_LOOKED_AT = 64
_HOG_TOLERANCE = 1e-3
_NAMED = 3
_JAW = 2 * 17
"""Numbers of iBUG-68 that iBUG-51 does not have: its first points."""
_APART = 12
"""Rows; half a second of most recordings."""

_MUST = ("hog_features", "landmarks", "global_params", "local_params", "bboxes")
_OPTIONAL = ("affine", "frame/landmarks", "frame/global_params", "metadata/times")
_SMALL = (
    *_MUST[1:],
    *_OPTIONAL,
    *("au_intensities", "metadata/frame_indices", "metadata/track", "metadata/quality_scores"),
    "metadata/confidence",
)


@dataclass
class Finding:
    """Something that was found in a file.

    Attributes:
        level: `error`: it is not what it says; `warning`: worth a look; `note`: good to know.
        name: of the check.
        words: what it is.
        count: examples that it is of; 0: of the file.
        first: the first of them, by name.
    """

    level: Level
    name: str
    words: str
    count: int = 0
    first: list[str] = field(default_factory=list)


class Checked:
    """What was found in a file.

    Attributes:
        findings: errors first.
        quality: (n,) score of each, NaN where unknown.
    """

    def __init__(self, n: int) -> None:
        self.findings: list[Finding] = []
        self.quality = np.full(n, np.nan, np.float32)
        self._names: list[str] = []  # of the errors that examples have
        self._marks = np.zeros(n, np.uint64)  # of each example, a bit for each of those

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self._marks)

    def new_error(self, name: str) -> int:
        """A number for an error that examples have."""
        self._names.append(name)
        assert len(self._names) <= 64, "there are fewer checks than bits"
        return len(self._names) - 1

    def mark(self, error: int, rows: NDArray[np.int64]) -> None:
        """Remember that these examples have it."""
        self._marks[rows] |= np.uint64(1 << error)

    def reasons(self, row: int) -> list[str]:
        """The names of an example's errors."""
        marks = int(self._marks[row])
        return [name for bit, name in enumerate(self._names) if marks >> bit & 1]

    @property
    def is_valid(self) -> bool:
        """Whether there is no error."""
        return not any(one.level == "error" for one in self.findings)

    def worst(self, most: int) -> list[int]:
        """The examples with most errors, then those of the lowest quality.

        Of the latter no two stand so close together in the file that they look the same, while
        there are others.
        """
        errors = np.zeros(len(self), np.int8)
        for bit in range(len(self._names)):
            errors += (self._marks >> np.uint64(bit) & np.uint64(1)).astype(np.int8)
        order = np.lexsort((np.nan_to_num(self.quality, nan=2.0), -errors))
        chosen: list[int] = []
        passed: list[int] = []
        near = np.zeros(len(order), np.bool_)
        for row in order.tolist():
            if len(chosen) == most:
                break
            if near[row] and not errors[row]:
                if len(passed) < most:
                    passed.append(row)
                continue
            chosen.append(row)
            near[max(0, row - _APART) : row + _APART + 1] = True
        return [*chosen, *passed][:most]


def check(file: SetFile) -> Checked:
    """Look at all of a training set.

    Memory: about 40 bytes an example, besides a piece of the file.

    Args:
        file: an open one.
    """
    return _Check(file).run()


class _Check:
    def __init__(self, file: SetFile) -> None:
        self.file = file
        self.found = Checked(len(file))
        self.keys: Keys | None = None
        self._by_name: dict[tuple[str, str], Finding] = {}
        self._numbers: dict[tuple[str, str], int] = {}

    def run(self) -> Checked:
        self._layout()
        self._attributes()
        for part in (self._keys, self._small, self._pictures, self._hog, self._hog_again):
            try:
                part()
            except TableError as error:
                self._say("error", "damage", str(error))
        order = {"error": 0, "warning": 1, "note": 2}
        self.found.findings.sort(key=lambda one: order[one.level])
        return self.found

    # --- of the file ------------------------------------------------------------------------------

    def _layout(self) -> None:
        for fault in self.file.faults:
            self._say("error", "layout", fault)
        faulty = " ".join(self.file.faults)
        missing = [f.name for f in FIELDS if f.name not in self.file.fields]
        missing = [name for name in missing if f"{name} " not in faulty]
        for name in missing:
            if not self.file.foreign or name in PYFACEAU:
                self._say("error", "layout", f"there is no {name}")
        apart = [name for name in missing if self.file.foreign and name not in PYFACEAU]
        if apart:
            self._say(
                "note",
                "layout",
                f"not written by facemake: there is no {', '.join(apart)}, so that what hangs on "
                "them is not checked",
            )
        if not len(self.file):
            self._say("warning", "examples", "there is no example")

    def _attributes(self) -> None:
        file = self.file
        names = file.au_names
        if names != list(AU_NAMES):
            said = "does not say what its action units are" if names is None else ", ".join(names)
            self._say("error", "au_names", f"the file {said}" if names is None else said)
        for name, wanted in (
            ("color_format", "RGB"),
            ("image_size", str([CROP_SIZE, CROP_SIZE])),
            ("landmark_scheme", "ibug68"),
        ):
            found = file.words_of(name)
            if found is not None and found != wanted:
                self._say("error", name, f"it is {found}, not {wanted}")

    def _keys(self) -> None:
        keys = self.keys = self.file.keys()
        repeated = keys.repeated()
        if repeated.any():
            self._rows(
                "warning", "repeated", "the same recording, frame and track again", repeated, 0
            )
        for words in in_two_splits([self.file]):
            self._say("error", "splits", words)
        if "metadata/subjects" in self.file.fields:
            names, numbers = self.file.numbers_of("metadata/subjects")
            unknown = np.array([not name for name in names], np.bool_)[numbers]
            if unknown.any():
                self._rows(
                    "note",
                    "subjects",
                    "nobody said who it is: training splits them by recording",
                    unknown,
                    0,
                )

    # --- of the examples --------------------------------------------------------------------------

    def _small(self) -> None:
        names = [name for name in _SMALL if name in self.file.fields]
        if not names:
            return
        for start, rows in self.file.rows(names):
            for look in _LOOKS:
                look(self, start, rows)
        far = self._by_name.get(("landmarks", _FAR_WORDS))
        if far is not None and self.file.foreign and 2 * far.count > len(self.file):
            far.words += " (pyfaceau wrote pixels of the frame)"

    def _finite(self, start: int, rows: Rows) -> None:
        for name in rows:
            if rows[name].dtype.kind != "f":
                continue
            values = rows[name].reshape(len(rows[name]), -1)
            self._rows("error", name, "an infinite value", np.isinf(values).any(axis=1), start)
            missing = np.isnan(values)
            if name.endswith("landmarks"):
                jawless = missing[:, :_JAW].all(axis=1) & ~missing[:, _JAW:].any(axis=1)
                self._rows("note", name, "iBUG-51: the jaw is not known", jawless, start)
                missing = missing & ~jawless[:, None]
            some, whole = missing.any(axis=1), missing.all(axis=1)
            if name in _MUST:
                self._rows("error", name, "a value that is no number (NaN)", some, start)
            elif name in _OPTIONAL[:-1]:
                self._rows("error", name, "some values, but not all, are NaN", some & ~whole, start)
                self._rows("note", name, "not known (NaN)", whole, start)
            elif name == "au_intensities":
                self._rows("warning", name, "no action unit is known", whole, start)
                self._rows("note", name, "some action units are not known", some & ~whole, start)
            elif name == "metadata/quality_scores":
                self._rows("error", name, "a quality that is no number (NaN)", some, start)

    def _ranges(self, start: int, rows: Rows) -> None:
        for name, low, high in (
            ("au_intensities", 0.0, 5.0),
            ("metadata/quality_scores", 0.0, 1.0),
            ("metadata/confidence", 0.0, 1.0),
            ("metadata/frame_indices", 0, np.inf),
            ("metadata/track", 0, np.inf),
        ):
            if name in rows:
                values = rows[name].reshape(len(rows[name]), -1)
                wrong = ((values < low) | (values > high)).any(axis=1)
                what = f"outside {low:g} to {high:g}" if np.isfinite(high) else "below 0"
                self._rows("error", name, what, wrong, start)
        if "metadata/quality_scores" in rows:
            scores = rows["metadata/quality_scores"]
            self.found.quality[start : start + len(scores)] = scores
        if "bboxes" in rows:
            box = rows["bboxes"]
            empty = (box[:, 2] <= box[:, 0]) | (box[:, 3] <= box[:, 1])
            self._rows("error", "bboxes", "x2 or y2 not beyond x1 or y1", empty, start)

    def _landmarks(self, start: int, rows: Rows) -> None:
        if "landmarks" not in rows:
            return
        points = rows["landmarks"]
        with np.errstate(invalid="ignore"):
            over = np.maximum(-0.5 - points, points - (CROP_SIZE - 0.5))
            beyond = np.fmax.reduce(over, axis=(1, 2))  # where all is NaN, that is said apart
            far, outside = beyond > FAR, beyond > 0
        self._rows("error", "landmarks", _FAR_WORDS, far, start)
        self._rows("note", "landmarks", "some lie a little outside the crop", outside & ~far, start)

    def _affine(self, start: int, rows: Rows) -> None:
        if not {"affine", "frame/landmarks", "landmarks"} <= rows.keys():
            return
        affine = rows["affine"]
        with np.errstate(invalid="ignore", over="ignore"):
            expected = apply_affine(affine, rows["frame/landmarks"])
            gaps = np.abs(expected - rows["landmarks"]) > AFFINE_TOLERANCE
            apart = gaps.any(axis=(1, 2))
        self._rows("error", "affine", "it does not take frame/landmarks to landmarks", apart, start)
        if not {"global_params", "frame/global_params"} <= rows.keys():
            return
        known = np.isfinite(affine).all(axis=(1, 2))
        known &= np.isfinite(rows["frame/global_params"]).all(axis=1)
        known &= np.abs(affine[:, 0, 0]) + np.abs(affine[:, 1, 0]) > 0
        wrong = np.zeros(len(affine), np.bool_)
        if known.any():
            moved = global_params_in_crop(affine[known], rows["frame/global_params"][known])
            gap = np.abs(moved - rows["global_params"][known])
            turn = np.abs((gap[:, 1:4] + np.pi) % (2 * np.pi) - np.pi)
            wrong[known] = (
                (gap[:, 0] > _SCALE_TOLERANCE * np.abs(moved[:, 0]))
                | (turn > _ANGLE_TOLERANCE).any(axis=1)
                | (gap[:, 4:] > _SHIFT_TOLERANCE).any(axis=1)
            )
        words = "they are not frame/global_params as the affine moves them"
        self._rows("error", "global_params", words, wrong, start)

    def _pictures(self) -> None:
        if "images" not in self.file.fields:
            return
        for start, rows in self.file.rows(["images"]):
            flat = rows["images"].reshape(len(rows["images"]), -1)
            blank = flat.min(axis=1) == flat.max(axis=1)
            self._rows("error", "images", "a picture of one colour", blank, start)
            self.file.tell(start + len(flat))

    def _hog(self) -> None:
        if "hog_features" not in self.file.fields:
            return
        for start, rows in self.file.rows(["hog_features"]):
            self._finite(start, rows)
            self.file.tell(start + len(rows["hog_features"]))

    def _hog_again(self) -> None:
        """FHOG of some pictures, computed again."""
        if not {"images", "hog_features"} <= self.file.fields.keys() or not len(self.file):
            return
        n = min(_HOG_LOOKED_AT, len(self.file))
        chosen = np.unique(np.linspace(0, len(self.file) - 1, n).astype(np.int64))
        images = np.stack([self.file.read("images", slice(i, i + 1))[0] for i in chosen])
        stored = np.stack([self.file.read("hog_features", slice(i, i + 1))[0] for i in chosen])
        wrong = ~_close(_features(images), stored)
        if not wrong.any():
            return
        words = f"of {len(chosen)} looked at, FHOG is not that of the picture"
        swapped = np.ascontiguousarray(images[wrong][..., ::-1])
        if _close(_features(swapped), stored[wrong]).all():
            words += ": it is with red and blue changed, so pictures may be BGR"
        found = np.zeros(len(self.file), np.bool_)
        found[chosen[wrong]] = True
        self._rows("error", "hog_features", words, found, 0)

    # --- words ------------------------------------------------------------------------------------

    def _say(self, level: Level, name: str, words: str) -> None:
        self.found.findings.append(Finding(level, name, words))

    def _rows(
        self, level: Level, name: str, words: str, mask: NDArray[np.bool_], start: int
    ) -> None:
        rows = np.flatnonzero(mask) + start
        if not len(rows):
            return
        one = self._by_name.get((name, words))
        if one is None:
            one = self._by_name[name, words] = Finding(level, name, words)
            self.found.findings.append(one)
        one.count += len(rows)
        for row in rows[: _NAMED - len(one.first)].tolist():
            keys = self.keys
            name_of = f" ({keys.words(row)})" if keys is not None and keys.known else ""
            one.first.append(f"row {row}{name_of}")
        if level == "error":
            if (name, words) not in self._numbers:
                self._numbers[name, words] = self.found.new_error(name)
            self.found.mark(self._numbers[name, words], rows)


_LOOKS: tuple[Callable[[Any, int, Rows], None], ...] = (
    _Check._finite,
    _Check._ranges,
    _Check._landmarks,
    _Check._affine,
)


def _features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    out = np.empty((len(images), *_HOG_SHAPE), np.float32)
    fhog(np.ascontiguousarray(images), out)
    return out


_HOG_SHAPE = next(f.shape for f in FIELDS if f.name == "hog_features")


def _close(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.bool_]:
    close: NDArray[np.bool_] = (np.abs(a - b) <= _HOG_TOLERANCE).all(axis=1)
    return close
