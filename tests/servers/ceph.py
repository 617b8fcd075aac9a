"""A Ceph RADOS Gateway as a real S3 server: one monitor, one storage daemon in memory, one gateway, all on this machine.

`running_ceph` starts it in a folder, on free ports, and kills it at the end. The daemons die with the process that started them. Nothing of it is a mock: keys
are checked, conditional writes are atomic, versioning and uploads in parts work.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from minio import Minio
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig

from tests.patience import PATIENCE

PROGRAMS = {
    "ceph-mon": "ceph-mon",
    "monmaptool": "ceph-common",
    "ceph": "ceph-common",
    "ceph-osd": "ceph-osd",
    "radosgw": "radosgw",
    "radosgw-admin": "radosgw",
    "setpriv": "util-linux",
}
"""What has to be installed, and the Debian package that brings it."""
REGION = "us-east-1"
CONFIG = """\
[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{mon_port}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv4 = true
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = true
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
mon warn on pool no redundancy = false
osd crush chooseleaf type = 0
osd crush update on start = false
osd class update on start = false
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd objectstore = memstore
memstore device bytes = {capacity}
osd memory target = 939524096
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
log file = {folder}/log/$name.log
pid file = {folder}/run/$name.pid
crash dir = {folder}/log
mon data = {folder}/mon
mgr data = {folder}/mgr
osd data = {folder}/osd0
rgw frontends = beast endpoint=127.0.0.1:{gateway_port} tcp_nodelay=1
rgw run sync thread = false
rgw enable usage log = false
rgw gc obj min wait = 1
rgw gc processor period = 5
rgw gc processor max time = 5
rgw dns name = localhost
"""


@dataclass(frozen=True)
class Keys:
    """An access key with its secret."""

    access: str
    secret: str


OWNER = Keys("AKIDOWNER", "owner-secret-that-nobody-may-see")
READER = Keys("AKIDREADER", "reader-secret-that-nobody-may-see")
"""May read what the owner has and write nothing."""


@dataclass(frozen=True)
class Ceph:
    """A gateway that runs."""

    folder: Path
    endpoint: str
    """Address with scheme and port."""

    def environment(self, keys: Keys = OWNER, endpoint: str = "") -> dict[str, str]:
        """The settings with which our own code finds this server; `endpoint` names a proxy in front of it."""
        return {
            "S3_ENDPOINT": endpoint or self.endpoint,
            "S3_REGION": REGION,
            "AWS_ACCESS_KEY_ID": keys.access,
            "AWS_SECRET_ACCESS_KEY": keys.secret,
        }

    def client(self, keys: Keys = OWNER) -> Minio:
        """A client of the library, for what tests do beside our own code."""
        return Minio(self.endpoint.removeprefix("http://"), keys.access, keys.secret, secure=False, region=REGION)

    def bucket(self, versioned: bool = False) -> str:
        """Make a new bucket; its name."""
        name = f"bucket-{uuid4().hex[:12]}"
        client = self.client()
        client.make_bucket(name)
        if versioned:
            client.set_bucket_versioning(name, VersioningConfig(ENABLED))
        return name


@contextmanager
def running_ceph(folder: Path, capacity: int = 2**30) -> Iterator[Ceph]:
    """Start Ceph with its data in `folder` (made anew) and kill it at the end. `capacity` is in bytes of memory."""
    missing = [f"{program} (package {package})" for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        raise RuntimeError(f"these tests need a real S3 server, and it is not installed: {', '.join(missing)}; install it with `make servers`")
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("mon", "osd0", "mgr", "run", "log"):
        (folder / name).mkdir(parents=True)
    mon_port, gateway_port = free_ports(2)
    fsid = str(uuid4())
    config = folder / "ceph.conf"
    config.write_text(CONFIG.format(fsid=fsid, mon_port=mon_port, gateway_port=gateway_port, folder=folder, capacity=capacity), encoding="utf-8")
    environment = {**os.environ, "CEPH_CONF": str(config)}
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        _run(environment, "monmaptool", "--create", "--clobber", "--addv", "a", f"[v1:127.0.0.1:{mon_port}]", "--fsid", fsid, f"{folder}/monmap")
        _run(environment, "ceph-mon", "--mkfs", "-i", "a", "--monmap", f"{folder}/monmap")
        daemons.append(_daemon(environment, folder, "ceph-mon", "-i", "a"))
        osd = str(uuid4())
        _run(environment, "ceph", "osd", "new", osd, tries=10)
        # the daemon's own command for this fails now and then ("wrong fsid"), when it comes before the daemon has learned of the monitors
        _run(environment, "ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=localhost", tries=10)
        _run(environment, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        daemons.append(_daemon(environment, folder, "ceph-osd", "-i", "0"))
        daemons.append(_daemon(environment, folder, "radosgw", "-n", "client.rgw.a"))
        endpoint = f"http://127.0.0.1:{gateway_port}"
        _wait_until_answering(endpoint, daemons, folder)
        owner = ("--uid", "owner", "--access-key", OWNER.access, "--secret-key", OWNER.secret)
        _run(environment, "radosgw-admin", "user", "create", *owner, "--display-name", "owner")
        reader = ("--subuser", "owner:reader", "--access-key", READER.access, "--secret-key", READER.secret)
        _run(environment, "radosgw-admin", "subuser", "create", "--uid", "owner", *reader, "--access", "read", "--key-type", "s3")
        yield Ceph(folder, endpoint)
    finally:
        for daemon in daemons:
            daemon.kill()  # asked politely, the storage daemon waits for a monitor that is gone
        for daemon in daemons:
            daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _daemon(environment: Mapping[str, str], folder: Path, program: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a daemon in the foreground; the kernel kills it when we die."""
    with (folder / "log" / f"{program}.out").open("wb") as log:
        command = ("setpriv", "--pdeathsig", "KILL", program, "-f", *arguments)
        return subprocess.Popen(command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)


def _run(environment: Mapping[str, str], *command: str, tries: int = 1) -> None:
    """Run a command to its end. On a busy machine a monitor was seen to refuse (EPERM) what came right after its start: such a command is tried again."""
    for number in range(1, tries + 1):
        done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=PATIENCE, check=False)
        if not done.returncode:
            return
        if number == tries:
            raise RuntimeError(f"{' '.join(command[:3])} failed with {done.returncode}: {done.stderr[-2000:]}")
        time.sleep(1)


def _wait_until_answering(endpoint: str, daemons: list[subprocess.Popen[bytes]], folder: Path) -> None:
    """Wait for the gateway's first answer."""
    deadline = time.monotonic() + PATIENCE
    for _ in itertools.count():
        dead = [str(daemon.args) for daemon in daemons if daemon.poll() is not None]
        if dead or time.monotonic() > deadline:
            logs = "".join(path.read_text(errors="replace")[-1500:] for path in sorted((folder / "log").glob("*.out")))
            raise RuntimeError(f"Ceph did not start (ended: {dead}): {logs}")
        try:
            urllib.request.urlopen(endpoint, timeout=PATIENCE).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
