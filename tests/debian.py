"""What the setups of tests share: their folders, and Debian packages unpacked into them.

Nothing is installed on the machine. Packages come by apt from lists of its own, signatures checked.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType

SKIPPED = 77
"""Exit code of a setup where something cannot be had."""
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class UnavailableError(Exception):
    """Something cannot be had on this machine; the message says why."""


Found = dict[str, dict[str, str]]
"""Name -> what there is of it: places and names, or `missing`: why it cannot be had."""


@dataclass(frozen=True)
class Setup:
    """A script that sets something up for tests.

    Attributes:
        variable: of the environment: the folder of all that it makes.
        name: of the folder in ~/.cache where the variable is not set.
        make: makes in the folder what is not there.
        stop: ends what runs there.
    """

    variable: str
    name: str
    make: Callable[[Path], Found]
    stop: Callable[[Path], None]

    @property
    def folder(self) -> Path:
        """Where everything is."""
        default = Path("~/.cache").expanduser() / self.name
        return Path(os.environ.get(self.variable) or default).absolute()

    def state(self) -> Found:
        """What a finished run of the script has left; {} where none ran."""
        try:
            found: Found = json.loads((self.folder / "state.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def command(self, usage: str | None) -> int:
        """The command of the script; its exit code."""
        folder = self.folder
        with locked(folder):
            if sys.argv[1:] == ["--stop"]:
                self.stop(folder)
                return 0
            if sys.argv[1:]:
                print(usage, file=sys.stderr)
                return 2
            found = self.make(folder)
            (folder / "state.json").write_text(json.dumps(found, indent=2))
        for name, what in found.items():
            print(
                f"{name}: {what.get('missing') or ', '.join(f'{k} {v}' for k, v in what.items())}"
            )
        return SKIPPED if any("missing" in what for what in found.values()) else 0


@cache
def script(path: Path) -> ModuleType:
    """A script, which is in no package, as a module."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def want_root(what_for: str) -> None:
    """Refuse a machine that the setups are not written for, and users other than root."""
    if os.geteuid() != 0:
        raise UnavailableError(f"root is needed, for {what_for}")
    if platform.machine() != "x86_64":
        raise UnavailableError(f"this is written for x86_64, not for {platform.machine()}")


def run(command: Sequence[str | Path], **more: object) -> str:
    """Run a command; what it wrote to its standard output. A failure is UnavailableError."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=300,
            **more,  # type: ignore[call-overload]
        )
    except FileNotFoundError as error:
        raise UnavailableError(f"this machine has no {error.filename}") from None
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{command[0]} did not end in 300 s") from None
    except subprocess.CalledProcessError as error:
        last = "\n".join(f"    {line}" for line in (error.stdout + error.stderr).splitlines()[-8:])
        raise UnavailableError(f"{' '.join(map(str, command[:4]))} ... failed:\n{last}") from None
    return str(done.stdout)


def key_of(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def once(target: Path, key: str, make: Callable[[Path], None], what: str) -> Path:
    """Make a file or folder unless it is there and of this key; under its name it is whole."""
    stamp = target.with_name(f"{target.name}.key")
    if target.exists() and stamp.exists() and stamp.read_text() == key:
        return target
    began = time.monotonic()
    new = target.with_name(f"new.{target.name}")
    for old in (stamp, new, target):
        remove(old)
    make(new)
    new.rename(target)
    stamp.write_text(key)
    print(f"{what}: {time.monotonic() - began:.1f} s", flush=True)
    return target


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def waited(is_so: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is so; False where it is not in time."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@dataclass
class Archive:
    """The Debian archive that this machine's apt uses, in suites that it may not have."""

    folder: Path
    mirror: str
    codename: str
    more: tuple[str, ...] = ()

    def apt(self, *words: str, cwd: Path | None = None) -> str:
        """apt-get with a configuration and lists of its own."""
        env = {**os.environ, "APT_CONFIG": str(self._configuration), "LC_ALL": "C"}
        return run(["apt-get", "-q", "-y", *words], env=env, cwd=cwd)

    @cached_property
    def _configuration(self) -> Path:
        """Written, and its lists brought up to date, when packages are wanted."""
        folder = self.folder / "apt"
        configuration = folder / "apt.conf"
        for name in ("lists/partial", "archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        suites = dict.fromkeys((self.codename, *self.more))
        lines = [f"deb [signed-by={KEYRING}] {self.mirror} {suite} main\n" for suite in suites]
        (folder / "sources.list").write_text("".join(lines))
        configuration.write_text(
            f'Dir::Etc::sourcelist "{folder}/sources.list";\n'
            'Dir::Etc::sourceparts "/dev/null";\n'
            'Dir::Etc::preferencesparts "/dev/null";\n'
            f'Dir::State::lists "{folder}/lists";\n'
            f'Dir::Cache "{folder}";\n'
            f'Dir::Cache::archives "{folder}/archives";\n'
            f'APT::Default-Release "{self.codename}";\n'
            'APT::Sandbox::User "root";\n'
            'APT::Keep-Downloaded-Packages "true";\n'
            'Acquire::Languages "none";\n'
            'Acquire::Retries "3";\n'
        )
        env = {**os.environ, "APT_CONFIG": str(configuration), "LC_ALL": "C"}
        run(["apt-get", "-q", "update", "-o", "APT::Update::Error-Mode=any"], env=env)
        return configuration

    def unpack_with_missing(self, packages: Sequence[str], into: Path) -> None:
        """Unpack packages, and what they depend on as far as this machine lacks it."""
        self.apt("clean")
        self.apt("--no-install-recommends", "--download-only", "install", *packages)
        unpack(self.folder / "apt" / "archives", into)
        self.apt("clean")

    def unpack(self, packages: Sequence[str], into: Path) -> None:
        """Unpack just these packages, `name/suite`."""
        folder = self.folder / "apt" / "single"
        remove(folder)
        folder.mkdir()
        self.apt("download", *packages, cwd=folder)  # apt holds them against the signed index
        unpack(folder, into)
        remove(folder)


def unpack(folder: Path, into: Path) -> None:
    into.mkdir(parents=True)
    for package in sorted(folder.glob("*.deb")):
        run(["dpkg-deb", "-x", package, into])


def archive_of(folder: Path, *more: str) -> Archive:
    """The archive of this Debian, and more suites of it."""
    release = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text().splitlines()
        if "=" in line
    )
    codename = release.get("VERSION_CODENAME", "").strip('"')
    if release.get("ID", "").strip('"') != "debian" or not codename:
        raise UnavailableError("this machine is no Debian")
    if not KEYRING.is_file():
        raise UnavailableError(f"this machine has no {KEYRING}")
    form = ["--no-release-info", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"]
    for line in run(["apt-get", "indextargets", *form]).splitlines():
        suite, _, mirror = line.partition(" ")
        if suite == codename:
            return Archive(folder, mirror, codename, more)
    raise UnavailableError(f"this machine's apt has no archive of Debian {codename}")
