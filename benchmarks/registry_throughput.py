"""Push and pull of a 1 GB artifact through the registry's own object store, beside a plain multipart copy with the same client in the same run.

A real Ceph gateway is started on this machine, with its data in memory. Each of the four transfers runs in a process of its own, whose peak of memory is
reported; they take turns, so that what else this machine does falls on all alike, and the median of the rounds counts.

    python benchmarks/registry_throughput.py            # about 12 GB of memory, a few minutes
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "registry_throughput.json"
KINDS = ("plain_upload", "push", "plain_download", "pull")


def transfer(kind: str, bucket: str, file: Path, sha256: str) -> dict[str, float]:
    """One transfer: its seconds, and the most memory that it had beyond what the process had before."""
    from asdfd.storage.s3_connection import connect, read_settings
    from asdfd.storage.s3_objects import S3Objects
    from asdfd.storage.s3_transfers import PART

    connection = connect(read_settings())
    store, client = S3Objects(connection, bucket, "registry"), connection.client
    store.list("")
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    if kind == "plain_upload":
        client.fput_object(bucket, "plain", str(file), part_size=PART)
    elif kind == "push":
        store.upload("weights", file, sha256)
    elif kind == "plain_download":
        client.fget_object(bucket, "plain", str(file.with_name("plain")))
    else:
        store.download("weights", file.with_name("pulled"), sha256)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}


def measured(kind: str, bucket: str, file: Path, sha256: str) -> dict[str, float]:
    """A transfer in a process of its own."""
    command = [sys.executable, __file__, "--child", kind, bucket, str(file), sha256]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in ("plain", "pulled"):
        file.with_name(name).unlink(missing_ok=True)
    return json.loads(done.stdout)


def run(size: int, rounds: int) -> dict[str, object]:
    """All rounds, and what they show."""
    sys.path.insert(0, str(ROOT))
    from asdfd.base.artifacts import sha256_of
    from tests.servers.ceph import running_ceph

    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory(prefix="throughput-") as scratch, running_ceph(Path(scratch) / "ceph", capacity=6 * size) as ceph:
        os.environ.update(ceph.environment())
        file, bucket = Path(scratch) / "weights", ceph.bucket()
        ceph.client().put_object(bucket, "first", io.BytesIO(b"x"), 1)  # the server makes its pools on the first write
        digest = hashlib.sha256()
        with file.open("wb") as stream:
            for _ in range(size // 2**20):
                block = os.urandom(2**20)
                stream.write(block)
                digest.update(block)
        for number in range(rounds):
            order = KINDS if number % 2 == 0 else ("push", "plain_upload", "pull", "plain_download")
            for kind in order:
                found[kind].append(measured(kind, bucket, file, digest.hexdigest()))
                print(f"round {number + 1}, {kind}: {found[kind][-1]['seconds']:.2f} s", file=sys.stderr)
        with file.open("r+b") as stream:
            stream.truncate(size // 4)
        quarter = {kind: measured(kind, bucket, file, sha256_of(file))["peak_megabytes"] for kind in ("push", "pull")}
    seconds = {kind: statistics.median(one["seconds"] for one in all_) for kind, all_ in found.items()}
    return {
        "bytes": size,
        "rounds": rounds,
        "median_seconds": seconds,
        "megabytes_per_second": {kind: size / 1e6 / value for kind, value in seconds.items()},
        "push_throughput_of_plain": seconds["plain_upload"] / seconds["push"],
        "pull_throughput_of_plain": seconds["plain_download"] / seconds["pull"],
        "peak_megabytes": {kind: max(one["peak_megabytes"] for one in all_) for kind, all_ in found.items()},
        "peak_megabytes_of_a_quarter_of_the_size": quarter,
        "all": found,
        "machine": {"cpus": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version(), "load_before": LOAD},
        "note": "pull verifies the SHA-256 of what it reads, the plain copy does not",
    }


LOAD = os.getloadavg()[0]


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.child:
        kind, bucket, file, sha256 = options.child
        print(json.dumps(transfer(kind, bucket, Path(file), sha256)))
        return
    result = run(options.megabytes * 2**20, options.rounds)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in result.items() if name != "all"}, indent=1))


if __name__ == "__main__":
    main()
