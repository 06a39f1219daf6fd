"""What Home Assistant leaves out of a backup, on paths below the config directory.

Home Assistant asks `PurePath.full_match` (Python 3.13): `*` does not cross a `/`, `**` stands for any number of
folders. Written as regular expressions, so that the bench runs on older Pythons and the filter costs no more there.
"""

import re

PATTERNS = (
    "**/__pycache__/*",
    "**/.DS_Store",
    ".HA_RESTORE",
    "*.db-shm",
    "*.log.*",
    "*.log",
    "backups/*.tar",
    "tmp_backups/*.tar",
    "OZW_Log.txt",
    "tts/*",
    ".cache/*",
)


def _expression(pattern: str) -> str:
    pieces = [re.escape(piece).replace(r"\*", "[^/]*") for piece in pattern.removeprefix("**/").split("/")]
    return ("(?:.*/)?" if pattern.startswith("**/") else "") + "/".join(pieces)


_EXCLUDED = re.compile("|".join(map(_expression, PATTERNS)))


def is_excluded(path: str) -> bool:
    return _EXCLUDED.fullmatch(path) is not None
