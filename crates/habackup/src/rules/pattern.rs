//! Glob patterns with the meaning of Python 3.13's `PurePath.full_match`, on raw bytes: parsing and matching. The rules
//! decide which patterns apply.
//!
//! `**` as a whole component matches any number of components (at the end: at least one), `*` any run inside one
//! component, `?` one character, `[seq]` and `[!seq]` one character in or not in a set. Hidden names match like any
//! other. Bytes that are not UTF-8 count as one character each, like Python's surrogate escapes. One deviation:
//! `[!seq]` never matches `/`, as the documentation says; CPython 3.13 lets it.

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Cow<'static, str>,
    components: Vec<Component>,
}

#[derive(Clone, Debug)]
enum Component {
    AnyDepth,
    Glob(Vec<Token>),
}

#[derive(Clone, Debug)]
enum Token {
    Char(u32),
    AnyChar,
    AnyRun,
    Set { negated: bool, ranges: Vec<(u32, u32)> },
}

/// A pattern that can match nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// No component at all.
    #[error("an empty pattern matches nothing")]
    Empty,
    /// Patterns are matched on paths inside the configuration directory.
    #[error("the pattern '{0}' is absolute; patterns are relative to the configuration directory")]
    Absolute(String),
    /// `..` never occurs in a path.
    #[error("the pattern '{0}' contains '..', which matches nothing")]
    Parent(String),
}

impl Pattern {
    /// Compiles a pattern given as bytes. Empty components, `.` and a closing slash are dropped as Python does.
    pub fn new(pattern: &[u8]) -> Result<Self, PatternError> {
        let text = String::from_utf8_lossy(pattern).into_owned();
        if pattern.starts_with(b"/") {
            return Err(PatternError::Absolute(text));
        }
        if components(pattern).any(|component| component == b"..") {
            return Err(PatternError::Parent(text));
        }
        let components = compile(pattern);
        if components.is_empty() {
            return Err(PatternError::Empty);
        }
        Ok(Self { text: text.into(), components })
    }

    /// A pattern that matches this path and no other.
    pub(super) fn literal(path: &[u8]) -> Self {
        let escaped: Vec<u8> = path
            .iter()
            .flat_map(|&byte| if b"*?[".contains(&byte) { vec![b'[', byte, b']'] } else { vec![byte] })
            .collect();
        Self { text: String::from_utf8_lossy(path).into_owned().into(), components: compile(&escaped) }
    }

    /// Compiles one of this crate's own patterns.
    pub(super) fn built_in(pattern: &'static str) -> Self {
        Self { text: pattern.into(), components: compile(pattern.as_bytes()) }
    }

    /// Whether the whole of `path` matches, as `PurePath(path).full_match(pattern)`.
    pub fn matches(&self, path: &[u8]) -> bool {
        let path: Vec<&[u8]> = components(path).collect();
        self.matches_components(&path)
    }

    /// Whether `path` or any directory above it matches, so that a pattern naming a directory takes in everything
    /// below.
    pub fn covers(&self, path: &[u8]) -> bool {
        let path: Vec<&[u8]> = components(path).collect();
        (1..=path.len()).any(|depth| self.matches_components(&path[..depth]))
    }

    // Greedy with one step back to the last `**`: what it took before cannot matter to what follows it.
    pub(super) fn matches_components(&self, path: &[&[u8]]) -> bool {
        let (mut at, mut pattern) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while at < path.len() {
            match self.components.get(pattern) {
                Some(Component::AnyDepth) => {
                    pattern += 1;
                    retry = Some((pattern, at));
                }
                Some(Component::Glob(tokens)) if matches_name(tokens, path[at]) => {
                    at += 1;
                    pattern += 1;
                }
                _ => match retry {
                    Some((after, taken)) => {
                        pattern = after;
                        at = taken + 1;
                        retry = Some((after, at));
                    }
                    None => return false,
                },
            }
        }
        self.components[pattern..].iter().all(|component| matches!(component, Component::AnyDepth))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The components of a path as `PurePath` sees them.
pub(super) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|component| !component.is_empty() && *component != b".")
}

fn compile(pattern: &[u8]) -> Vec<Component> {
    let mut compiled: Vec<Component> = Vec::new();
    for component in components(pattern) {
        if component != b"**" {
            compiled.push(Component::Glob(tokens(component)));
        } else if !matches!(compiled.last(), Some(Component::AnyDepth)) {
            compiled.push(Component::AnyDepth);
        }
    }
    // "a/**" does not match "a" itself: the slash before the stars must be there.
    if compiled.len() > 1 && matches!(compiled.last(), Some(Component::AnyDepth)) {
        compiled.push(Component::Glob(vec![Token::AnyRun]));
    }
    compiled
}

fn tokens(component: &[u8]) -> Vec<Token> {
    let mut characters = Vec::new();
    let mut rest = component;
    while let Some((character, length)) = first_character(rest) {
        characters.push(character);
        rest = &rest[length..];
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        at += 1;
        match char::from_u32(character) {
            Some('*') if matches!(tokens.last(), Some(Token::AnyRun)) => {}
            Some('*') => tokens.push(Token::AnyRun),
            Some('?') => tokens.push(Token::AnyChar),
            Some('[') => match set(&characters[at..]) {
                Some((token, length)) => {
                    tokens.push(token);
                    at += length;
                }
                None => tokens.push(Token::Char(character)),
            },
            _ => tokens.push(Token::Char(character)),
        }
    }
    tokens
}

/// Parses a set after its `[`; `None` if it never closes, and then the bracket is an ordinary character. A `]` right at
/// the start is a member.
fn set(characters: &[u32]) -> Option<(Token, usize)> {
    const BANG: u32 = '!' as u32;
    const DASH: u32 = '-' as u32;
    const CLOSE: u32 = ']' as u32;
    let negated = characters.first() == Some(&BANG);
    let start = usize::from(negated);
    let close = (start + 1..characters.len()).find(|&index| characters[index] == CLOSE)?;
    let members = &characters[start..close];
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < members.len() {
        if members.get(at + 1) == Some(&DASH) && at + 2 < members.len() {
            ranges.push((members[at], members[at + 2])); // an upside-down range is empty
            at += 3;
        } else {
            ranges.push((members[at], members[at]));
            at += 1;
        }
    }
    Some((Token::Set { negated, ranges }, close + 1))
}

fn matches_name(tokens: &[Token], name: &[u8]) -> bool {
    let (mut at, mut token) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some((character, length)) = first_character(&name[at..]) {
        let matched = match tokens.get(token) {
            Some(Token::AnyRun) => {
                token += 1;
                retry = Some((token, at));
                continue;
            }
            Some(Token::Char(wanted)) => *wanted == character,
            Some(Token::AnyChar) => true,
            Some(Token::Set { negated, ranges }) => {
                ranges.iter().any(|&(low, high)| (low..=high).contains(&character)) != *negated
            }
            None => false,
        };
        if matched {
            at += length;
            token += 1;
        } else if let Some((after, taken)) = retry {
            let (_, step) = first_character(&name[taken..]).unwrap_or((0, 1));
            token = after;
            at = taken + step;
            retry = Some((after, at));
        } else {
            return false;
        }
    }
    tokens[token..].iter().all(|token| matches!(token, Token::AnyRun))
}

/// The first character and its length in bytes. A byte that begins no UTF-8 sequence is a character of its own, outside
/// Unicode's range of characters.
fn first_character(bytes: &[u8]) -> Option<(u32, usize)> {
    let &first = bytes.first()?;
    if first.is_ascii() {
        return Some((u32::from(first), 1));
    }
    let length = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Some((0xdc00 + u32::from(first), 1)),
    };
    let character = bytes
        .get(..length)
        .and_then(|sequence| std::str::from_utf8(sequence).ok())
        .and_then(|text| text.chars().next());
    Some(character.map_or((0xdc00 + u32::from(first), 1), |character| (u32::from(character), length)))
}
