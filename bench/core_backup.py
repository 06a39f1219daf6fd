"""Writes a backup exactly as Home Assistant does, for comparison.

`core_backup.py CONFIG_DIR OUT.tar [--password TEXT] [--zlib-fast]`

Without `--zlib-fast` this is what Core 2026.11 does (`components/backup/manager.py`): an outer tar with
`./backup.json` and the inner `homeassistant.tar.gz`, 4 MiB buffers, SecureTar v3 when there is a password. zlib's
level is securetar's: 6 for a plain archive, 9 for an encrypted one. With `--zlib-fast` it is what Supervisor does:
the same library with ISA-L put in zlib's place before anything imports it.
"""

import argparse
import io
import json
import tarfile
import time
from pathlib import Path, PurePath

from exclusions import is_excluded

BUFFER = 4 * 2**20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--password")
    parser.add_argument("--zlib-fast", action="store_true")
    arguments = parser.parse_args()
    if arguments.zlib_fast:
        import zlib_fast

        zlib_fast.enable()
    from securetar import SecureTarArchive, atomic_contents_add

    metadata = {
        "compressed": True,
        "date": "2026-11-20T04:45:00.000000+00:00",
        "extra": {},
        "homeassistant": {"exclude_database": False, "version": "2026.11.0"},
        "name": "Bench",
        "protected": arguments.password is not None,
        "slug": "0ddba11c",
        "type": "partial",
        "version": 2,
    }
    with SecureTarArchive(arguments.out, "w", bufsize=BUFFER, create_version=3, password=arguments.password) as outer:
        raw = json.dumps(metadata).encode()
        info = tarfile.TarInfo("./backup.json")
        info.size = len(raw)
        info.mtime = int(time.time())
        outer.tar.addfile(info, fileobj=io.BytesIO(raw))
        with outer.create_tar("./homeassistant.tar.gz", gzip=True) as inner:
            atomic_contents_add(
                tar_file=inner,
                origin_path=arguments.config,
                file_filter=lambda path: is_excluded(PurePath(path).as_posix().removeprefix("data/")),
                arcname="data",
            )


if __name__ == "__main__":
    main()
