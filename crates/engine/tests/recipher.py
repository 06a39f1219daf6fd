"""Home Assistant Core's way of changing an archive's encryption, for recipher.rs: every member's header copied with its PAX records, the size changed.

    recipher.py encrypt|decrypt PASSWORD VERSION < IN > OUT

As `components/backup/util.py` of Core 2026.11 does it: description rewritten, inner archives through securetar, everything else passed on, zeros up to the old length.
"""

import copy
import io
import json
import sys
import tarfile

import securetar

mode, password, version = sys.argv[1], sys.argv[2], int(sys.argv[3])
source = sys.stdin.buffer.read()
out = io.BytesIO()
context = securetar.SecureTarRootKeyContext(password)


def drain(stream):
    return b"".join(iter(lambda: stream.read(1 << 16), b""))


def changed(body, number):
    if mode == "decrypt":
        stream = securetar.SecureTarDecryptStream(io.BytesIO(body), ciphertext_size=len(body), root_key_context=context)
    else:
        stream = securetar.SecureTarEncryptStream(
            io.BytesIO(body), create_version=version, derived_key_id=number, plaintext_size=len(body), root_key_context=context
        )
    with stream as through:
        return drain(through)


with tarfile.open(fileobj=io.BytesIO(source), mode="r|") as old, tarfile.open(fileobj=out, mode="w|") as new:
    for number, member in enumerate(old):
        body = old.extractfile(member).read()
        if member.name == "./backup.json":
            body = json.dumps({**json.loads(body), "protected": mode == "encrypt"}).encode()
        elif member.name.partition(".")[2] in ("tar", "tar.gz", "tgz"):
            body = changed(body, number)
        again = copy.deepcopy(member)
        again.size = len(body)
        new.addfile(again, io.BytesIO(body))

sys.stdout.buffer.write(out.getvalue().ljust(len(source), b"\0"))
