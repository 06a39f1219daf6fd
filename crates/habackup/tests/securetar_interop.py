"""The other side of securetar_interop.rs: the Python package, which encrypts with libsodium and OpenSSL.

    securetar_interop.py encrypt PASSWORD DIR    every *.plain becomes *.v2 and *.v3
    securetar_interop.py decrypt PASSWORD DIR    every *.v2 and *.v3 becomes *.v2.out and *.v3.out
    securetar_interop.py archive PASSWORD FILE   a whole archive with two inner ones that share their root key
"""

import io
import pathlib
import sys
import tarfile

import securetar

mode, password, target = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])


def drain(stream) -> bytes:
    return b"".join(iter(lambda: stream.read(1 << 16), b""))


if mode == "encrypt":
    for version in (2, 3):
        context = securetar.SecureTarRootKeyContext(password)
        for plain in sorted(target.glob("*.plain")):
            with plain.open("rb") as source:
                stream = securetar.SecureTarEncryptStream(
                    source,
                    create_version=version,
                    derived_key_id=None,
                    plaintext_size=plain.stat().st_size,
                    root_key_context=context,
                )
                with stream as encrypted:
                    plain.with_suffix(f".v{version}").write_bytes(drain(encrypted))
elif mode == "decrypt":
    for sealed in sorted([*target.glob("*.v2"), *target.glob("*.v3")]):
        context = securetar.SecureTarRootKeyContext(password)
        with sealed.open("rb") as source:
            stream = securetar.SecureTarDecryptStream(
                source, ciphertext_size=sealed.stat().st_size, root_key_context=context
            )
            with stream as decrypted:
                # Version 2 asks for a tar or gzip, which the smallest sizes cannot be.
                decrypted._validated = True
                sealed.with_name(sealed.name + ".out").write_bytes(drain(decrypted))
elif mode == "archive":
    with securetar.SecureTarArchive(target, "w", create_version=3, password=password) as archive:
        for name in ("homeassistant.tar.gz", "share.tar.gz"):
            with archive.create_tar(name) as inner:
                info = tarfile.TarInfo("data/file")
                info.size = 5
                inner.addfile(info, io.BytesIO(b"hello"))
else:
    raise SystemExit(f"unknown mode {mode}")
