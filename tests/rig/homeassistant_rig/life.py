"""A life for an instance to remember, and the check that a restored instance remembers it.

`live` starts a fresh instance, gives it a user, rooms, an integration and a history, and makes backups while states
are being written. What must be found again goes to a file of facts, which `check` compares an instance with.
"""

import contextlib
import datetime
import json
import os
import pathlib
import random
import shlex
import shutil
import sqlite3
import subprocess
import threading
import time

from .client import Client
from .instance import Instance

USER, USER_PASSWORD = "ada", "a horse in the stable"
AREAS = ["Attic", "Kühlraum", "Garden 🐝"]
INTEGRATION = "sun"
SWITCH, SWITCH_AREA = "input_boolean.night_watch", "Attic"
COUNTER, PAST = "sensor.rig_counter", "sensor.rig_past"
# About 40 MB of database: enough that states are written while it is read.
PAST_ROWS = 250_000

OF_ENTITY = "FROM states JOIN states_meta USING (metadata_id) WHERE states_meta.entity_id = ?"


def say(text):
    print(f"rig: {text}", flush=True)


@contextlib.contextmanager
def reading(database):
    """A reader's connection: takes no lock that a writer would wait for."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)
    try:
        yield connection
    finally:
        connection.close()


def states_of(connection, entity):
    rows = connection.execute(f"SELECT state {OF_ENTITY} ORDER BY state_id", (entity,))
    return [state for (state,) in rows]


class Writer(threading.Thread):
    """Counts in the state of COUNTER, some fifty times a second, until `finish`."""

    def __init__(self, port, token):
        super().__init__(daemon=True)
        self.count = 0
        self._client = Client(port, token)
        self._finish, self._failure = threading.Event(), None

    def run(self):
        try:
            while not self._finish.wait(0.01):
                self._client.set_state(COUNTER, str(self.count + 1), {"unit_of_measurement": "steps"})
                self.count += 1
        except Exception as failure:
            self._failure = failure

    def finish(self):
        self._finish.set()
        self.join()
        if self._failure:
            raise self._failure


def wait_for(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.1)


def furnish(client):
    """Rooms, an integration, and a helper in one of the rooms."""
    with client.websocket() as socket:
        rooms = {name: socket.call("config/area_registry/create", name=name)["area_id"] for name in AREAS}
        socket.call("input_boolean/create", name="Night watch")
        socket.call("config/entity_registry/update", entity_id=SWITCH, area_id=rooms[SWITCH_AREA])
    client.add_integration(INTEGRATION)


def make_past(client, database):
    """Nine days of states, put straight into the recorder's tables: through the API they would take an hour."""
    client.set_state(PAST, "0", {"unit_of_measurement": "W"})
    find = f"SELECT metadata_id, attributes_id {OF_ENTITY}"

    def recorded():
        with reading(database) as connection:
            return connection.execute(find, (PAST,)).fetchone()

    wait_for("the recorder's first commit", recorded)
    metadata, attributes = recorded()
    dice, start = random.Random(1), time.time() - 9 * 86400
    insert = """INSERT INTO states (state, last_updated_ts, metadata_id, attributes_id, origin_idx, context_id_bin)
                VALUES (?, ?, ?, ?, 0, ?)"""
    connection = sqlite3.connect(database, timeout=30, isolation_level=None)
    # Short transactions: the recorder writes too.
    for chunk in range(0, PAST_ROWS, 10_000):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            insert,
            (
                (f"{dice.uniform(0, 3000):.1f}", start + row * 3, metadata, attributes, dice.randbytes(16))
                for row in range(chunk, min(chunk + 10_000, PAST_ROWS))
            ),
        )
        connection.execute("COMMIT")
    connection.close()


def wait_for_storage(config):
    """Home Assistant writes its registries up to ten seconds late."""

    def stored():
        try:
            areas = (config / ".storage/core.area_registry").read_text()
            entities = (config / ".storage/core.entity_registry").read_text()
            entries = (config / ".storage/core.config_entries").read_text()
        except FileNotFoundError:
            return False
        names = {area["name"] for area in json.loads(areas)["data"]["areas"]}
        return names >= set(AREAS) and SWITCH in entities and f'"{INTEGRATION}"' in entries

    wait_for("the registries on disk", stored)


def backup_with(command, archive):
    """A backup by a command line in which {config} and {archive} stand for the paths."""

    def run(instance, _client):
        words = [word.format(config=instance.config, archive=archive) for word in shlex.split(command)]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(words)} exited with {done.returncode}")

    return run


def backup_natively(archive, password=None):
    """Home Assistant's own backup, fetched from where it keeps them."""

    def run(instance, client):
        folder = instance.config / "backups"
        before = set(folder.glob("*.tar"))
        wish = {"agent_ids": ["backup.local"], "name": archive.stem}
        with client.websocket() as socket:
            socket.call("backup/generate", **wish, **({"password": password} if password else {}))
            wait_for("Home Assistant's own backup", lambda: socket.call("backup/info")["state"] == "idle", 120)
            event = socket.call("backup/info")["last_action_event"]
        if event["state"] != "completed":
            raise RuntimeError(f"Home Assistant's own backup: {event}")
        (made,) = set(folder.glob("*.tar")) - before
        shutil.copyfile(made, archive)

    return run


def live(out, backups):
    """Lives in a fresh instance under `out` and makes `backups`, {name: (archive, make)}, while states are written.

    Leaves the archives and `facts.json`. The instance's directory is removed.
    """
    out = pathlib.Path(out)
    began = datetime.datetime.now(datetime.UTC).isoformat()
    facts = {"began": began, "backups": {}}
    config = out / "first-instance"
    with Instance.fresh(config, only_needs_a_user=True) as instance:
        client = Client(instance.port)
        client.onboard(USER, USER_PASSWORD)
        client.wait_until_running()
        furnish(client)
        make_past(client, instance.database)
        wait_for_storage(config)
        say(f"the first instance lives, its database has {instance.database.stat().st_size >> 20} MB")
        writer = Writer(instance.port, client.token)
        writer.start()
        wait_for("a few states", lambda: committed(instance) >= 100)
        for name, (archive, make) in backups.items():
            facts["backups"][name] = observe(name, archive, make, instance, client, writer)
        writer.finish()
    instance.remove()
    (out / "facts.json").write_text(json.dumps(facts, indent=1))


def committed(instance):
    """How many of the writer's states any reader of the database can see."""
    with reading(instance.database) as connection:
        return len(states_of(connection, COUNTER))


def observe(name, archive, make, instance, client, writer):
    """Makes one backup; returns what was committed before it began, and so must be in it."""
    before = committed(instance)
    count, start = writer.count, time.monotonic()
    make(instance, client)
    seconds, written = time.monotonic() - start, writer.count - count
    # A slow machine may write little during a quick backup, but never nothing.
    wait_for("a state after the backup", lambda: writer.count > count, 30)
    say(f"{name}: {os.path.getsize(archive) >> 10} KB in {seconds:.2f} s, {written} states written meanwhile")
    return {"archive": str(archive), "committed": before}


def check(instance, facts, name, client):
    """Everything of the first instance that was there before backup `name` began is in `instance`."""
    status, _ = client.request("GET", "/api/onboarding")
    expect(status == 404, f"onboarding is over (it answered {status})")
    client.log_in(USER, USER_PASSWORD)
    client.wait_until_running()
    with client.websocket() as socket:
        areas = {area["name"]: area["area_id"] for area in socket.call("config/area_registry/list")}
        entities = {entity["entity_id"]: entity for entity in socket.call("config/entity_registry/list")}
        entries = {entry["domain"]: entry["state"] for entry in socket.call("config_entries/get")}
    expect(set(AREAS) <= set(areas), f"the rooms are there: {sorted(areas)}")
    expect(entities.get(SWITCH, {}).get("area_id") == areas[SWITCH_AREA], "the helper is in its room")
    expect(entries.get(INTEGRATION) == "loaded", f"the integration is loaded: {entries}")
    expect_counted(client.history(COUNTER, facts["began"]), facts["backups"][name]["committed"])


def expect_counted(states, committed):
    """The counter's states are 1, 2, 3, … without a gap, at least to where it stood before the backup."""
    numbers = [int(state) for state in states if state.isdecimal()]
    expect(numbers == list(range(1, len(numbers) + 1)), f"no state is missing among {len(numbers)}")
    expect(len(numbers) >= committed, f"{len(numbers)} states in the history, {committed} before the backup")


def check_database(database, facts, name):
    """The database of a stopped instance is sound and holds the whole past."""
    with reading(database) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        expect(verdict == "ok", f"integrity_check says {verdict}")
        past = len(states_of(connection, PAST))
        expect(past == PAST_ROWS + 1, f"{past} states of the past, {PAST_ROWS + 1} written")
        expect_counted(states_of(connection, COUNTER), facts["backups"][name]["committed"])


def expect(truth, text):
    if not truth:
        raise AssertionError(f"not so: {text}")
