"""A Home Assistant as a rehearsal sees it: `fake.py HOW`, on HAUL_REHEARSAL_CONFIG and HAUL_REHEARSAL_PORT."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import socket
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
    if HOW == "silent":
        for marker in sys.argv[2:]:
            pathlib.Path(marker).write_text("started")
        time.sleep(600)
    http.server.HTTPServer(("127.0.0.1", int(os.environ["HAUL_REHEARSAL_PORT"])), Handler).serve_forever()


main()
