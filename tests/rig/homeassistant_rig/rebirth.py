"""An archive restored by Home Assistant itself, on a fresh instance's first page, and what must be there afterwards."""

import contextlib

from .client import Client, Refused
from .instance import Instance
from .life import USER, USER_PASSWORD, check, check_database, expect, reading, say, wait_for

LATER, LATER_AREA = "binary_sensor.rig_later", "Cellar"


def restore(archive, facts, name, config, password=None, then_database=False):
    """Restores `archive` into a fresh instance at `config` (made, and removed afterwards) and checks it.

    With a password, a wrong one is tried first. With `then_database`, the restored instance goes on living for a
    moment and then gets the archive's database alone.
    """
    with Instance.fresh(config) as instance:
        client = Client(instance.port)
        backup_id = client.upload_while_onboarding(archive)
        if password is not None:
            expect_wrong_password_is_refused(client, backup_id)
        client.restore_while_onboarding(backup_id, password)
        instance.restart_when_asked()
        arrive(instance, facts, name)
        say(f"{name}: Home Assistant restored it")
        if then_database:
            restore_database(instance, facts, name, backup_id, password)
            say(f"{name}: Home Assistant restored the database alone")
    check_database(instance.database, facts, name)
    instance.remove()


def start_on(config, facts, name):
    """Starts Home Assistant on a directory that holds a restored configuration, and checks it."""
    with Instance(config) as instance:
        check(instance, facts, name, Client(instance.port))
    check_database(instance.database, facts, name)
    say(f"{name}: Home Assistant started on the restored directory")


def arrive(instance, facts, name):
    client = Client(instance.port)
    check(instance, facts, name, client)
    with client.websocket() as socket:
        event = socket.call("backup/info")["last_action_event"]
    expect(event and event["state"] == "completed", f"Home Assistant calls the restore completed: {event}")
    return client


def expect_wrong_password_is_refused(client, backup_id):
    try:
        client.restore_while_onboarding(backup_id, "not the password")
    except Refused as refusal:
        expect(refusal.status == 400, f"a wrong password is a bad request: {refusal}")
        expect(refusal.body["code"] == "incorrect_password", f"a wrong password is called so: {refusal}")
    else:
        raise AssertionError("a wrong password was accepted")


def restore_database(instance, facts, name, backup_id, password):
    """Restores the history alone: what was recorded since is gone, what was arranged since is still there."""
    client = Client(instance.port)
    client.log_in(USER, USER_PASSWORD)
    client.set_state(LATER, "on", {})
    wait_for("a later state", lambda: LATER in entities_of(instance.database))
    with client.websocket() as socket:
        socket.call("config/area_registry/create", name=LATER_AREA)
        wish = {"backup_id": backup_id, "agent_id": "backup.local", "restore_homeassistant": False}
        # It restarts before it answers.
        with contextlib.suppress(ConnectionError):
            socket.call("backup/restore", **wish, **({"password": password} if password else {}))
    instance.restart_when_asked()
    client = arrive(instance, facts, name)
    expect(LATER not in entities_of(instance.database), "the history is the archive's")
    with client.websocket() as socket:
        areas = {area["name"] for area in socket.call("config/area_registry/list")}
    expect(LATER_AREA in areas, f"the registries are the instance's own: {sorted(areas)}")


def entities_of(database):
    with reading(database) as connection:
        return {entity for (entity,) in connection.execute("SELECT entity_id FROM states_meta")}
