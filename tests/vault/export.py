#!/usr/bin/env python3
"""Reads a vault that lies in a directory, without Haul.

    export.py DIR --list            the backups in it
    export.py DIR NAME OUT          writes the backup NAME to the new file OUT

The password comes from HAUL_VAULT_PASSWORD, or --key-file FILE names a key file. Needs PyNaCl, zstandard and blake3.

This was written from docs/VAULT.md alone, and shares no code with Haul: what it reads, anybody can read who has that
document.
"""

import argparse
import array
import collections
import datetime
import hmac
import os
import pathlib
import re
import sys

import nacl.bindings
import nacl.exceptions
import zstandard
from blake3 import blake3

HEADER = b"HaulVlt\x01"
LARGEST_GROUP = 4 << 20
MOST_KIB, MOST_PASSES = 1 << 20, 64
# Keeps groups whose pages are wanted again; in a fragmented database, neighbours lie in many groups.
CACHE = 256 << 20
PIECES_HASH = b"haul vault content"


class Unreadable(Exception):
    """One sentence for a person."""


class Record:
    """Reads postcard's wire format from its beginning."""

    def __init__(self, data, what):
        self.data, self.at, self.what = data, 0, what

    def raw(self, length):
        if length > len(self.data) - self.at:
            raise Unreadable(f"{self.what} ends too early")
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self, bits):
        """A LEB128 number."""
        value = 0
        for shift in range(0, bits, 7):
            byte = self.raw(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> bits:
                    break
                return value
        raise Unreadable(f"{self.what} has a number of more than {bits} bits")

    def u32(self):
        return self.number(32)

    def u64(self):
        return self.number(64)

    def i64(self):
        value = self.number(64)
        return (value >> 1) ^ -(value & 1)

    def bytes(self):
        return self.raw(self.u64())

    def text(self):
        return self.bytes().decode()

    def option(self, read):
        return read() if self.variant(2) else None

    def list(self, read):
        return [read() for _ in range(self.u64())]

    def variant(self, count):
        value = self.u32()
        if value >= count:
            raise Unreadable(f"{self.what} has an unknown variant, {value}")
        return value

    def id(self):
        return self.raw(16).hex()

    def amount(self):
        """How many bytes are needed of a pack."""
        return self.id(), self.u32()

    def place(self):
        return Place(self.id(), self.u32(), self.u32())

    def end(self):
        if self.at != len(self.data):
            raise Unreadable(f"{self.what} goes on after its end")


Place = collections.namedtuple("Place", "pack at length")
Snapshot = collections.namedtuple("Snapshot", "id name finished instance packs parts")
Bytes = collections.namedtuple("Bytes", "content")
Pieces = collections.namedtuple("Pieces", "length list")
Database = collections.namedtuple("Database", "path page_size pages runs")
Run = collections.namedtuple("Run", "at pages hashes packs")


def read_part(record):
    kind = record.variant(3)
    if kind == 0:
        return Bytes(record.bytes())
    if kind == 1:
        return Pieces(record.u64(), record.place())
    return Database(record.text(), record.u32(), record.u64(), record.list(lambda: read_run(record)))


def read_run(record):
    return Run(record.place(), record.u64(), record.list(record.place), record.list(record.amount))


def size(part):
    if isinstance(part, Bytes):
        return len(part.content)
    return part.length if isinstance(part, Pieces) else part.page_size * part.pages


def keyed(key, *message):
    return blake3(b"".join(message), key=key).digest()


def unseal(key, position, sealed, what):
    nonce = position.to_bytes(8, "little") + bytes(16)
    try:
        return nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, None, nonce, key)
    except (nacl.exceptions.CryptoError, nacl.exceptions.ValueError) as error:
        raise Unreadable(f"{what} is damaged, or belongs elsewhere") from error


class Vault:
    def __init__(self, directory, secret):
        self.directory = directory
        self.packs = {}
        self.groups = collections.OrderedDict()
        self.cached = 0
        self.master = self.open(secret)

    def objects(self, kind):
        pattern = re.compile(kind + "-([0-9a-f]{32})")
        found = (pattern.fullmatch(path.name) for path in self.directory.iterdir())
        return sorted(match[1] for match in found if match)

    def open(self, secret):
        keys = self.objects("key")
        if not keys:
            raise Unreadable(f"{self.directory} is not a vault: it has no key")
        for id in keys:
            name = f"key-{id}"
            record = Record(self.whole(name), name)
            record.text(), record.i64()
            if record.variant(2) == 0:
                salt, kib, passes = record.raw(16), record.u32(), record.u32()
                derived = secret.derive(salt, kib, passes)
            else:
                derived = secret.key_file
            sealed = record.bytes()
            record.end()
            if derived is None:
                continue
            try:
                return unseal(keyed(derived, b"haul vault key", bytes.fromhex(id)), 0, sealed, name)
            except Unreadable:
                continue
        raise Unreadable(f"{secret} opens none of the keys of this vault")

    def whole(self, name):
        data = (self.directory / name).read_bytes()
        check_header(data, name)
        return data[len(HEADER) :]

    def key(self, kind, id):
        return keyed(self.master, b"haul vault object", kind.encode(), bytes.fromhex(id))

    def snapshots(self):
        """All that can be read, the oldest first, and what is wrong with the others."""
        good, bad = [], []
        for id in self.objects("snapshot"):
            try:
                good.append(self.snapshot(id))
            except Unreadable as error:
                bad.append(str(error))
        return sorted(good, key=lambda snapshot: (snapshot.finished, snapshot.id)), bad

    def snapshot(self, id):
        name = f"snapshot-{id}"
        sealed = self.whole(name)
        record = Record(content(unseal(self.key("snapshot", id), len(HEADER), sealed, name), name), name)
        found = record.text(), record.i64(), record.option(record.text), record.list(record.amount)
        parts = record.list(lambda: read_part(record))
        record.end()
        return Snapshot(id, *found, parts)

    def group(self, place):
        """The content of a group of a pack."""
        if place in self.groups:
            self.groups.move_to_end(place)
            return self.groups[place]
        name = f"pack-{place.pack}"
        what = f"the group at byte {place.at} of {name}"
        if place.pack not in self.packs:
            try:
                file = open(self.directory / name, "rb")
            except FileNotFoundError as error:
                raise Unreadable(f"{name} is missing") from error
            check_header(file.read(len(HEADER)), name)
            self.packs[place.pack] = (file, self.key("pack", place.pack))
        file, key = self.packs[place.pack]
        file.seek(place.at)
        found = content(unseal(key, place.at, file.read(place.length), what), what)
        self.groups[place] = found
        self.cached += len(found)
        while self.cached > CACHE:
            self.cached -= len(self.groups.popitem(last=False)[1])
        return found

    def record(self, place):
        return Record(self.group(place), f"the record at byte {place.at} of pack-{place.pack}")

    def groups_in(self, record):
        """The places that a list of pieces or of extents refers to by their numbers."""
        packs = record.list(record.id)
        groups = record.list(lambda: (record.u32(), record.u32(), record.u32()))
        return [Place(at_index(packs, pack, record.what), at, length) for pack, at, length in groups]

    def pieces(self, part):
        record = self.record(part.list)
        groups = self.groups_in(record)
        pieces = record.list(lambda: (record.u32(), record.raw(16), record.u32(), record.u32()))
        record.end()
        key = keyed(self.master, PIECES_HASH)
        for length, hash, group, at in pieces:
            piece = cut(self.group(at_index(groups, group, record.what)), at, length, record.what)
            if not hmac.compare_digest(keyed(key, piece)[:16], hash):
                raise Unreadable(f"a piece that {record.what} names is another one")
            yield piece

    def pages(self, part):
        """A database. Paints the runs over each other, the oldest first, and then reads page after page."""
        group_of, page_of = array.array("q", [-1]) * part.pages, array.array("q", [0]) * part.pages
        places = [None]  # Number 0: zeros.
        for run in reversed(part.runs):
            record = self.record(run.at)
            offset = len(places) - 1
            places += self.groups_in(record)
            extents = record.list(lambda: (record.u32(), record.u32(), record.u32(), record.u32()))
            record.end()
            page = has = 0
            for gap, count, group, first in extents:
                page += gap
                within = max(0, min(count, part.pages - page))
                number = group and group + offset
                at_index(places, number, record.what)
                group_of[page : page + within] = array.array("q", [number]) * within
                page_of[page : page + within] = array.array("q", range(first, first + within))
                page += count
                has += count
            if has != run.pages:
                raise Unreadable(f"{record.what} has {has} pages instead of {run.pages}")
        for number, group in enumerate(group_of):
            if group < 0:
                raise Unreadable(f"page {number} of {part.path} is in no run")
            if group == 0:
                yield bytes(part.page_size)
            else:
                found = self.group(places[group])
                yield cut(found, page_of[number] * part.page_size, part.page_size, f"page {number} of {part.path}")

    def chunks(self, snapshot):
        for part in snapshot.parts:
            written = 0
            reads = {Bytes: lambda part: [part.content], Pieces: self.pieces, Database: self.pages}
            for chunk in reads[type(part)](part):
                written += len(chunk)
                yield chunk
            if written != size(part):
                raise Unreadable(f"a part of {snapshot.name} has {written} bytes instead of {size(part)}")


def check_header(data, name):
    if data[:7] != HEADER[:7]:
        raise Unreadable(f"{name} does not begin as an object of a vault does")
    if data[7:8] != HEADER[7:]:
        raise Unreadable(f"{name} has a newer format than this program knows")


def content(plain, what):
    """What is in a group, of its plaintext."""
    method, length, packed = plain[0], int.from_bytes(plain[1:5], "little"), plain[5:]
    if length > LARGEST_GROUP:
        raise Unreadable(f"{what} is larger than a group may be")
    if method == 0:
        found = packed
    elif method == 1:
        try:
            found = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
        except zstandard.ZstdError as error:
            raise Unreadable(f"{what} does not unpack: {error}") from error
    else:
        raise Unreadable(f"{what} is compressed in an unknown way, {method}")
    if len(found) != length:
        raise Unreadable(f"{what} has {len(found)} bytes instead of {length}")
    return found


def at_index(list, index, what):
    if index >= len(list):
        raise Unreadable(f"{what} refers to number {index} of {len(list)}")
    return list[index]


def cut(data, at, length, what):
    if at + length > len(data):
        raise Unreadable(f"{what} goes beyond the end of a group")
    return data[at : at + length]


class Secret:
    def __init__(self, password, key_file):
        self.password, self.key_file = password, None
        if key_file:
            self.key_file = bytes.fromhex(key_file.read_text().strip())

    def __str__(self):
        return "the key file" if self.key_file else "the password"

    def derive(self, salt, kib, passes):
        if self.key_file or self.password is None:
            return None
        if kib > MOST_KIB or passes > MOST_PASSES:
            raise Unreadable("a key asks for more memory or time than any has")
        argon2id = nacl.bindings.crypto_pwhash_ALG_ARGON2ID13
        return nacl.bindings.crypto_pwhash_alg(32, self.password.encode(), salt, passes, kib << 10, argon2id)


def export(vault, name, out):
    named = [snapshot for snapshot in vault.snapshots()[0] if snapshot.name == name]
    if not named:
        raise Unreadable(f"no readable backup is called {name}; --list shows them all")
    with open(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        try:
            for chunk in vault.chunks(named[-1]):
                file.write(chunk)
        except BaseException:
            out.unlink()
            raise


def show(vault):
    good, bad = vault.snapshots()
    for snapshot in good:
        finished = datetime.datetime.fromtimestamp(snapshot.finished / 1000, datetime.UTC)
        print(f"{finished:%Y-%m-%dT%H:%M:%SZ} {sum(map(size, snapshot.parts)):>15,} {snapshot.name}")
    for problem in bad:
        print(problem, file=sys.stderr)
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("name", nargs="?")
    parser.add_argument("out", nargs="?", type=pathlib.Path)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--key-file", type=pathlib.Path)
    wish = parser.parse_args()
    if wish.list == bool(wish.out):
        parser.error("give either --list, or a NAME and OUT")
    password = os.environ.get("HAUL_VAULT_PASSWORD")
    if not wish.key_file and not password:
        parser.error("set HAUL_VAULT_PASSWORD, or give --key-file")
    try:
        vault = Vault(wish.dir, Secret(password, wish.key_file))
        if wish.list:
            sys.exit(show(vault))
        export(vault, wish.name, wish.out)
    except (Unreadable, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
