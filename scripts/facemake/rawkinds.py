"""Kinds of 3DI's raw files, `BASE_KIND.3DI`, by name alone: for whoever knows no backend."""

EXPORTED: tuple[str, ...] = (
    *("rects", "landmarks", "pose", "pose_smooth", "landmarks_canonicalized"),
    *("expression", "expression_smooth"),
)
"""Those that an export of the native engine writes."""

ALL: tuple[str, ...] = (
    *EXPORTED,
    *("shape_coeff", "texture_coeff", "shape", "texture", "illumination", "expression_localized"),
)
"""Those that 3DI, 3DI-lite or a processor writes."""
