"""An install in a Docker image, run by the Docker SDK."""

from __future__ import annotations

import contextlib
import contextvars
import os
import shlex
import socket
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from facemake.backends.threedi.install import Install
from facemake.backends.threedi.runtimes import (
    OUTPUT,
    Call,
    Ended,
    RunError,
    TimeLimitError,
    has_nvidia,
    visible_devices,
)
from facemake.backends.threedi.runtimes.process import Listener, pieces, time_is_up
from facemake.runtime import gpu
from facemake.runtime.parent import at_end

_OWNER = "facemake.owner"
_SECONDS_TO_ANSWER = 30.0
_SECONDS_TO_LISTEN = 10.0
_CLOCK_STEP = 60.0
"""Seconds by which the start of a process may move where only the clock tells it."""


def _errors() -> tuple[type[Exception], ...]:
    """What the SDK raises: errors of its own, and of the HTTP library where the engine is gone."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    return DockerException, RequestException


class DockerRuntime:
    """Runs programs of a Docker image, each in a container of its own that is gone afterwards."""

    def __init__(self, install: Install) -> None:
        if find_spec("docker") is None:
            raise RunError(
                f"{install.location} is run by the Docker SDK, which is not installed: in "
                "facemake's own folder, pip install -e '.[3di]'"
            )
        self._install = install
        self._client: Any = None
        self._id: str | None = None

    def _docker(self) -> Any:
        """A client of an engine that answers."""
        if self._client is None:
            import docker

            try:
                client = docker.from_env(timeout=_SECONDS_TO_ANSWER)
                client.ping()
            except _errors() as error:
                raise RunError(
                    f"the Docker engine does not answer, so {self._install.location} cannot be "
                    f"run: start it, or set DOCKER_HOST ({error})"
                ) from None
            self._client = client
            _remove_orphans(client)
        return self._client

    def run(self, call: Call) -> Ended:
        """See `Runtime`."""
        from docker.errors import ImageNotFound
        from docker.types import DeviceRequest, Mount

        client, root, image = self._docker(), self._install.root, self._image()
        seen = call.inputs()
        arguments = [call.inside(a, root) for a in call.arguments]
        mounts = [
            Mount(target=where, source=str(path.resolve()), type="bind", read_only=True)
            for path, where in seen.items()
        ]
        mounts.append(Mount(target=OUTPUT, source=str(call.output.resolve()), type="bind"))
        environment = {"HOME": "/tmp", "MPLCONFIGDIR": "/tmp"}  # noqa: S108
        environment["PYTHONUNBUFFERED"] = "1"
        devices, requests = visible_devices(), []
        given = None if devices is None else gpu.given(devices)
        if has_nvidia() and given != []:
            chosen: dict[str, Any] = {"count": -1} if given is None else {"device_ids": given}
            requests = [DeviceRequest(capabilities=[["gpu"]], **chosen)]
        elif devices is not None:
            environment["CUDA_VISIBLE_DEVICES"] = devices
        try:
            container = client.containers.create(
                image,  # a tag may have moved since it was looked at
                entrypoint=[f"{root}/{call.executable}"],
                command=arguments,
                working_dir=root,
                mounts=mounts,
                user=_user(),
                network_mode="none",
                environment=environment,
                device_requests=requests,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                read_only=True,
                tmpfs={"/tmp": "exec,mode=1777"},  # noqa: S108
                labels={_OWNER: _owner()},
            )
        except ImageNotFound:
            raise self._no_image() from None
        except _errors() as error:
            raise RunError(
                f"Docker cannot start {call.executable} of {self._install.location}: {error}"
            ) from None
        listener = Listener(call.executable)
        with _removed(container), at_end(lambda: _remove(container)):
            code = self._to_the_end(container, call, listener)
        command = ["docker", "run", "--rm", "--network", "none", "--user", _user(), "-w", root]
        for mount in mounts:
            option = "" if not mount["ReadOnly"] else ":ro"
            command += ["-v", f"{mount['Source']}:{mount['Target']}{option}"]
        command += ["--entrypoint", f"{root}/{call.executable}", self._install.location]
        return Ended([*command, *arguments], code, list(listener.last))

    def _to_the_end(self, container: Any, call: Call, listener: Listener) -> int:
        from docker.errors import APIError
        from requests.exceptions import RequestException

        until = None if call.limit is None else time.monotonic() + call.limit
        try:
            stream = container.attach(stdout=True, stderr=True, stream=True, logs=True)
            listening = threading.Thread(
                target=contextvars.copy_context().run,
                args=(_listen, stream, listener),
                name="listen to a container",
                daemon=True,
            )
            container.start()
            listening.start()
            while True:
                left = _SECONDS_TO_ANSWER if until is None else until - time.monotonic()
                try:
                    answer = container.wait(timeout=min(max(left, 0.1), _SECONDS_TO_ANSWER))
                    break
                except APIError:  # is a RequestException, too: the container is gone, say
                    raise
                except RequestException:  # it has not ended yet, or the engine is gone
                    container.client.ping()
                    if until is not None and time.monotonic() >= until:
                        answer = None
                        with contextlib.suppress(*_errors()):  # it may end just now
                            container.kill()
                        break
            listening.join(_SECONDS_TO_LISTEN)
        except _errors() as error:
            raise RunError(
                f"Docker failed while {call.executable} of {self._install.location} ran: {error}"
            ) from None
        if answer is None:
            raise TimeLimitError(time_is_up(call.executable, call.limit, listener))
        return int(answer["StatusCode"])

    def identity(self) -> str:
        """See `Runtime`: the image's id, which is the SHA-256 of its configuration and layers."""
        return self._image().removeprefix("sha256:")

    def _image(self) -> str:
        """The id of the image, looked up once: what is checked is what runs."""
        from docker.errors import ImageNotFound

        client = self._docker()
        try:
            if self._id is None:
                self._id = str(client.images.get(self._install.location).id)
            return self._id
        except ImageNotFound:
            raise self._no_image() from None
        except _errors() as error:
            raise RunError(
                f"Docker cannot look at the image {self._install.location}: {error}"
            ) from None

    def _no_image(self) -> RunError:
        return RunError(
            f"Docker has no image {shlex.quote(self._install.location)}: build it "
            "(containers/3di/README.md), or correct the runtime's name"
        )


def _listen(stream: Iterator[bytes], listener: Listener) -> None:
    with contextlib.suppress(OSError, ValueError, *_errors()):  # the engine hangs up
        for piece in pieces(stream):
            listener(piece)


def _user() -> str:
    return f"{os.getuid()}:{os.getgid()}"


def _owner() -> str:
    """Who started a container, as `_remove_orphans` reads it: `_whose`, process, when it began."""
    pid = os.getpid()
    return " ".join([*_whose(), str(pid), _began(pid) or "unknown"])


def _whose() -> list[str]:
    """Host, user and PID namespace: within these, a process that is not seen is not there."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux
        namespace = "none"
    return [socket.gethostname(), str(os.getuid()), namespace]


def _remove_orphans(client: Any) -> None:
    """Remove the containers of our own processes that were killed.

    Of other users, hosts and PID namespaces nothing is known: a process that cannot be seen may be
    hidden, or have another number here.
    """
    labelled = {"label": _OWNER}
    with contextlib.suppress(*_errors()):
        for container in client.containers.list(all=True, filters=labelled, ignore_removed=True):
            words = container.labels[_OWNER].split()
            if len(words) == 5 and words[:3] == _whose() and not _alive(*words[3:]):
                _remove(container)


def _began(pid: int) -> str | None:
    """When a process began, as no clock moves it; None where there is no such process.

    Raises:
        OSError, psutil.Error: it cannot be said.
    """
    if sys.platform == "linux":
        try:
            # ticks since the start of the machine, the 22nd field; the second one may have anything
            return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
        except (FileNotFoundError, ProcessLookupError):
            return None
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.NoSuchProcess:
        return None


def _alive(pid: str, began: str) -> bool:
    """Whether a process still is; also where that cannot be said."""
    try:
        found = _began(int(pid))
        if found is None:
            return False
        slack = 0.0 if sys.platform == "linux" else _CLOCK_STEP
        return abs(float(found) - float(began)) <= slack
    except (OSError, psutil.Error, ValueError):
        return True


@contextlib.contextmanager
def _removed(container: Any) -> Iterator[None]:
    try:
        yield
    finally:
        _remove(container)


def _remove(container: Any) -> None:
    with contextlib.suppress(*_errors()):
        container.remove(force=True)


def create(install: Install) -> DockerRuntime:
    """What the registry calls."""
    return DockerRuntime(install)
