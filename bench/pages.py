"""Which pages of a database differ from those of the one before, and what they take when compressed.

`pages.py IMAGE SHEET [--first]`, run by `bench/vault`: IMAGE is read once from begin to end, SHEET holds a hash of each
page of the database before and is replaced by that of this one. Prints one line of JSON.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import zstandard

PAGE = 4096
HASH = 16
LEVELS = (1, 3)
# Pages compressed together: one page of 4 KiB can be had by unpacking so much.
GROUPS = {"64K": 64 << 10, "128K": 128 << 10, "256K": 256 << 10}


class Stream:
    """All pages in one stream: what no groups of them can reach."""

    def __init__(self, level: int) -> None:
        self.compressor = zstandard.ZstdCompressor(level=level).compressobj()
        self.size = 0

    def push(self, pages: bytes) -> None:
        self.size += len(self.compressor.compress(pages))

    def finish(self) -> int:
        return self.size + len(self.compressor.flush())


class Groups:
    def __init__(self, level: int, group: int) -> None:
        self.compressor = zstandard.ZstdCompressor(level=level)
        self.group, self.held, self.size = group, bytearray(), 0

    def push(self, pages: bytes) -> None:
        self.held += pages
        whole = len(self.held) // self.group * self.group
        for start in range(0, whole, self.group):
            self.size += len(self.compressor.compress(bytes(self.held[start : start + self.group])))
        del self.held[:whole]

    def finish(self) -> int:
        return self.size + (len(self.compressor.compress(bytes(self.held))) if self.held else 0)


def main(image: Path, sheet: Path, is_first: bool) -> None:
    sinks = {level: {"stream": Stream(level)} | {name: Groups(level, size) for name, size in GROUPS.items()} for level in LEVELS}
    seconds = {level: dict.fromkeys(of_level, 0.0) for level, of_level in sinks.items()}
    before = b"" if is_first else sheet.read_bytes()
    anywhere = {before[start : start + HASH] for start in range(0, len(before), HASH)}
    now = bytearray()
    pages = changed = moved = 0
    with open(image, "rb") as file:
        while block := file.read(1 << 20):
            new = bytearray()
            for start in range(0, len(block), PAGE):
                page = block[start : start + PAGE]
                hashed = hashlib.blake2b(page, digest_size=HASH).digest()
                if before[pages * HASH : (pages + 1) * HASH] != hashed:
                    new += page
                    changed += 1
                    moved += hashed in anywhere
                now += hashed
                pages += 1
            for level, of_level in sinks.items():
                for name, sink in of_level.items():
                    begun = time.thread_time()
                    sink.push(bytes(new))
                    seconds[level][name] += time.thread_time() - begun
    sheet.write_bytes(now)
    sizes = {level: {name: sink.finish() for name, sink in of_level.items()} for level, of_level in sinks.items()}
    print(json.dumps({"pages": pages, "changed": changed, "moved": moved, "sizes": sizes, "seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "--first" in sys.argv)
