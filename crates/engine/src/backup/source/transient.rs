//! Recognises files that are written all the time and whose state at one moment matters little: recordings, pictures
//! and logs. They change while they are read every night; that says nothing about the rest of the backup.

/// Endings of recordings and pictures.
const MEDIA: [&str; 28] = [
    "3gp", "aac", "avi", "bmp", "flac", "flv", "gif", "jpeg", "jpg", "m3u8", "m4a", "m4s", "m4v", "mjpeg", "mjpg",
    "mkv", "mov", "mp3", "mp4", "mpd", "mpg", "oga", "ogg", "opus", "png", "ts", "wav", "webm",
];

/// Whether a file is a recording, a picture or a log, by its path below the config directory.
pub(super) fn is_transient(relative: &[u8]) -> bool {
    let path = String::from_utf8_lossy(relative).to_ascii_lowercase();
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", &path));
    // Home Assistant's own settings are never that.
    if path.starts_with(".storage/") {
        return false;
    }
    let is_log_directory = directory.split('/').any(|step| matches!(step, "log" | "logs")) && !is_data(name);
    is_log_directory || is_log(name) || name.rsplit_once('.').is_some_and(|(_, ending)| MEDIA.contains(&ending))
}

/// `x.log`, also numbered or dated: `x.log.1`, `x.log.2026-11-27`.
fn is_log(name: &str) -> bool {
    let Some((_, behind)) = name.split_once(".log") else { return name == "log" };
    behind.is_empty()
        || behind.starts_with('.')
            && behind[1..].chars().all(|character| character.is_ascii_digit() || "-_.:t".contains(character))
}

fn is_data(name: &str) -> bool {
    [".db", ".sqlite", ".sqlite3", ".json", ".yaml"].iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_and_logs_are_distinguished_from_data() {
        for path in [
            "www/Garage.MP4",
            "media/cam/2026/x.jpg",
            "zigbee2mqtt/log/2026-11-27/log.txt",
            "a.log",
            "b.log.1",
            "b.log.2026-11-27",
            "logs/x",
            "stream.ts",
        ] {
            assert!(is_transient(path.as_bytes()), "{path}");
        }
        for path in [
            ".storage/auth",
            ".storage/x.log",
            "zigbee.db",
            "logs/x.db",
            "state.json",
            "data.mdb",
            "power.rrd",
            "backlog",
            "my.login",
            "x.log.db",
            "x.logic",
            "mp4",
        ] {
            assert!(!is_transient(path.as_bytes()), "{path}");
        }
    }
}
