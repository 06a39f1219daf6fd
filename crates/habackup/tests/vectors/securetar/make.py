"""Makes the SecureTar vectors in this folder. Run it once per package version:

    python make.py v1    with securetar 2024.2.1, the last series that wrote version 1
    python make.py       with securetar 2026.10.0

Salts are fixed; the v3 stream header comes from libsodium's random source.
"""

import gzip
import hashlib
import io
import os
import pathlib
import struct
import sys
import tarfile
import time

HERE = pathlib.Path(__file__).parent
PASSWORD = "correct horse"


def archive(size: int) -> bytes:
    """An uncompressed tar with one file of `size` bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("data/file")
        info.size = size
        tar.addfile(info, io.BytesIO(content(size)))
    return out.getvalue()


def content(size: int) -> bytes:
    """Bytes that gzip cannot make smaller."""
    blocks = (hashlib.sha256(bytes([n])).digest() for n in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def write(name: str, container: bytes, expect: str, comment: str, plain: bytes | None = None, password: str = PASSWORD):
    lines = [f"comment: {comment}", f"password: {password}", f"expect: {expect}"]
    if plain is not None:
        lines.append(f"sha256: {hashlib.sha256(plain).hexdigest()}")
    text = "\n".join(lines) + "\n---\n"
    (HERE / f"{name}.securetar").write_bytes(text.encode() + container)


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def size_field(data: bytes, size: int) -> bytes:
    return data[:16] + struct.pack("!Q", size) + data[24:]


def make_v1():
    """As Supervisor did until 2024: SecureTarFile in write mode."""
    import securetar

    def key(password: str) -> bytes:
        digest = password.encode()
        for _ in range(100):
            digest = hashlib.sha256(digest).digest()
        return digest[:16]

    securetar.os = type("os", (), {"urandom": staticmethod(lambda n: bytes(range(n))), **vars(os)})
    time.time = lambda: 1700000000.0
    # The same tar through the same writer, without the encryption, is what must come out.
    wanted = {"padded": None, "whole": None}
    for size in range(100, 200):
        path = pathlib.Path("/tmp/securetar-v1")
        path.unlink(missing_ok=True)
        with securetar.SecureTarFile(path, "w", key=key(PASSWORD), gzip=True) as tar:
            info = tarfile.TarInfo("data/file")
            info.size = size
            tar.addfile(info, io.BytesIO(content(size)))
        container = path.read_bytes()
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w|gz", bufsize=10240) as tar:
            info = tarfile.TarInfo("data/file")
            info.size = size
            tar.addfile(info, io.BytesIO(content(size)))
        gz = plain.getvalue()
        assert gzip.decompress(gz)
        kind = "whole" if (len(gz) - 8) % 16 == 0 else "padded"
        if wanted[kind] is None:
            wanted[kind] = (container, gz)
    container, gz = wanted["padded"]
    write("v1-gzip", container, "success", "version 1 pads the data, the checksum and the length each by itself", gz)
    write("v1-wrong-password", container, "wrong password", "the first bytes are neither gzip nor tar", password="wrong")
    write("v1-cut-in-a-block", container[:-5], "truncated", "not a whole number of blocks")
    write("v1-only-a-salt", container[:16], "truncated", "nothing behind the salt")
    write("v1-cut-in-the-salt", container[:9], "truncated", "shorter than the smallest header")
    container, gz = wanted["whole"]
    write("v1-gzip-whole-blocks", container, "success", "the data is a multiple of 16 bytes and has no padding", gz)
    path.unlink(missing_ok=True)
    with securetar.SecureTarFile(path, "w", key=key(PASSWORD), gzip=False) as tar:
        info = tarfile.TarInfo("data/file")
        info.size = 10
        tar.addfile(info, io.BytesIO(content(10)))
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w|", bufsize=10240) as tar:
        info = tarfile.TarInfo("data/file")
        info.size = 10
        tar.addfile(info, io.BytesIO(content(10)))
    write("v1-tar", path.read_bytes(), "success", "an uncompressed tar has no padding at all", plain.getvalue())


def make():
    import nacl.bindings.crypto_secretstream as nss
    import securetar

    def seal(version: int, plain: bytes) -> bytes:
        counter = iter(range(1, 100))
        securetar.nacl_random = lambda n: bytes([next(counter)]) * n
        context = securetar.SecureTarRootKeyContext(PASSWORD)
        stream = securetar.SecureTarEncryptStream(
            io.BytesIO(plain), create_version=version, derived_key_id=None, plaintext_size=len(plain), root_key_context=context
        )
        with stream as encrypted:
            return b"".join(iter(lambda: encrypted.read(65536), b""))

    def v3_messages(*messages: tuple[bytes, int]) -> bytes:
        """The header of a real container, and messages of our choice."""
        header = seal(3, b"")[:136]
        context = securetar.SecureTarRootKeyContext(PASSWORD)
        material = context.restore_key_material(securetar.SecureTarHeader.from_bytes(io.BytesIO(header)))
        state = nss.crypto_secretstream_xchacha20poly1305_state()
        nss.crypto_secretstream_xchacha20poly1305_init_pull(state, material.iv, material.key)
        body = [nss.crypto_secretstream_xchacha20poly1305_push(state, text, None, tag) for text, tag in messages]
        return size_field(header, sum(len(text) for text, _ in messages)) + b"".join(body)

    gz = gzip.compress(archive(600), mtime=0)
    tar = archive(10)
    for version in (2, 3):
        name = f"v{version}"
        sealed = seal(version, gz)
        body = 48 if version == 2 else 136
        write(f"{name}-gzip", sealed, "success", "a compressed archive", gz)
        write(f"{name}-tar", seal(version, tar), "success", "an uncompressed archive", tar)
        write(f"{name}-wrong-password", sealed, "wrong password", "another password", password="correct horse ")
        write(f"{name}-no-password", sealed, "wrong password", "the empty password", password="")
        write(f"{name}-cut-in-the-magic", sealed[:7], "truncated", "shorter than any header")
        write(f"{name}-cut-in-the-size", sealed[:20], "truncated", "the size field is incomplete")
        write(f"{name}-cut-in-the-salts", sealed[: body - 3], "truncated", "the header is incomplete")
        write(f"{name}-no-body", sealed[:body], "truncated", "the header is all there is")
        write(f"{name}-cut-in-the-body", sealed[:-40], "truncated", "40 bytes short")
        write(f"{name}-last-byte-missing", sealed[:-1], "truncated", "one byte short")
        write(f"{name}-one-byte-more", sealed + b"\0", "after end", "one zero behind the end")
        write(f"{name}-garbage-behind", sealed + content(100), "after end", "100 bytes behind the end")
        write(f"{name}-size-zero", size_field(sealed, 0), "size mismatch", "the size was never put in")
        write(f"{name}-size-too-small", size_field(sealed, len(gz) - 1), "size mismatch", "one less than there is")
        write(f"{name}-size-too-large", size_field(sealed, len(gz) + 1), "size mismatch", "one more than there is")
        write(f"{name}-size-huge", size_field(sealed, 2**64 - 1), "size mismatch", "more than anyone has")
        write(f"{name}-reserved-byte", flip(sealed, 12), "reserved bytes", "a byte after the version is not zero")
        write(f"{name}-version-4", sealed[:9] + b"\x04" + sealed[10:], "unknown version", "a version of the future")
        as_v1 = "wrong password" if len(sealed) % 16 == 0 else "truncated"
        write(f"{name}-magic-flipped", flip(sealed, 3), as_v1, "without the magic it reads as version 1")
        write(f"{name}-salt-flipped", flip(sealed, 40), "wrong password", "another salt is another key or IV")
    sealed = seal(2, gz)
    write("v2-last-block-flipped", flip(sealed, len(sealed) - 20), "bad padding", "the block before the last is xored into the last")
    write("v2-first-block-flipped", flip(sealed, 48), "wrong password", "the first block is nonsense, which a wrong password would be too")
    sealed = seal(3, gz)
    write("v3-validation-key-flipped", flip(sealed, 70), "wrong password", "the header refuses the right password")
    write("v3-stream-salt-flipped", flip(sealed, 100), "tampered", "another stream key")
    write("v3-nonce-flipped", flip(sealed, 130), "tampered", "another nonce")
    write("v3-tag-flipped", flip(sealed, 136), "tampered", "the encrypted tag byte")
    write("v3-body-flipped", flip(sealed, 300), "tampered", "a byte of the content")
    write("v3-mac-flipped", flip(sealed, len(sealed) - 1), "tampered", "the last byte of the MAC")
    message, final = nss.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE, nss.crypto_secretstream_xchacha20poly1305_TAG_FINAL
    write("v3-no-final", v3_messages((gz, message)), "missing final", "the only message is not the last")
    write("v3-message-behind-final", size_field(v3_messages((gz, final), (gz, final)), len(gz)), "after end", "a sound message behind the last one")
    write("v3-unknown-tag", v3_messages((gz, 1)), "tampered", "a tag nobody writes")


if __name__ == "__main__":
    make_v1() if "v1" in sys.argv else make()
