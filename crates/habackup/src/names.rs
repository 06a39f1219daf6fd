//! The names of members: which of them have a meaning, and which point outside the archive.

/// The description's name, with the `./` that readers insist on.
pub const MANIFEST: &str = "./backup.json";

/// Readers look for these names in just this spelling.
pub(crate) fn is_archive_name(name: &[u8]) -> bool {
    name.ends_with(b".tar.gz") || name.ends_with(b".tar")
}

/// Whether a relative path leaves the directory where it begins.
pub(crate) fn leaves(path: &[u8]) -> bool {
    let mut depth = 0_i64;
    path.split(|byte| *byte == b'/').any(|part| {
        depth += match part {
            b"" | b"." => 0,
            b".." => -1,
            _ => 1,
        };
        depth < 0
    })
}
