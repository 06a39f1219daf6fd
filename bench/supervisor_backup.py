"""Writes a full backup as Home Assistant's Supervisor does: `supervisor_backup.py CONFIG [OUT PASSWORD]`.

With OUT: with Supervisor's library to that file, compressed (by ISA-L, as Supervisor has it) and encrypted. Without: to
standard output, neither compressed nor encrypted, and described as the environment variables SLUG and NAME say.
Supervisor's library would write each size when it is known; here it is computed first, because Samba's client can't go back.
"""

import io
import json
import os
import sys
import tarfile
from pathlib import Path

import zlib_fast

zlib_fast.enable()
from securetar import SecureTarArchive  # noqa: E402

# As Supervisor calls it.
BUFFER = 128 * 1024


def fill(tar: tarfile.TarFile, config: Path) -> None:
    info = tarfile.TarInfo("./homeassistant.json")
    info.size = 2
    tar.addfile(info, io.BytesIO(b"{}"))
    tar.add(config, arcname="data")
    # As beside a recorder that runs.
    if not (config / "home-assistant_v2.db-wal").exists():
        tar.addfile(tarfile.TarInfo("data/home-assistant_v2.db-wal"))


def description(compressed: bool, about: dict) -> tuple[tarfile.TarInfo, io.BytesIO]:
    content = json.dumps({
        "version": 2, "type": "full", "date": "2026-11-29T04:45:00.000000+00:00", "supervisor_version": "2026.08.0",
        "compressed": compressed, "protected": compressed,
        "homeassistant": {"version": "2026.11.0", "exclude_database": False, "size": 1.0},
        "addons": [], "folders": [], "repositories": [], "extra": {}, "docker": {}, **about,
    }).encode()  # fmt: skip
    info = tarfile.TarInfo("./backup.json")
    info.size, info.mtime = len(content), 1_790_000_000.5
    return info, io.BytesIO(content)


class Counting(tarfile.TarFile):
    """Says how long a tar will be: no file is read, and nothing is written."""

    def addfile(self, tarinfo, fileobj=None):
        self.offset += len(tarinfo.tobuf(self.format, self.encoding, self.errors))
        self.offset += rounded(tarinfo.size, tarfile.BLOCKSIZE) if fileobj else 0


def length(config: Path) -> int:
    tar = Counting(fileobj=io.BytesIO(), mode="w")
    fill(tar, config)
    return rounded(tar.offset + 2 * tarfile.BLOCKSIZE, tarfile.RECORDSIZE)


def rounded(count: int, to: int) -> int:
    return -(-count // to) * to


config = Path(sys.argv[1])
if len(sys.argv) > 2:
    out, password = sys.argv[2:]
    with SecureTarArchive(Path(out), "w", bufsize=BUFFER, create_version=3, password=password) as archive:
        with archive.create_tar("homeassistant.tar.gz", gzip=True) as tar:
            fill(tar, config)
        archive.tar.addfile(*description(True, {"slug": "a1b2c3d4", "name": "bench"}))
else:
    out = sys.stdout.buffer
    part = tarfile.TarInfo("homeassistant.tar")
    part.size = length(config)
    out.write(part.tobuf())
    with tarfile.open(fileobj=out, mode="w|", bufsize=BUFFER) as tar:
        fill(tar, config)
    info, content = description(False, {"slug": os.environ["SLUG"], "name": os.environ["NAME"]})
    out.write(info.tobuf() + content.read().ljust(rounded(info.size, tarfile.BLOCKSIZE), b"\0"))
    out.write(bytes(2 * tarfile.BLOCKSIZE))
