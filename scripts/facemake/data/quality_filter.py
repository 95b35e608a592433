"""Whether a face is good enough for a training set, one by one: the rule of `dataset.quality`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from facemake.dataset import quality
from facemake.dataset.motion import Motion

NOT_CONVERGED = 0.7
"""The part of the score that says whether the fit converged, where it did not."""

MIN_QUALITY = 0.5


class QualityFilter:
    """Scores the faces of a recording in the order of its frames, as pyfaceau's filter does.

    The score is the weighted geometric mean of confidence, convergence, pose, size, spread and
    motion (`facemake.dataset.quality` has weights and numbers); a face below a confidence of 0.8,
    or turned by more than 45 degrees about any axis, is left out whatever its score. The workflow
    itself leaves out what did not converge; here it counts as 0.7.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin another recording: the next face has nothing to have moved from."""
        self._motion = Motion()
        self._frame = 0

    def should_include(
        self,
        landmarks: ArrayLike,
        global_params: ArrayLike,
        bbox: ArrayLike,
        detection_confidence: float = 1.0,
        convergence_success: bool = True,
        min_quality: float = MIN_QUALITY,
    ) -> tuple[bool, float, dict[str, float | str]]:
        """Whether the next face is good enough.

        Args:
            landmarks: (K, 2) x y, pixels of the frame.
            global_params: (6,) scale, rx ry rz (rad), tx ty.
            bbox: x1 y1 x2 y2, pixels of the frame.
            detection_confidence: 0-1.
            convergence_success: the fit's.
            min_quality: least score.

        Returns:
            Whether it is, its score (0-1), and the parts of the score by name (0-1), with
            `reject_reason` where it is not.

        Raises:
            ValueError: an argument has another shape.
        """
        points = np.asarray(landmarks, np.float32)
        params, box = np.asarray(global_params, np.float32), np.asarray(bbox, np.float32)
        for name, array, wanted in (
            ("landmarks", points.shape[1:], (2,)),
            ("global_params", params.shape, (6,)),
            ("bbox", box.shape, (4,)),
        ):
            if array != wanted:
                whole = ("K", *wanted) if name == "landmarks" else wanted
                raise ValueError(f"{name} has another shape than {whole}")
        frame = np.array([self._frame], np.int32)
        self._frame += 1
        evidence = quality.Evidence(
            sure=np.array([True]),
            confidence=np.array([detection_confidence], np.float32),
            fitted=np.array([True]),
            angles=params[None, 1:4],
            labelled=np.array([True]),
            width=box[None, 2] - box[None, 0],
            points=points[None],
            motion=self._motion(frame, np.zeros(1, np.int16), points[None]),
        )
        converged = 1.0 if convergence_success else NOT_CONVERGED
        share = quality.WEIGHTS["convergence"] / sum(quality.WEIGHTS.values())
        score = float(quality.score(evidence)[0]) * converged**share
        details: dict[str, float | str] = {
            name: float(part[0]) for name, part in quality.parts(evidence).items()
        }
        details["convergence"] = converged
        verdict = int(quality.judge(evidence, 0.0)[0][0])
        if verdict != quality.KEPT or not score >= min_quality:
            names = {code: name for name, code in quality.CODES.items()}
            name = names.get(verdict, "quality")
            details["reject_reason"] = (
                f"quality score {score:.3f} below {min_quality:g}"
                if name == "quality"
                else quality.REASONS[name]
            )
            return False, score, details
        return True, score, details
