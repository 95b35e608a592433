"""The calibration of a camera: read from its file, checked, applied to points."""

from facemake.calibration.distortion import LENGTHS
from facemake.calibration.files import load_calibration, load_undistorted
from facemake.calibration.lens import Calibration, Lens, MisfitError

__all__ = [
    "LENGTHS",
    "Calibration",
    "Lens",
    "MisfitError",
    "load_calibration",
    "load_undistorted",
]
