"""A Home Assistant as a rehearsal sees it: `fake.py HOW`, on HAUL_REHEARSAL_CONFIG and HAUL_REHEARSAL_PORT."""

import base64
import ctypes
import errno
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import socket
import stat
import sys
import time

HOW = sys.argv[1]
CONFIG = pathlib.Path(os.environ["HAUL_REHEARSAL_CONFIG"])
LOOKS = 0


def look_around():
    """What a rehearsed Home Assistant must not be able to do."""
    victim, listener = os.environ["VICTIM"], int(os.environ["LISTENER"])
    names = [name for _, name in socket.if_nameindex()]
    assert names == ["lo"], names
    try:
        socket.create_connection(("127.0.0.1", listener), 2)
        raise AssertionError("it reaches this machine")
    except ConnectionRefusedError:
        pass
    assert not [name for name in os.listdir("/dev") if name.startswith(("tty", "sd", "vd", "bus", "serial")) and name != "tty"]
    for path in os.environ["SOCKETS"].split(":"):
        try:
            socket.socket(socket.AF_UNIX).connect(path)
            raise AssertionError(f"it reaches {path}")
        except OSError:
            pass
    try:
        open(victim, "a")
        raise AssertionError("it changes files outside")
    except OSError:
        pass
    open("/dev/null", "w").write("x")
    (CONFIG / "written").write_text("x")
    assert os.getpid() < 50, "it sees other processes"


def ways_out():
    """What a hostile one tries. Each must fail; those that don't are named."""
    libc = ctypes.CDLL(None, use_errno=True)
    remount_bind, attach, disable_keys = 0x1020, 16, 0
    init_module = {"x86_64": 175, "aarch64": 105}[os.uname().machine]
    victim = os.environ["VICTIM"]
    inside = str(CONFIG).encode()

    def refused(done):
        return done == -1 and ctypes.get_errno() in (errno.EPERM, errno.EACCES, errno.ENOSYS)

    def opens(path, mode):
        try:
            open(path, mode).close()
            return True
        except OSError:
            return False

    found = []

    def say(what, is_open):
        if is_open:
            found.append(what)

    for path in (b"/", b"/proc/sys", b"/sys", victim.encode()):
        say(f"remount {path}", not refused(libc.mount(None, path, None, remount_bind, None)) and os.path.ismount(path))
    say("mknod", not refused(libc.mknod(inside + b"/disk", stat.S_IFBLK | 0o600, os.makedev(7, 0))))
    say("mount proc", not refused(libc.mount(b"proc", inside, b"proc", 0, None)))
    say("ptrace", not refused(libc.ptrace(attach, 1, None, None)))
    say("load a module", not refused(libc.syscall(init_module, b"x", 1, b"")))
    say("reboot", not refused(libc.reboot(disable_keys)))
    try:
        time.clock_settime(time.CLOCK_REALTIME, time.time())
        found.append("set the clock")
    except PermissionError:
        pass
    say("unmount", libc.umount2(victim.encode(), 2) == 0 or libc.umount2(b"/proc/sys", 2) == 0)
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/1/mem", victim):
        say(f"write to {path}", opens(path, "r+b"))
    for path in ("/proc/1/ns/mnt", "/proc/1/root/etc/passwd", "/proc/1/fd/2", "/dev/mem", "/dev/kmsg", "/dev/fuse"):
        say(f"open {path}", opens(path, "rb"))
    return found


def try_to_escape():
    status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
    assert status["NoNewPrivs"] == "1", status
    found = ways_out()
    # Root once more, in a place of its own.
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10020000) == 0:
        open("/proc/self/setgroups", "w").write("deny")
        open("/proc/self/uid_map", "w").write(f"0 {uid} 1")
        open("/proc/self/gid_map", "w").write(f"0 {gid} 1")
        found += [f"as another root: {way}" for way in ways_out()]
    pathlib.Path("/tmp/haul-left-behind").write_text("x")
    (CONFIG / "ways-out").write_text(json.dumps(found))


def is_signed(header):
    head, claims, signature = header.removeprefix("Bearer ").split(".")
    decoded = json.loads(base64.urlsafe_b64decode(claims + "=="))
    assert decoded["exp"] > time.time() > decoded["iat"] - 60
    tokens = json.loads((CONFIG / ".storage/auth").read_text())["data"]["refresh_tokens"]
    key = next(token["jwt_key"] for token in tokens if token["id"] == decoded["iss"])
    wanted = hmac.new(key.encode(), f"{head}.{claims}".encode(), hashlib.sha256).digest()
    return hmac.compare_digest(wanted, base64.urlsafe_b64decode(signature + "=="))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global LOOKS
        status, body = 404, None
        if self.path == "/api/onboarding":
            LOOKS += 1
            if HOW == "first-page":
                status, body = 200, [{"step": "user", "done": False}]
        elif self.path == "/auth/providers" and (HOW != "slow" or LOOKS > 1):
            status, body = 200, {"providers": [{"name": "Home Assistant Local", "type": "homeassistant", "id": None}]}
        elif self.path == "/api/config":
            if HOW == "no-token" or HOW == "only-core" or not is_signed(self.headers["authorization"]):
                status, body = 401, None
            else:
                state = "STARTING" if HOW == "slow" and LOOKS < 3 else "RUNNING"
                modes = {"recovery_mode": HOW == "recovery", "safe_mode": HOW == "safe"}
                status, body = 200, {"state": state, "version": "2026.11.9", **modes}
        elif self.path == "/api/image/upload" and HOW != "only-core":
            status = 405
        text = f"{status}: Not Found" if body is None else json.dumps(body)
        self.send_response_only(status)
        self.send_header("content-type", "text/plain; charset=utf-8" if body is None else "application/json")
        self.send_header("referrer-policy", "no-referrer")
        self.send_header("x-content-type-options", "nosniff")
        self.send_header("server", "")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def main():
    print("2026-11-28 05:00:00.000 ERROR (MainThread) [homeassistant.setup] no network here", flush=True)
    if HOW == "dies":
        sys.exit(3)
    if HOW == "restarts" and not (CONFIG / "started").exists():
        (CONFIG / "started").write_text("once")
        sys.exit(100)
    if HOW == "isolated":
        look_around()
    if HOW == "hostile":
        try_to_escape()
    if HOW == "silent":
        (CONFIG / "started").write_text("once")
        time.sleep(600)
    http.server.HTTPServer(("127.0.0.1", int(os.environ["HAUL_REHEARSAL_PORT"])), Handler).serve_forever()


main()
