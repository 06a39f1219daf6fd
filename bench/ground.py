"""What both benches stand on: the sample directory, the peers' Python, and one timed run of a command."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
WORK = Path(os.environ.get("BENCH_DIR", TARGET / "bench"))
DATABASE = "home-assistant_v2.db"


def fail(sentence: str) -> None:
    sys.exit(f"bench: {sentence}")


def warn_if_busy() -> None:
    """Said, not enforced: a busy machine makes wall times, and ratios of programs with unlike numbers of threads, worthless."""
    load, _, _ = os.getloadavg()
    if load > 1:
        print(f"other work is running here (load {load:.1f}): trust only the cpu seconds", flush=True)


def haul() -> str:
    path = Path(os.environ.get("HAUL", TARGET / "release/haul"))
    if not os.access(path, os.X_OK):
        fail(f"{path} is missing; build it with `make build` or name it in HAUL")
    return str(path)


def example(name: str, package: str = "sample") -> str:
    """Builds one of the workspace's example programs and says where it is."""
    command = ["cargo", "build", "--quiet", "--release", "--locked", "-p", package, "--example", name]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        fail(f"the example {name} of {package} cannot be built")
    return str(TARGET / "release/examples" / name)


def config(size: str, purpose: str = "config") -> Path:
    """A sample config directory with a database of about `size`; an old one is used again."""
    directory = WORK / f"{purpose}-{size}"
    done = directory.with_suffix(".made")
    if done.exists():
        return directory
    subprocess.run(["rm", "-rf", str(directory)], check=True)
    directory.parent.mkdir(parents=True, exist_ok=True)
    print(f"making {directory}", flush=True)
    made = subprocess.run([example("make_config"), str(directory), "--size", size], stdout=subprocess.PIPE, text=True)
    if made.returncode != 0:
        fail("the sample directory could not be made")
    print(" ", made.stdout.strip(), flush=True)
    done.write_text(made.stdout)
    return directory


def python() -> str:
    """A Python with the libraries that Home Assistant writes its backups with."""
    requirements = BENCH / "requirements.txt"
    home = WORK / "python"
    ready = home / ".ready"
    if not ready.exists() or ready.read_text() != requirements.read_text():
        steps = [
            [sys.executable, "-m", "venv", "--clear", str(home)],
            [str(home / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)],
        ]
        for step in steps:
            if subprocess.run(step).returncode != 0:
                fail(f"`{' '.join(step)}` failed (is python3-venv installed?)")
        ready.write_text(requirements.read_text())
    return str(home / "bin/python")


class S3:
    """A real S3 server on loopback, that keeps objects in files; ends with this bench."""

    def __init__(self, out: Path) -> None:
        command = [example("s3_server", "testkit")]
        server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(out)})
        self.server = server
        self.endpoint, key, secret, directory = server.stdout.readline().split()
        self.bucket = Path(directory) / "bench"
        # What rclone calls it.
        self.remote = f":s3,provider=Other,env_auth,endpoint='{self.endpoint}',force_path_style:bench"
        self.environment = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_REGION": "us-east-1"}
        self.environment |= {"AWS_ENDPOINT_URL": self.endpoint, "AWS_ALLOW_HTTP": "true"}

    def clean(self) -> None:
        for path in self.bucket.rglob("*"):
            if path.is_file():
                path.unlink()


@dataclass
class Run:
    seconds: float
    # Of the largest process of the command, in bytes. Linux counts what a child had before it became the command, so
    # this is never less than this bench's own 20 MiB.
    peak_memory: int
    # User and system time of all its processes, in seconds.
    cpu: float
    # What the command itself caused to be written to disks, in bytes.
    written: int = 0


def warm(paths: list[Path]) -> None:
    """Reads the files, so that every run finds them in the page cache."""
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


def timed(command: list[str], **options) -> Run:
    """Runs a command alone: what earlier ones left to be written is on the disk first."""
    os.sync()
    begun = time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
    # Opened while it lives: the account of a process that has ended can still be read until somebody has waited for it.
    account = os.open(f"/proc/{child.pid}/io", os.O_RDONLY)
    complaints = child.stderr.read().decode(errors="replace")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    seconds = time.monotonic() - begun
    fields = dict(line.split(": ") for line in os.pread(account, 4096, 0).decode().splitlines())
    os.close(account)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        fail(f"`{' '.join(command)}` ended with {child.returncode}: {complaints.strip()[-2000:]}")
    return Run(seconds, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime, int(fields["write_bytes"]))


def verdict(targets) -> int:
    """Prints each (what, measured, "≥" or "≤", target), and says how many were missed."""
    if not targets:
        return 0
    print(f"\n{'':40} {'measured':>9} {'target':>9}")
    missed = 0
    for what, measured, sign, target in targets:
        reached = measured >= target if sign == "≥" else measured <= target
        missed += not reached
        print(f"{what:40} {measured:9.2f} {sign + ' ' + format(target, 'g'):>9}  {'' if reached else 'MISSED'}")
    return missed
