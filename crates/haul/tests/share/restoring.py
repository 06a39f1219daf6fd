"""Restores an archive as Supervisor does: restoring.py ARCHIVE

Unpacks it into a directory beside it, and says `unpacked`; told a line, it reads all of it back, and compares it with
the archive.
"""

import hashlib
import os
import sys
import tarfile
import tempfile
from pathlib import Path


def digest(file):
    return hashlib.file_digest(file, "sha256").hexdigest()


archive = Path(sys.argv[1])
with tempfile.TemporaryDirectory(dir=archive.parent) as directory:
    with tarfile.open(archive, "r:") as outer:
        outer.extractall(directory, filter="fully_trusted")
    print("unpacked", flush=True)
    sys.stdin.readline()
    with tarfile.open(archive, "r:") as outer:
        for member in outer:
            with open(Path(directory, member.name), "rb") as file:
                assert digest(file) == digest(outer.extractfile(member)), member.name
            print(member.name, member.size)
print(os.listdir(archive.parent))
