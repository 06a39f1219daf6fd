"""Writes a backup as Home Assistant's Supervisor does, with the library that Supervisor uses.

    write.py OUT CONFIG [COPY] < SPEC

Every byte goes to COPY as well, to compare. SPEC is JSON: slug, name, date, full, compressed, password, apps [{slug,
name, version, empty, bytes}], folders, homeassistant, excludes_database, extra. Each app gets `addon.json` and a file of noise,
each folder a file with its name.
"""

import io
import json
import random
import sys
import tarfile
from pathlib import Path

from securetar import SecureTarArchive

out, config, *copy = map(Path, sys.argv[1:])
spec = json.load(sys.stdin)
compressed, password = spec["compressed"], spec["password"]
suffix = ".tar.gz" if compressed else ".tar"


def add(tar, name, content):
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(content), 1_790_000_000
    tar.addfile(info, io.BytesIO(content))


class Both:
    """The file and its copy."""

    def __init__(self):
        self.files = [open(path, "wb") for path in (out, *copy)]

    def write(self, data):
        return [file.write(data) for file in self.files][0]

    def seek(self, *position):
        return [file.seek(*position) for file in self.files][0]

    def tell(self):
        return self.files[0].tell()

    def close(self):
        for file in self.files:
            file.close()


def without_database(info):
    return None if spec["excludes_database"] and "home-assistant_v2.db" in info.name else info


file = Both() if copy else None
with SecureTarArchive(out, "w", fileobj=file, bufsize=128 * 1024, create_version=3, password=password) as archive:
    if spec["homeassistant"]:
        with archive.create_tar("homeassistant" + suffix, gzip=compressed) as tar:
            add(tar, "./homeassistant.json", b"{}")
            tar.add(config, arcname="data", filter=without_database)
    for app in spec["apps"]:
        with archive.create_tar(app["slug"] + suffix, gzip=compressed) as tar:
            if not app.get("empty"):
                add(tar, "./addon.json", json.dumps(app).encode())
                add(tar, "data/noise", random.Random(app["slug"]).randbytes(app.get("bytes", 700_000)))
    for folder in spec["folders"]:
        with archive.create_tar(folder.replace("/", "_") + suffix, gzip=compressed) as tar:
            add(tar, "./name", folder.encode())
    description = {
        "version": 2,
        "slug": spec["slug"],
        "name": spec["name"],
        "date": spec["date"],
        "type": "full" if spec["full"] else "partial",
        "supervisor_version": "2026.08.0",
        "compressed": compressed,
        "protected": password is not None,
        "homeassistant": {"version": "2026.11.0", "exclude_database": spec["excludes_database"], "size": 1.0}
        if spec["homeassistant"]
        else None,
        "addons": [{key: app[key] for key in ("slug", "name", "version")} | {"size": 0} for app in spec["apps"]],
        "folders": spec["folders"],
        "repositories": [],
        "extra": spec["extra"] or {},
        "docker": {},
    }
    content = json.dumps(description).encode()
    info = tarfile.TarInfo("./backup.json")
    info.size, info.mtime = len(content), 1_790_000_000.5
    archive.tar.addfile(info, io.BytesIO(content))
if file:
    file.close()
