"""One running Home Assistant: its config directory, its process in the rig, its port. Nothing of it outlives `stop`."""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

VERSION = os.environ.get("HAUL_RIG_VERSION", "2025.6.3")
# The root that `prepare` made for this version.
ROOT = pathlib.Path(os.environ.get("HAUL_RIG", "/var/cache/haul/rigs")) / VERSION
WANTS_RESTART = 100
KEEPS_PORT = tuple(map(int, VERSION.split("."))) >= (2026, 8)

# `!env_var`: a restored directory must come up on the new instance's port.
CONFIGURATION = """\
http:
  server_host: 127.0.0.1
  server_port: !env_var HAUL_RIG_PORT
recorder:
  commit_interval: 1
  auto_purge: false
api:
frontend:
history:
backup:
onboarding:
config:
"""

LATER_STEPS_DONE = {
    "version": 4,
    "minor_version": 1,
    "key": "onboarding",
    "data": {"done": ["core_config", "analytics", "integration"]},
}

# What 2026.8 and newer listen on: `http:` above would only be tried by them, and given up at the second start.
STORED_HTTP = {
    "version": 3,
    "minor_version": 1,
    "key": "http",
    "data": {
        "stable": {
            "server_host": ["127.0.0.1"],
            "cors_allowed_origins": [],
            "login_attempts_threshold": -1,
            "ip_ban_enabled": True,
            "ssl_profile": "intermediate_v6",
            "use_x_frame_options": True,
            "created_at": "2026-11-01T00:00:00+00:00",
            "error": None,
            "error_message": None,
        },
        "pending": None,
        "yaml_migration_done": True,
    },
}

# Runs as the first process of its own mount and process namespaces: the mounts and every child go with it.
ENTER = """
set -e
mount --bind "$2" "$1/config"
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/tmp"
mount -t tmpfs tmpfs "$1/media"
exec chroot "$1" /opt/ha/bin/hass --config /config --skip-pip
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Instance:
    """A Home Assistant on `config`, an existing directory; started by `with`, or by `start`.

    From 2026.8 on, Home Assistant keeps its port in `.storage/http`, so a restored instance listens where the one that
    was backed up did. On another machine it can; here that one may still be there, so the file is changed to say `port`
    before each start. With `follows_port`, it is left as it is, and `port` says what it says; before 2026.8, what a
    number in `configuration.yaml` says.
    """

    def __init__(self, config, port=None, follows_port=False):
        self.config = pathlib.Path(config).resolve()
        self.port = port or free_port()
        self._follows_port = follows_port
        self._process = None
        # Beside the directory, not in it: what it says is no part of what is backed up.
        self.output = self.config.with_name(self.config.name + ".output")

    @classmethod
    def fresh(cls, config, port=None, only_needs_a_user=False, follows_port=False):
        """An instance that has never run: no user, no history.

        With `only_needs_a_user`, onboarding is over with its first step; the later ones would go out into the network.
        """
        config = pathlib.Path(config)
        config.mkdir(parents=True)
        (config / "configuration.yaml").write_text(CONFIGURATION)
        (config / ".storage").mkdir()
        if KEEPS_PORT:
            (config / ".storage/http").write_text(json.dumps(STORED_HTTP))
        if only_needs_a_user:
            (config / ".storage/onboarding").write_text(json.dumps(LATER_STEPS_DONE))
        return cls(config, port, follows_port)

    @property
    def database(self):
        return self.config / "home-assistant_v2.db"

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self._tell()
            raise
        return self

    def __exit__(self, failed, *_):
        self.stop()
        if failed:
            self._tell()

    def _tell(self):
        said = self.output.read_text(errors="replace")[-6000:]
        sys.stderr.write(f"--- what Home Assistant on {self.config} said ---\n{said}---\n")

    def start(self):
        """Starts it and waits until it answers; one that asks for another start, as after a restore, gets it."""
        self._spawn()
        try:
            self._wait_until_it_answers(120)
        except BaseException:
            self.stop()
            raise

    def _settle_on_port(self):
        if self._follows_port and not KEEPS_PORT:
            number = re.search(r"^ +server_port: (\d+)$", (self.config / "configuration.yaml").read_text(), re.MULTILINE)
            self.port = int(number[1]) if number else self.port
        stored = self.config / ".storage/http"
        if not KEEPS_PORT or not stored.exists():
            return
        document = json.loads(stored.read_text())
        stable = document["data"]["stable"]
        if self._follows_port and "server_port" in stable:
            self.port = stable["server_port"]
        elif stable.get("server_port") != self.port:
            stable["server_port"] = self.port
            stored.write_text(json.dumps(document, indent=2))

    def _spawn(self):
        self._settle_on_port()
        environment = {
            "PATH": "/opt/ha/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "HAUL_RIG_PORT": str(self.port),
        }
        # If this process is killed, the kernel kills `unshare`, and that everything in its namespaces.
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
        with open(self.output, "ab") as log:
            self._process = subprocess.Popen(
                [*command, "bash", "-c", ENTER, "rig", str(ROOT), str(self.config)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_until_it_answers(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            code = self._process.poll()
            if code == WANTS_RESTART:
                self._spawn()
            elif code is not None:
                raise RuntimeError(f"Home Assistant exited with {code}")
            if self._is_ready():
                return
            time.sleep(0.2)
        raise TimeoutError("Home Assistant does not answer")

    def _is_ready(self):
        # What a fresh instance brings up last; 401 once somebody has begun to set it up, 404 when that is over.
        status, body = self._get("/api/onboarding/backup/info")
        if status == 200:
            return json.loads(body)["state"] == "idle"
        return status == 401 or self._get("/auth/providers")[0] == 200

    def _get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return None, b""
        finally:
            connection.close()

    def restart_when_asked(self, seconds=120):
        """Waits until Home Assistant leaves with the code that asks for a new start, and starts it again."""
        code = self._process.wait(seconds)
        if code != WANTS_RESTART:
            raise RuntimeError(f"Home Assistant exited with {code}, expected {WANTS_RESTART}")
        self.start()

    def stop(self):
        if self._process is None:
            return
        for number, seconds in ((signal.SIGTERM, 40), (signal.SIGKILL, 10)):
            if self._process.poll() is None:
                os.killpg(self._process.pid, number)
                try:
                    self._process.wait(seconds)
                except subprocess.TimeoutExpired:
                    continue
        self._process = None

    def remove(self):
        """Its directory and its log, once they have served."""
        shutil.rmtree(self.config)
        self.output.unlink()


def stop_on_signals():
    """SIGTERM leaves through the `with` blocks, as Ctrl-C does."""

    def leave(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, leave)
