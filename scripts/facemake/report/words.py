"""What the report says in words of the closed lists and names of the tables."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from facemake.backends.threedi.programs import FULL
from facemake.dataset.quality import REASONS

AU_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "AU01": "inner brow raiser",
        "AU02": "outer brow raiser",
        "AU04": "brow lowerer",
        "AU05": "upper lid raiser",
        "AU06": "cheek raiser",
        "AU07": "lid tightener",
        "AU09": "nose wrinkler",
        "AU10": "upper lip raiser",
        "AU11": "nasolabial deepener",
        "AU12": "lip corner puller",
        "AU14": "dimpler",
        "AU15": "lip corner depressor",
        "AU17": "chin raiser",
        "AU20": "lip stretcher",
        "AU23": "lip tightener",
        "AU24": "lip pressor",
        "AU25": "lips part",
        "AU26": "jaw drop",
        "AU28": "lip suck",
        "AU43": "eyes closed",
        "AU45": "blink",
    }
)
"""Ekman and Friesen's words for the action units."""

FRAME_STATUS: Mapping[str, str] = MappingProxyType(
    {
        "ok": "measured",
        "no_face": "no face",
        "lost": "lost from sight",
        "low_confidence": "low landmark confidence",
        "not_converged": "fit not converged",
        "decode_error": "frame cannot be decoded",
    }
)

SAMPLE_STATUS: Mapping[str, str] = MappingProxyType(
    {
        "ok": "processed",
        "no_face": "no face was found in any frame",
        "unreadable": "the file cannot be read",
        "truncated": "the recording is cut short; the frames that are there are used",
        "no_video_stream": "the file holds no video stream",
        "no_images": "the folder holds no image",
        "no_permission": "the file may not be read by this user",
        "excluded": "left out by the sample sheet or by dataset.exclude",
    }
)

STAGES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "probe": ("Probe", "decodes every recording once: frames, time stamps, codec"),
        "threedi_video": ("Video for 3DI", "the recording itself, or a video of its frames"),
        **{
            f"threedi_{one.step}": (
                f"3DI, {one.step.replace('_', ' ')}",
                f"a program of 3DI: {one.does}",
            )
            for one in FULL
        },
        "detect": ("Detect", "finds every face in every frame and joins them to tracks"),
        "landmarks": (
            "Landmarks",
            "places landmarks on each tracked face and cuts its aligned crop",
        ),
        "fit": ("Fit", "fits a 3D face: identity a track, head pose and expression a frame"),
        "smooth": ("Smooth", "smooths pose and expression through time, without lag"),
        "expressions": ("Expressions", "splits expressions into movements of one region each"),
        "aus": ("Action units", "estimates intensity and occurrence of action units"),
        "embed": ("Embed", "identity vectors of the best frames of each track"),
        "dataset": ("Dataset", "writes the examples of the training set, filtered by quality"),
        "people": ("People", "compares all tracks: who looks like whom, and in which split"),
    }
)
"""Stage -> its title and what it does, in the order in which they run."""

LOGS: Mapping[str, str] = MappingProxyType(
    {
        **{stage: title for stage, (title, _) in STAGES.items()},
        "detect_segment": "Detect, in segments",
        "landmarks_segment": "Landmarks, in segments",
        "identify": "Find the person of track 0",
        "merge_dataset": "Merge the training set",
        "manifest": "Manifest",
        "report_pages": "Pages of this report",
        "overlay": "Overlays",
    }
)
"""Folder or name of the logs of a rule -> what it is called."""

OF_3DI: Mapping[str, str] = MappingProxyType(
    {
        "detect": "takes over 3DI's rectangles: one face, which is the main one",
        "landmarks": "takes over 3DI's landmarks and cuts the aligned crop",
        "fit": "takes over 3DI's identity, pose and expression, and what it smoothed of them",
        "expressions": "splits 3DI's expressions into movements, beside its own coefficients",
    }
)
"""What these stages do where 3DI is the engine."""

_SETTINGS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "fov": ("field of view", "°"),
        "max_gap": ("largest gap", " frames"),
        "min_frames": ("shortest track", " frames"),
        "min_spacing": ("spacing", " s"),
        "frame_step": ("every n-th frame", ""),
        "start_score": ("score to start", ""),
        "min_score": ("score to go on", ""),
        "main": ("main face", ""),
        "tile": ("tiles", " px"),
    }
)
"""Key of the config -> its words and unit, where the key alone does not say."""

ALIKE: Mapping[str, str] = MappingProxyType(
    {
        "bytes": "same file, same part",
        "overlap": "parts of one file that share frames",
        "looks": "other file, same pictures",
    }
)
"""How samples are one recording (`facemake.report.alike`)."""

MEDIA_KIND: Mapping[str, str] = MappingProxyType(
    {"video": "video", "image": "picture", "images": "folder of pictures"}
)


def rejection(reason: str) -> str:
    """Why a face is no example."""
    return REASONS.get(reason, plain(reason))


def plain(name: str) -> str:
    """A column's or reason's name as words: `low_quality` -> `low quality`."""
    return name.replace("_", " ").strip()


def setting_name(key: str) -> str:
    """A setting's key in words."""
    return _SETTINGS.get(key, (plain(key), ""))[0]


def setting(key: str, value: object) -> str:
    """A setting's value as a person would write it, with its unit."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(setting(key, v) for v in value)
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text + _SETTINGS.get(key, ("", ""))[1]
