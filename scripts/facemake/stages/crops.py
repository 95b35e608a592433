"""The crops of a sample's faces, streamed into an HDF5 file."""

from __future__ import annotations

import cv2
import h5py
import numpy as np
from numpy.typing import NDArray

from facemake.template import CROP_SIZE

CONTACT_SIDE = 320
_CONTACT_QUALITY = 85
_CROPS_AT_ONCE = 64

_WITHOUT_TIMES = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
_WITHOUT_TIMES.set_obj_track_times(False)


class CropWriter:
    """Streams crops into a sample's HDF5 file, a few at a time."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        side = (CROP_SIZE, CROP_SIZE, 3)
        self._crops = file.create_dataset(
            "crops", (0, *side), "u1", maxshape=(None, *side), chunks=(4, *side)
        )
        self._affine = file.create_dataset(
            "affine", (0, 2, 3), "f4", maxshape=(None, 2, 3), chunks=(1024, 2, 3)
        )
        self._frame = file.create_dataset("frame", (0,), "i4", maxshape=(None,), chunks=(4096,))
        self._track = file.create_dataset("track", (0,), "i2", maxshape=(None,), chunks=(4096,))
        self._held: list[tuple[NDArray[np.uint8], NDArray[np.float64], int, int]] = []
        self._contact = file.create_group("contact")

    def add(
        self, crop: NDArray[np.uint8], affine: NDArray[np.float64], frame: int, track: int
    ) -> None:
        """Add the crop of a face: (112, 112, 3) RGB, (2, 3) from frame pixels to crop pixels."""
        self._held.append((crop, affine, frame, track))
        if len(self._held) >= _CROPS_AT_ONCE:
            self.finish()

    def add_contact(self, frame: int, rgb: NDArray[np.uint8]) -> None:
        """Add a small picture of a frame, (height, width, 3) RGB."""
        scale = min(1.0, CONTACT_SIDE / max(rgb.shape[:2]))
        size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        quality = [cv2.IMWRITE_JPEG_QUALITY, _CONTACT_QUALITY]
        _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), quality)
        self._put_contact(f"{frame:08d}", jpeg.ravel(), scale)

    def _put_contact(self, name: str, jpeg: NDArray[np.uint8], scale: float) -> None:
        # h5py's own words for it take longer than the picture did to shrink and to encode
        space = h5py.h5s.create_simple(jpeg.shape)
        stored = h5py.h5d.create(
            self._contact.id, name.encode(), h5py.h5t.NATIVE_UINT8, space, _WITHOUT_TIMES
        )
        stored.write(h5py.h5s.ALL, h5py.h5s.ALL, jpeg)
        scalar = h5py.h5s.create(h5py.h5s.SCALAR)
        h5py.h5a.create(stored, b"scale", h5py.h5t.NATIVE_DOUBLE, scalar).write(np.array(scale))

    def append(self, group: h5py.Group) -> None:
        """Add what such a writer has written for the segment that comes next in time."""
        contacts = sorted(group["contact"])
        frames, tracks = group["frame"][:], group["track"][:]
        for start in range(0, len(frames), _CROPS_AT_ONCE):
            end = min(start + _CROPS_AT_ONCE, len(frames))
            crops, affines = group["crops"][start:end], group["affine"][start:end]
            for index, frame in enumerate(frames[start:end].tolist()):
                # a frame's picture came before its crops
                while contacts and int(contacts[0]) <= frame:
                    self._copy_contact(group["contact"], contacts.pop(0))
                self.add(crops[index], affines[index], frame, int(tracks[start + index]))
        for name in contacts:
            self._copy_contact(group["contact"], name)

    def _copy_contact(self, pictures: h5py.Group, name: str) -> None:
        self._put_contact(name, pictures[name][:], pictures[name].attrs["scale"])

    def finish(self) -> None:
        """Write what is held."""
        if not self._held:
            return
        start, end = len(self._frame), len(self._frame) + len(self._held)
        for index, dataset in enumerate((self._crops, self._affine, self._frame, self._track)):
            dataset.resize(end, axis=0)
            dataset[start:end] = np.array([one[index] for one in self._held], dataset.dtype)
        self._held.clear()
