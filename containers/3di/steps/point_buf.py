"""point_buf.py FOLDER: the triangles around each vertex of a face model, as 3DI-lite wants them.

3DI-lite makes this file in its own folder when it is first run, which it cannot in an image: for
each vertex the numbers of its triangles from 0, ascending, the last repeated to equal lengths.
"""

import sys
from pathlib import Path

import numpy as np

folder = Path(sys.argv[1])
triangles = np.loadtxt(folder / "tl.dat").astype(int) - 1
around = [[] for _ in range(triangles.max() + 1)]
for number, corners in enumerate(triangles):
    for vertex in sorted(set(corners)):
        around[vertex].append(number)
longest = max(map(len, around))
rows = [numbers + numbers[-1:] * (longest - len(numbers)) for numbers in around]
np.savetxt(folder / "point_buf.dat", np.array(rows))
