"""Home Assistant's HTTP API as the scenarios need it: onboarding, login, states, history, backups."""

import http.client
import json
import os
import time
import urllib.parse

from .websocket import WebSocket


class Refused(Exception):
    """An answer other than the expected one: `status` and the parsed or raw `body`."""

    def __init__(self, what, status, body):
        super().__init__(f"{what}: {status} {body}")
        self.status, self.body = status, body


class Client:
    """One keep-alive connection to the instance on loopback port `port`; not shared between threads."""

    def __init__(self, port, token=None):
        self.port, self.token = port, token
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    @property
    def client_id(self):
        return f"http://127.0.0.1:{self.port}/"

    def request(self, method, path, body=None, headers=None):
        """(status, parsed JSON or text), whatever the status."""
        headers = dict(headers or {})
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if isinstance(body, (dict, list)):
            body, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        try:
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
            text = answer.read()
        except Exception:
            self._connection.close()
            raise
        if answer.headers.get_content_type() == "application/json":
            return answer.status, json.loads(text)
        return answer.status, text.decode(errors="replace")

    def ask(self, method, path, body=None, headers=None):
        """The body of a successful answer; anything else is raised."""
        status, answer = self.request(method, path, body, headers)
        if not 200 <= status < 300:
            raise Refused(f"{method} {path}", status, answer)
        return answer

    def websocket(self):
        return WebSocket(self.port, self.token)

    # --- becoming somebody ---

    def onboard(self, username, password):
        """Creates the first user of a fresh instance and signs in as that user."""
        user = {"client_id": self.client_id, "name": username.title(), "username": username}
        answer = self.ask("POST", "/api/onboarding/users", {**user, "password": password, "language": "en"})
        self._redeem(answer["auth_code"])

    def log_in(self, username, password):
        flow = self.ask(
            "POST",
            "/auth/login_flow",
            {"client_id": self.client_id, "handler": ["homeassistant", None], "redirect_uri": self.client_id},
        )
        answer = self.ask(
            "POST",
            f"/auth/login_flow/{flow['flow_id']}",
            {"client_id": self.client_id, "username": username, "password": password},
        )
        if answer["type"] != "create_entry":
            raise Refused("login", 200, answer)
        self._redeem(answer["result"])

    def _redeem(self, code):
        form = {"grant_type": "authorization_code", "code": code, "client_id": self.client_id}
        answer = self.ask(
            "POST",
            "/auth/token",
            urllib.parse.urlencode(form).encode(),
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        self.token = answer["access_token"]

    def wait_until_running(self, seconds=60):
        """Integrations are set up and the recorder records."""
        end = time.monotonic() + seconds
        while self.ask("GET", "/api/config")["state"] != "RUNNING":
            if time.monotonic() > end:
                raise TimeoutError("Home Assistant did not finish starting")
            time.sleep(0.2)

    # --- what an instance holds ---

    def set_state(self, entity, state, attributes):
        self.ask("POST", f"/api/states/{entity}", {"state": state, "attributes": attributes})

    def history(self, entity, start):
        """The states of `entity` since `start` (ISO 8601), oldest first."""
        query = urllib.parse.urlencode({"filter_entity_id": entity, "significant_changes_only": 0})
        periods = self.ask("GET", f"/api/history/period/{urllib.parse.quote(start)}?{query}&no_attributes")
        return [state["state"] for state in periods[0]] if periods else []

    def add_integration(self, domain):
        """Goes through a config flow whose one step only asks for a confirmation."""
        flow = self.ask("POST", "/api/config/config_entries/flow", {"handler": domain})
        answer = self.ask("POST", f"/api/config/config_entries/flow/{flow['flow_id']}", {})
        if answer["type"] != "create_entry":
            raise Refused(f"adding {domain}", 200, answer)

    # --- backups ---

    def upload_while_onboarding(self, archive):
        """Uploads an archive to an instance that has no user yet; its backup id."""
        status, answer = self._upload("/api/onboarding/backup/upload?agent_id=backup.local", archive)
        if status != 201:
            raise Refused(f"uploading {archive}", status, answer)
        return answer["backup_id"]

    def upload(self, archive, agent, filename=None):
        """Uploads an archive to an instance as its user; (status, answer), whatever the status."""
        return self._upload(f"/api/backup/upload?agent_id={agent}", archive, filename)

    def fetch_decrypted(self, backup_id, agent, password):
        """The bytes of a download with its password, which Home Assistant takes the encryption off; b"" where it refuses."""
        query = urllib.parse.urlencode({"agent_id": agent, "password": password})
        headers = {"Authorization": f"Bearer {self.token}"}
        # A connection of its own: Home Assistant breaks off what it finds wrong half-way.
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("GET", f"/api/backup/download/{backup_id}?{query}", headers=headers)
            answer = connection.getresponse()
            return answer.read() if answer.status == 200 else b""
        except http.client.IncompleteRead as cut:
            return cut.partial
        except (OSError, http.client.HTTPException):
            return b""
        finally:
            connection.close()

    def _upload(self, path, archive, filename=None):
        boundary = f"rig{os.urandom(12).hex()}"
        filename = filename or os.path.basename(archive)
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
            "Content-Type: application/x-tar\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()

        def body():
            yield head
            with open(archive, "rb") as file:
                while piece := file.read(1 << 20):
                    yield piece
            yield tail

        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + os.path.getsize(archive) + len(tail)),
        }
        return self.request("POST", path, body(), headers)

    def restore_while_onboarding(self, backup_id, password=None):
        wish = {"backup_id": backup_id, "agent_id": "backup.local"}
        if password is not None:
            wish["password"] = password
        self.ask("POST", "/api/onboarding/backup/restore", wish)
