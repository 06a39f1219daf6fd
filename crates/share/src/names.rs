//! Names of archives, and the patterns that clients look for them with.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Whether an archive may be called so.
pub(crate) fn is_archive(name: &str) -> bool {
    let stem = name.strip_suffix(".tar");
    stem.is_some_and(|stem| !stem.is_empty()) && !name.starts_with('.') && name.len() <= 255
}

/// Whether a directory of this name is one that Python makes to unpack something.
pub(crate) fn is_scratch(name: &str) -> bool {
    let random = name.strip_prefix("tmp").filter(|random| random.len() == 8);
    random.is_some_and(|random| random.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')))
}

/// A number for the file of this name.
pub(crate) fn number(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    // Zero stands for none.
    hasher.finish().max(1)
}

/// Whether a name fits a pattern of `*` and `?`, and their DOS forms.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut place) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while place < name.len() {
        match pattern.get(at) {
            Some('*' | '<') => {
                star = Some((at, place));
                at += 1;
            }
            Some('?' | '>') => (at, place) = (at + 1, place + 1),
            Some('"') if name[place] == '.' => (at, place) = (at + 1, place + 1),
            Some(letter) if letter.eq_ignore_ascii_case(&name[place]) => (at, place) = (at + 1, place + 1),
            _ => match &mut star {
                Some((after, from)) => {
                    *from += 1;
                    (at, place) = (*after + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|letter| matches!(letter, '*' | '<' | '>' | '"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_dos() {
        for (pattern, name) in [
            ("*", "a.tar"),
            ("*.tar", "a.tar"),
            ("?.tar", "a.tar"),
            ("<.tar", "a.b.tar"),
            ("a*", "a"),
            ("A\"tar", "a.tar"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.tar", "a.zip"), ("?", "ab"), ("", "a"), ("a", "ab"), ("a*c", "ab")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn only_pythons_own_directories_can_be_made() {
        assert!(is_scratch("tmpa0_zzzz9") && is_scratch("tmp________"));
        for name in ["tmp", "tmpa0_zzzz", "tmpa0_zzzz99", "tmpA0_zzzz9", "temporary11", "a.tar", "tmpa0_zz.tar"] {
            assert!(!is_scratch(name), "{name}");
        }
    }

    #[test]
    fn an_archive_has_a_name_of_its_own() {
        for name in [".tar", ".a.tar", "a", "a.tar.gz", ""] {
            assert!(!is_archive(name), "{name}");
        }
        assert!(is_archive("a.tar") && !is_archive(&format!("{}.tar", "a".repeat(252))));
    }
}
