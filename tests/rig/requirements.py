"""Prints the requirements of the integrations that the rig's instances load, one a line.

Runs inside the rig, with the Python that Home Assistant is installed in. Home Assistant installs what an
integration needs when it first loads it; `prepare` asks here instead, so that no instance ever installs anything.
Usage: requirements.py DOMAIN...   (the domains of configuration.yaml)
"""

import json
import pathlib
import sys

import homeassistant
from homeassistant import bootstrap

COMPONENTS = pathlib.Path(homeassistant.__file__).parent / "components"


def closure(domains):
    """The manifests of `domains` and of everything they depend on."""
    manifests, waiting = {}, list(domains)
    while waiting:
        domain = waiting.pop()
        path = COMPONENTS / domain / "manifest.json"
        if domain in manifests or not path.exists():
            continue
        manifests[domain] = json.loads(path.read_text())
        waiting += manifests[domain].get("dependencies", [])
    return manifests.values()


def main():
    wanted = set(sys.argv[1:]) | bootstrap.DEFAULT_INTEGRATIONS | bootstrap.CORE_INTEGRATIONS
    lines = {line for manifest in closure(wanted) for line in manifest.get("requirements", [])}
    print("\n".join(sorted(lines)))


main()
