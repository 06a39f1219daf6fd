"""Copies a file as a program writes a backup: copying.py FROM TO [AT]

At byte AT it says `half`, and goes on when it is told a line. If it fails, it removes what it has written, as Supervisor
does.
"""

import contextlib
import os
import sys

source, to, *at = sys.argv[1:]
at = int(at[0]) if at else None
try:
    with open(source, "rb") as reading, open(to, "wb") as writing:
        while chunk := reading.read(128 * 1024):
            writing.write(chunk)
            if at is not None and writing.tell() >= at:
                print("half", flush=True)
                at = sys.stdin.readline() and None
except OSError as error:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(to)
    sys.exit(f"could not write: {error}")
print("written")
