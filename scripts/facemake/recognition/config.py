"""What a recognition pack is and where it computes: the words and variables of lumen-face.

A pack is a detector and a recognition network under one name, in files of one runtime and precision
(`facemake.recognition.packs`).
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import urlsplit

from facemake.errors import ConfigError

PREFIX = "LUMEN_FACE_"
PRECISIONS = ("fp16", "int8", "fp32")
"""Folders of a pack; lumen-face knows the first two."""

_TRUE, _FALSE = ("1", "true", "yes", "y", "on"), ("0", "false", "no", "n", "off")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DEVICE = re.compile(r"(cpu|cuda(:\d+)?|rknpu\d*)")


class RuntimeKind(StrEnum):
    """What runs a pack's networks."""

    ONNXRT = "onnxrt"
    RKNN = "rknn"

    @property
    def suffix(self) -> str:
        """Of its files."""
        return "onnx" if self is RuntimeKind.ONNXRT else "rknn"


@dataclass(frozen=True)
class Config:
    """A pack and how it is run; each field is a variable, `LUMEN_FACE_` and its name.

    Attributes:
        runtime: `onnxrt` or `rknn` (RUNTIME, or BACKEND).
        device: `cpu`, `cuda`, `cuda:N` or `rknpuN`; None: the runtime's own. onnxruntime computes
            on a CPU whatever it is but `cuda`.
        model_name: the pack's (or PACK_NAME).
        precision: of `PRECISIONS`.
        repo_base: address that packs lie below; "": nowhere.
        local_dir: folder that packs lie in, and that comes first.
        timeout: seconds that a download may be silent.
        max_batch_size: so many faces at once at most.
        supports_image_batch: False: one face at a time.
        extra: words for a runtime: `rknn_target`, `rknn_device_id`, `rknn_perf_debug`,
            `rec_input_h`, `rec_input_w`; and of facemake `det_input_h`, `det_input_w` (640), and
            `revision` of a pack on Hugging Face.
        cache_dir: folder of what was downloaded, private to its user.

    Raises:
        ConfigError: a value is none of these; the message names the variable.
    """

    runtime: RuntimeKind = RuntimeKind.ONNXRT
    device: str | None = None
    model_name: str = "scrfd_10g_iresnet50"
    precision: str = "fp16"
    repo_base: str = "https://huggingface.co/Lumilio-Photos"
    local_dir: Path | None = None
    timeout: float = 30.0
    max_batch_size: int | None = None
    supports_image_batch: bool | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    cache_dir: Path = Path("~/.cache/lumen_face")

    def __post_init__(self) -> None:
        for name, value in {
            "runtime": _runtime(self.runtime),
            "device": _device(self.device),
            "model_name": _name(self.model_name),
            "precision": _precision(self.precision),
            "repo_base": _base(self.repo_base),
            "local_dir": None if self.local_dir is None else Path(self.local_dir).expanduser(),
            "timeout": _timeout(self.timeout),
            "max_batch_size": _largest(self.max_batch_size),
            "supports_image_batch": _flag("SUPPORTS_IMAGE_BATCH", self.supports_image_batch),
            "extra": MappingProxyType(_extra(self.extra)),
            "cache_dir": Path(self.cache_dir).expanduser(),
        }.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None, **instead: Any) -> Self:
        """As the environment says; a variable that is empty counts as none.

        Args:
            environment: None: that of the process.
            instead: fields that are not taken from it; None: it is.

        Raises:
            ConfigError: a variable is no value of its field.
        """
        environment = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        for name, variables in _VARIABLES.items():
            said = {v: text for v in variables if (text := environment.get(PREFIX + v, "").strip())}
            if len({text.lower() for text in said.values()}) > 1:
                both = " and ".join(f"{PREFIX}{v}={text}" for v, text in said.items())
                raise ConfigError(f"{both} say two things; unset one of them")
            if said:
                values[name] = next(iter(said.values()))
        values |= {name: value for name, value in instead.items() if value is not None}
        return cls(**values)

    @property
    def largest_batch(self) -> int | None:
        """How many faces may go through the network at once; None: as many as pay off."""
        return 1 if self.supports_image_batch is False else self.max_batch_size


_VARIABLES = {
    "runtime": ("RUNTIME", "BACKEND"),
    "device": ("DEVICE",),
    "model_name": ("MODEL_NAME", "PACK_NAME"),
    "precision": ("PRECISION",),
    "repo_base": ("REPO_BASE",),
    "local_dir": ("LOCAL_DIR",),
    "timeout": ("TIMEOUT",),
    "max_batch_size": ("MAX_BATCH_SIZE",),
    "supports_image_batch": ("SUPPORTS_IMAGE_BATCH",),
    "extra": ("EXTRA",),
    "cache_dir": ("CACHE_DIR",),
}
"""Field of `Config` -> its variables, without the prefix."""


@dataclass(frozen=True)
class BackendInfo:
    """What a backend is, in the words of lumen-face; the last four are facemake's.

    Attributes:
        runtime: `onnxrt` or `rknn`.
        device: that was asked for.
        pack_name: of its files.
        face_embedding_dim: length of a vector; None: not known yet.
        precisions: of its files.
        max_batch_size: so many faces at once at most.
        supports_image_batch: whether several go through the network at once.
        extra: see `Config`.
        provider: what computes it, in its runtime's word; None: nothing is loaded.
        model: path of the recognition network.
        model_sha256: of that file.
        chip: what the network is shown, in words.
    """

    runtime: str
    device: str | None = None
    pack_name: str | None = None
    face_embedding_dim: int | None = None
    precisions: tuple[str, ...] = ()
    max_batch_size: int | None = None
    supports_image_batch: bool = False
    extra: Mapping[str, str] = field(default_factory=dict)
    provider: str | None = None
    model: str | None = None
    model_sha256: str | None = None
    chip: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        lists = {"extra": dict(self.extra), "precisions": list(self.precisions)}
        return {**{one.name: getattr(self, one.name) for one in fields(self)}, **lists}


def backend_info_from_env() -> BackendInfo:
    """What `create_backend()` would make; nothing is loaded, looked for or downloaded.

    Raises:
        ConfigError: a variable is no value of its field.
    """
    config = Config.from_env()
    return BackendInfo(
        runtime=str(config.runtime),
        device=config.device,
        pack_name=config.model_name,
        precisions=(config.precision,),
        max_batch_size=config.max_batch_size,
        supports_image_batch=bool(config.supports_image_batch),
        extra=config.extra,
    )


def is_safe_address(address: str) -> bool:
    """Whether a file may be fetched from there: HTTPS, or HTTP of this machine."""
    parts = urlsplit(address)
    if parts.scheme == "https":
        return bool(parts.hostname)
    if parts.scheme != "http" or not parts.hostname:
        return False
    try:
        return ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return parts.hostname == "localhost"


def flag(words: str) -> bool | None:
    """Yes or no in any of the usual words; None: neither."""
    low = words.strip().lower()
    return True if low in _TRUE else False if low in _FALSE else None


def _refused(variable: str, value: object, wanted: str) -> ConfigError:
    return ConfigError(f"{PREFIX}{variable} is {value!r}; it may be {wanted}")


def _runtime(value: object) -> RuntimeKind:
    try:
        return RuntimeKind(str(value).strip().lower())
    except ValueError:
        kinds = " or ".join(RuntimeKind)
        raise _refused("RUNTIME", value, kinds) from None


def _device(value: object) -> str | None:
    if value is None:
        return None
    device = str(value).strip().lower()
    if not _DEVICE.fullmatch(device):
        raise _refused("DEVICE", value, "cpu, cuda, cuda:0 (the number of a GPU) or rknpu0")
    return device


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise _refused(
            "MODEL_NAME", value, "the name of a pack: letters, digits, dots, dashes, underscores"
        )
    return value


def _precision(value: object) -> str:
    precision = str(value).strip().lower()
    if precision not in PRECISIONS:
        raise _refused("PRECISION", value, ", ".join(PRECISIONS))
    return precision


def _base(value: object) -> str:
    base = str(value).strip().rstrip("/")
    if base and not is_safe_address(base):
        raise _refused(
            "REPO_BASE", value, "an address with https:// (http:// of this machine alone)"
        )
    return base


def _timeout(value: object) -> float:
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise _refused("TIMEOUT", value, "a number of seconds above 0")
    return seconds


def _largest(value: object) -> int | None:
    if value is None:
        return None
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        raise _refused("MAX_BATCH_SIZE", value, "a whole number from 1 on")
    return number


def _flag(variable: str, value: object) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    known = flag(str(value))
    if known is None:
        raise _refused(variable, value, "1 or 0, true or false")
    return known


def _extra(value: object) -> dict[str, str]:
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if not isinstance(value, Mapping):
        raise _refused("EXTRA", value, """a JSON object, as '{"rknn_target": "rk3588"}'""")
    return {
        str(key): one if isinstance(one, str) else json.dumps(one) for key, one in value.items()
    }
