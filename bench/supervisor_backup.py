"""Writes a full backup as Home Assistant's Supervisor does, with its library: `supervisor_backup.py CONFIG [OUT [PASSWORD]]`.

With OUT and PASSWORD: to that file, compressed (by ISA-L, as Supervisor has it) and encrypted. With OUT alone: neither.
Without: the same as the environment variable ORDER says, into a network folder. Prints its length.
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

# As Supervisor calls it, and as Linux sends it.
BUFFER, LARGEST = 128 * 1024, 1 << 20


class Folder(io.RawIOBase):
    """A file in a network folder that is written as Linux does: in order, and again where its writer goes back."""

    def __init__(self, mount: dict, name: str) -> None:
        import smbclient

        self.of, self.at, self.held = 0, 0, bytearray()
        login = {"username": mount["username"], "password": mount["password"], "port": mount["port"]}
        smbclient.register_session(mount["server"], encrypt=False, **login)
        path = rf"\\{mount['server']}\{mount['share']}\{name}"
        # Reading and writing: to make a file longer, a client has to ask for more than writing.
        access = 0xC0000000
        self.file = smbclient.open_file(path, mode="wb", buffering=0, desired_access=access, **login)

    def write(self, data) -> int:
        if self.of + len(self.held) != self.at:
            self.flush()
            self.of = self.at
        self.held += data
        self.at += len(data)
        if len(self.held) >= LARGEST:
            self.flush()
        return len(data)

    def flush(self) -> None:
        if self.closed or not self.held:
            return
        self.file.seek(self.of)
        rest = memoryview(bytes(self.held))
        while rest:
            written = self.file.write(rest[:LARGEST])
            self.of, rest = self.of + written, rest[written:]
        self.held = bytearray()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.at = offset if whence == os.SEEK_SET else self.at + offset
        return self.at

    def tell(self) -> int:
        return self.at

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self.flush()
        self.file.close()
        super().close()


def write(archive: SecureTarArchive, config: Path, about: dict, compressed: bool) -> None:
    suffix = ".tar.gz" if compressed else ".tar"
    with archive.create_tar(f"homeassistant{suffix}", gzip=compressed) as tar:
        info = tarfile.TarInfo("./homeassistant.json")
        info.size = 2
        tar.addfile(info, io.BytesIO(b"{}"))
        tar.add(config, arcname="data")
    description = {
        "version": 2, "type": "full", "date": "2026-11-29T04:45:00.000000+00:00", "supervisor_version": "2026.08.0",
        "compressed": compressed, "homeassistant": {"version": "2026.11.0", "exclude_database": False, "size": 1.0},
        "addons": [], "folders": [], "repositories": [], "extra": {}, "docker": {}, **about,
    }  # fmt: skip
    content = json.dumps(description).encode()
    info = tarfile.TarInfo("./backup.json")
    info.size, info.mtime = len(content), 1_790_000_000.5
    archive.tar.addfile(info, io.BytesIO(content))


config = Path(sys.argv[1])
if len(sys.argv) > 2:
    out, password = Path(sys.argv[2]), next(iter(sys.argv[3:]), None)
    with SecureTarArchive(out, "w", bufsize=BUFFER, create_version=3, password=password) as archive:
        about = {"slug": "a1b2c3d4", "name": "bench", "protected": password is not None}
        write(archive, config, about, password is not None)
    print(out.stat().st_size)
else:
    order = json.loads(os.environ["ORDER"])
    folder = Folder(order["mount"], order["filename"])
    with SecureTarArchive(fileobj=folder, mode="w", bufsize=BUFFER, create_version=3) as archive:
        write(archive, config, {"slug": order["slug"], "name": order["name"], "protected": False}, False)
    folder.close()
    print(folder.at)
