//! Names of the objects in a vault.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Sixteen random bytes: whose object it is, and which key opens it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Id(pub [u8; 16]);

/// What an object holds. The letter is part of its key, so none can stand for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// The master key, sealed with a password or a key file.
    Key,
    /// Content.
    Pack,
    /// One backup: where its bytes are. Written last.
    Snapshot,
    /// What a running backup relies on.
    Writer,
    /// Packs that are about to be deleted.
    Doomed,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Key, Self::Pack, Self::Snapshot, Self::Writer, Self::Doomed];

    /// What its objects' names begin with.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Pack => "pack",
            Self::Snapshot => "snapshot",
            Self::Writer => "writer",
            Self::Doomed => "doomed",
        }
    }

    /// The name of such an object.
    pub(crate) fn object(self, id: Id) -> String {
        format!("{}-{id}", self.word())
    }

    /// What an object of this name is; `None` if it is none of a vault's.
    pub(crate) fn of(name: &str) -> Option<(Self, Id)> {
        let (word, id) = name.split_once('-')?;
        let kind = Self::ALL.into_iter().find(|kind| kind.word() == word)?;
        Some((kind, Id::parse(id)?))
    }
}

impl Id {
    /// A new one.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// From 32 hexadecimal digits, small letters.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_it_is() {
        let id = Id([0xa5; 16]);
        for kind in Kind::ALL {
            assert_eq!(Kind::of(&kind.object(id)), Some((kind, id)));
        }
        for other in [
            "pack",
            "pack-",
            "pack-A5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5",
            "pack-a5",
            "box-a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5",
            "backup.tar",
        ] {
            assert_eq!(Kind::of(other), None, "{other}");
        }
    }
}
