//! How long names can be. An archive may hold longer ones (a PAX record can hold any length), but no system can create
//! them, so no code that reads an archive keeps them.

use std::fmt;

/// Bytes of the longest path that Linux takes, without the zero byte that ends it. A link's target is one, too.
pub const PATH_MAX: usize = 4095;
/// Bytes of the longest name in a path.
pub const NAME_MAX: usize = 255;

/// What of a member is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooLong {
    /// Its name, or a part of it.
    Name,
    /// What it links to.
    Target,
}

impl fmt::Display for TooLong {
    /// As the end of a sentence: "it has …".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "a name that is longer than Linux allows",
            Self::Target => "a link target that is longer than Linux allows",
        })
    }
}

/// Whether Linux can have a member of this name that links to `link`; an empty `link` means no link. Unpacking one that
/// it can't have fails (`ENAMETOOLONG`).
pub fn too_long(path: &[u8], link: &[u8]) -> Option<TooLong> {
    if path.len() > PATH_MAX || path.split(|byte| *byte == b'/').any(|name| name.len() > NAME_MAX) {
        return Some(TooLong::Name);
    }
    (link.len() > PATH_MAX).then_some(TooLong::Target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_can_have_is_not_too_long() {
        let (name, path) = ("n".repeat(NAME_MAX), "p/".repeat(2047) + "p");
        assert_eq!(path.len(), PATH_MAX);
        for (path, link, wrong) in [
            (name.clone(), String::new(), None),
            (path.clone(), path.clone(), None),
            (format!("a/{name}n/b"), String::new(), Some(TooLong::Name)),
            (format!("{path}/"), String::new(), Some(TooLong::Name)),
            ("a".to_owned(), format!("{path}/"), Some(TooLong::Target)),
        ] {
            assert_eq!(too_long(path.as_bytes(), link.as_bytes()), wrong, "{path} {link}");
        }
    }
}
