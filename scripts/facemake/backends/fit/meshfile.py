"""Files of one surface: PLY (binary, with normals) and OBJ (text), the same bytes each time."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from facemake.backends.fit.mesh import vertex_normals
from facemake.runtime.atomic import replacing

Array = NDArray[np.float64]
Triangles = NDArray[np.int32]


def ply_bytes(vertices: Array, triangles: Triangles, comments: Sequence[str]) -> bytes:
    """A little-endian binary PLY: float32 vertices with normals, uchar-int triangles.

    Points without triangles have no normals. Source: G. Turk, The PLY Polygon File Format, 1994.

    Args:
        vertices: (V, 3).
        triangles: (T, 3), anticlockwise seen from outside where the axes are right-handed.
        comments: lines of the header; what is not ASCII, which some programs refuse there, is
            written by its number, as Python escapes it.
    """
    columns, names = vertices, ["x", "y", "z"]
    if len(triangles):
        columns = np.concatenate([vertices, vertex_normals(vertices, triangles)], axis=1)
        names += ["nx", "ny", "nz"]
    header = [
        "ply",
        "format binary_little_endian 1.0",
        *(f"comment {_plain(line)}" for line in comments),
        f"element vertex {len(vertices)}",
        *(f"property float {name}" for name in names),
    ]
    if len(triangles):
        header += [f"element face {len(triangles)}", "property list uchar int vertex_indices"]
    faces = np.empty(len(triangles), [("count", "u1"), ("vertices", "<i4", 3)])
    faces["count"], faces["vertices"] = 3, triangles
    text = "\n".join([*header, "end_header"]) + "\n"
    return text.encode("ascii") + columns.astype("<f4").tobytes() + faces.tobytes()


def obj_bytes(vertices: Array, triangles: Triangles, comments: Sequence[str]) -> bytes:
    """A Wavefront OBJ with normals, rounded to a ten-thousandth; arguments as of `ply_bytes`."""
    lines = [f"# {_plain(line)}" for line in comments]
    lines += [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in vertices.tolist()]
    if len(triangles):
        normals = vertex_normals(vertices, triangles).tolist()
        lines += [f"vn {x:.4f} {y:.4f} {z:.4f}" for x, y, z in normals]
        lines += [f"f {a}//{a} {b}//{b} {c}//{c}" for a, b, c in (triangles + 1).tolist()]
    return ("\n".join(lines) + "\n").encode("ascii")


FORMATS: Mapping[str, Callable[[Array, Triangles, Sequence[str]], bytes]] = MappingProxyType(
    {"ply": ply_bytes, "obj": obj_bytes}
)
"""Suffix of a file -> what makes its bytes."""


def write_mesh(path: Path, vertices: Array, triangles: Triangles, comments: Sequence[str]) -> None:
    """Write a surface as the format that the path's suffix names, whole or not at all.

    Raises:
        KeyError: for a suffix that is none of `FORMATS`.
        OSError: it cannot be written.
    """
    data = FORMATS[path.suffix[1:]](vertices, triangles, comments)
    with replacing(path) as beside:
        beside.write_bytes(data)


def _plain(line: str) -> str:
    """One line of ASCII."""
    return " ".join(line.split()).encode("ascii", "backslashreplace").decode("ascii")
