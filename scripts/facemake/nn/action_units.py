"""The action units that the networks know, as the training set has them."""

from __future__ import annotations

from facemake.backends.aus import INTENSITY_COLUMNS

AU_NAMES = list(INTENSITY_COLUMNS)
"""Columns of `au_intensities`, in order: `AU01_r` to `AU45_r`, 0-5."""

NUM_AUS = len(AU_NAMES)
"""17."""

AU_DESCRIPTIONS = {
    "AU01_r": "Inner Brow Raiser",
    "AU02_r": "Outer Brow Raiser",
    "AU04_r": "Brow Lowerer",
    "AU05_r": "Upper Lid Raiser",
    "AU06_r": "Cheek Raiser",
    "AU07_r": "Lid Tightener",
    "AU09_r": "Nose Wrinkler",
    "AU10_r": "Upper Lip Raiser",
    "AU12_r": "Lip Corner Puller",
    "AU14_r": "Dimpler",
    "AU15_r": "Lip Corner Depressor",
    "AU17_r": "Chin Raiser",
    "AU20_r": "Lip Stretcher",
    "AU23_r": "Lip Tightener",
    "AU25_r": "Lips Part",
    "AU26_r": "Jaw Drop",
    "AU45_r": "Blink",
}
"""The names of the Facial Action Coding System (Ekman, Friesen & Hager 2002)."""
