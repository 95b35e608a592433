"""Stands up a SLURM of one node for tests: controller, node daemon and munge.

    python tests/slurm/setup.py          # exit code 77 where it cannot be had, and why
    python tests/slurm/setup.py --stop   # end the daemons

Everything is in one folder (20 MB): FACEMAKE_TEST_SLURM or ~/.cache/facemake-test-slurm. Nothing is
installed on the machine. It needs root on Debian and a Debian archive that apt reaches; packages
that are there already are not unpacked again. There is no accounting database, as on many small
clusters: what works here works where sacct answers nothing.

The node has the processors and the memory of this machine, each processor taken by several jobs at
once, and two GPUs that are devices like /dev/null: enough to see who is given which. Memory is
watched once a second, and a job that takes more than it asked for is ended.

`state.json` there says what there is, for the fixtures in conftest.py.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from debian import (  # noqa: E402
    Archive,
    Found,
    Setup,
    UnavailableError,
    archive_of,
    key_of,
    once,
    run,
    waited,
    want_root,
)

VARIABLE = "FACEMAKE_TEST_SLURM"
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("srun", "sbatch", "squeue", "scancel", "sinfo", "scontrol", "sacct")
"""Of SLURM, that are called within jobs."""
NODE = "node"
JOBS_A_PROCESSOR = 4
LONGEST_SOCKET = 100
"""Bytes of the path of a socket, of 107 that Linux takes."""
DAEMONS = ("slurmd", "slurmctld", "munged")
"""In the order in which they end."""

CONFIGURATION = """\
ClusterName=facemake
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthInfo=socket={folder}/munge/socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
ReturnToService=2
MinJobAge=300
KillWait=2
MessageTimeout=30
DefMemPerCPU=256
GresTypes=gpu
{plugins}
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:2
PartitionName=cpu Nodes={node} OverSubscribe=FORCE:{shared} Default=YES MaxTime=7-0 State=UP
PartitionName=gpu Nodes={node} OverSubscribe=FORCE:{shared} MaxTime=7-0 State=UP
"""


class Cluster:
    """The daemons of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"

    def environment(self) -> dict[str, str]:
        """What SLURM's programs need to find each other and this cluster."""
        places = [self.folder / "bin", self.root / "usr/bin", self.root / "usr/sbin"]
        path = [*map(str, places), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]
        libraries = self.root / "usr/lib/x86_64-linux-gnu"
        return {
            "PATH": ":".join(path),
            "LD_LIBRARY_PATH": f"{libraries}:{libraries / 'slurm-wlm'}",
            "SLURM_CONF": str(self.folder / "slurm.conf"),
        }

    def call(self, *words: str) -> str:
        """Run a program of SLURM; what it wrote to its standard output."""
        return run(words, env={**os.environ, **self.environment()})

    def program(self, name: str) -> str:
        """The path of a daemon."""
        found = shutil.which(name, path=self.environment()["PATH"])
        if found is None:
            raise UnavailableError(f"this machine has no {name}")
        return found

    # --- configuration ---------------------------------------------------------------------------

    def configure(self) -> None:
        """Write the configuration of munge and SLURM, with ports that are free now."""
        for name in ("state", "spool", "munge", "bin"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir(mode=0o755)
        # in a job Snakemake calls them without SLURM_CONF: installed ones find /etc/slurm
        conf = shlex.quote(str(self.folder / "slurm.conf"))
        for name in PROGRAMS:
            wrapper = self.folder / "bin" / name
            program = shlex.quote(self.program(name))
            wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {program} "$@"\n')
            wrapper.chmod(0o755)
        key = self.folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        gpus = [self.folder / f"gpu{i}" for i in range(2)]
        for gpu in gpus:
            gpu.unlink(missing_ok=True)
            os.mknod(gpu, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        plugins = self.root / "usr/lib/x86_64-linux-gnu/slurm-wlm"
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=socket.gethostname().split(".")[0],
                ports=free_ports(2),
                folder=self.folder,
                node=NODE,
                cpus=len(os.sched_getaffinity(0)),
                memory=memory * 9 // 10,
                shared=JOBS_A_PROCESSOR,
                plugins=f"PluginDir={plugins}" if plugins.is_dir() else "",
            )
        )
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-1]\n")
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")

    # --- daemons ---------------------------------------------------------------------------------

    def answers(self) -> bool:
        """Whether the node waits for jobs."""
        if self.pid("slurmctld") is None:
            return False  # asked all the same, SLURM's programs wait half a minute for it
        try:
            return self.call("sinfo", "-h", "-o", "%T").split()[:1] in (
                ["idle"],
                ["mixed"],
                ["allocated"],
            )
        except UnavailableError:
            return False

    def start(self) -> None:
        """Start what does not run."""
        if self.answers():
            return
        self.stop()
        self.configure()
        munge = self.folder / "munge"
        if len(f"{munge}/socket.lock") > LONGEST_SOCKET:
            raise UnavailableError(
                f"{munge} is too long a path for sockets; set {VARIABLE} to a shorter one"
            )
        self._daemon(
            self.program("munged"),
            *("--force", f"--socket={munge}/socket", f"--key-file={munge}/key"),
            *(f"--pid-file={self.folder}/munged.pid", f"--log-file={self.folder}/munged.log"),
            f"--seed-file={munge}/seed",
        )
        self._daemon(self.program("slurmctld"))
        self.start_node()

    def start_node(self) -> None:
        """Start the node's daemon, and wait until the controller knows."""
        self._daemon(
            self.program("slurmd"),
            *("-d", self.program("slurmstepd")),
        )
        if not waited(self.answers, 30):
            last = "".join(
                "\n".join((self.folder / f"{name}.log").read_text().splitlines()[-6:])
                for name in ("slurmctld", "slurmd")
                if (self.folder / f"{name}.log").is_file()
            )
            raise UnavailableError(f"SLURM does not start here:\n{last}")

    def _daemon(self, *command: str) -> None:
        run(command, env={**os.environ, **self.environment()})

    def pid(self, daemon: str) -> int | None:
        """The process of a daemon of this folder; None where it does not run."""
        try:
            pid = int((self.folder / f"{daemon}.pid").read_text())
            known = daemon.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if known else None

    def kill(self, daemon: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End a daemon, and wait until it is gone."""
        pid = self.pid(daemon)
        if pid is not None:
            os.kill(pid, how)
            if not waited(lambda: self.pid(daemon) is None, 10):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End all jobs and daemons."""
        if self.pid("slurmctld") is not None and self.pid("slurmd") is not None:
            try:
                self.call("scancel", "--user=root", "--full", "--signal=KILL")
                waited(lambda: not self.call("squeue", "-h"), 15)
            except UnavailableError:
                pass
        for name in DAEMONS:
            self.kill(name, signal.SIGTERM)


def free_ports(count: int) -> list[int]:
    """Ports of this host that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def unpack_slurm(archive: Archive) -> None:
    """SLURM's and munge's programs, as far as the machine has none."""

    def make(new: Path) -> None:
        archive.unpack_with_missing(PACKAGES, new)
        for program in (new / "usr/sbin").glob("*-wlm"):
            # a daemon knows itself by its name, which an installation gives it by a link
            program.with_name(program.name.removesuffix("-wlm")).symlink_to(program.name)

    key = key_of(archive.codename, *PACKAGES, str(archive.folder), "2")
    once(archive.folder / "root", key, make, "SLURM")


def set_up(folder: Path) -> Found:
    """Make and start what is not there; what there is, or why not."""
    try:
        want_root("SLURM's daemons")
        unpack_slurm(archive_of(folder))
        cluster = Cluster(folder)
        try:
            cluster.start()
        except (OSError, subprocess.SubprocessError) as error:
            raise UnavailableError(f"SLURM does not start here: {error}") from None
        except UnavailableError:
            cluster.stop()
            raise
    except UnavailableError as reason:
        return {"SLURM": {"missing": str(reason)}}
    version = cluster.call("sinfo", "--version").strip()
    return {"SLURM": {"version": version, "folder": str(folder)}}


SETUP = Setup(VARIABLE, "facemake-test-slurm", set_up, lambda folder: Cluster(folder).stop())

if __name__ == "__main__":
    sys.exit(SETUP.command(__doc__))
