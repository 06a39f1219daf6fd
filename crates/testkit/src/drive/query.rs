//! Search queries (`q`) and partial answers (`fields`), as far as a program for backups uses them; anything else is
//! refused.

use serde_json::{Map, Value};

use super::world::{Node, ROOT, World};

/// One condition; all of a query must hold.
pub(super) enum Term {
    In(String),
    Trashed(bool),
    Name(String),
    Mime(String, bool),
    Property(String, String),
}

impl Term {
    pub(super) fn holds(&self, world: &World, node: &Node) -> bool {
        match self {
            Self::In(folder) => {
                node.parents.iter().any(|parent| parent == if folder == "root" { ROOT } else { folder })
            }
            Self::Trashed(wanted) => world.is_trashed(node) == *wanted,
            // The real one compares loosely, and from an index that lags.
            Self::Name(name) if world.is_indexed(node) => node.name.eq_ignore_ascii_case(name),
            Self::Name(name) => node.indexed_name.as_ref() == Some(name),
            Self::Mime(mime, wanted) => (node.mime == *mime) == *wanted,
            Self::Property(key, value) => world.is_indexed(node) && node.properties.get(key) == Some(value),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Token {
    Text(String),
    Word(String),
}

/// `None`: the real one would answer 400.
pub(super) fn parse(query: &str) -> Option<Vec<Term>> {
    let tokens = tokens(query)?;
    let mut rest = tokens.as_slice();
    let mut terms = Vec::new();
    loop {
        let (term, used) = term(rest)?;
        terms.push(term);
        rest = &rest[used..];
        match rest {
            [] => return Some(terms),
            [Token::Word(and), more @ ..] if and == "and" => rest = more,
            _ => return None,
        }
    }
}

fn term(tokens: &[Token]) -> Option<(Term, usize)> {
    let terms: Vec<&str> =
        tokens.iter().map(|token| if let Token::Word(word) = token { word.as_str() } else { "" }).collect();
    let text = |at: usize| if let Some(Token::Text(text)) = tokens.get(at) { Some(text.clone()) } else { None };
    match terms.as_slice() {
        ["", "in", "parents", ..] => Some((Term::In(text(0)?), 3)),
        ["trashed", "=", "true", ..] => Some((Term::Trashed(true), 3)),
        ["trashed", "=", "false", ..] => Some((Term::Trashed(false), 3)),
        ["name", "=", "", ..] => Some((Term::Name(text(2)?), 3)),
        ["mimeType", "=", "", ..] => Some((Term::Mime(text(2)?, true), 3)),
        ["mimeType", "!=", "", ..] => Some((Term::Mime(text(2)?, false), 3)),
        ["appProperties", "has", "{", "key", "=", "", "and", "value", "=", "", "}", ..] => {
            Some((Term::Property(text(5)?, text(9)?), 11))
        }
        _ => None,
    }
}

fn tokens(query: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut letters = query.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' => {}
            '\'' => {
                let mut text = String::new();
                loop {
                    match letters.next()? {
                        '\'' => break,
                        '\\' => text.push(letters.next().filter(|escaped| "'\\".contains(*escaped))?),
                        other => text.push(other),
                    }
                }
                tokens.push(Token::Text(text));
            }
            '{' | '}' | '=' => tokens.push(Token::Word(letter.to_string())),
            '!' => {
                letters.next().filter(|next| *next == '=')?;
                tokens.push(Token::Word("!=".to_owned()));
            }
            letter if letter.is_ascii_alphabetic() => {
                let mut word = letter.to_string();
                while let Some(next) = letters.next_if(char::is_ascii_alphabetic) {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
            _ => return None,
        }
    }
    Some(tokens)
}

/// What `fields` leaves of an answer. Fields that are not there are left out; `None` when the selection itself is
/// broken.
pub(super) fn selected(value: &Value, fields: &str) -> Option<Value> {
    let mut chosen = Map::new();
    for field in split(fields)? {
        let (name, inner) = match field.split_once('(') {
            Some((name, inner)) => (name, Some(inner.strip_suffix(')')?)),
            None => (field, None),
        };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            return None;
        }
        let Some(found) = value.get(name) else { continue };
        let found = match (inner, found) {
            (None, found) => found.clone(),
            (Some(inner), Value::Array(items)) => {
                Value::Array(items.iter().map(|item| selected(item, inner)).collect::<Option<_>>()?)
            }
            (Some(inner), found) => selected(found, inner)?,
        };
        chosen.insert(name.to_owned(), found);
    }
    Some(Value::Object(chosen))
}

fn split(fields: &str) -> Option<Vec<&str>> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0_usize, 0);
    for (at, letter) in fields.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                parts.push(&fields[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&fields[from..]);
    (depth == 0).then_some(parts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn escaped_quotes_do_not_end_a_text() {
        let terms = parse(r"name='it\'s \\ mine' and trashed=false");
        assert!(matches!(terms.as_deref(), Some([Term::Name(name), Term::Trashed(false)]) if name == r"it's \ mine"));
        for broken in ["name='it's'", "name='x' trashed=false", "name='x", "size>5", "", "name='x' and"] {
            assert!(parse(broken).is_none(), "{broken}");
        }
    }

    #[test]
    fn only_selected_fields_are_answered() {
        let whole = json!({"files": [{"id": "1", "name": "a"}], "kind": "k"});
        assert_eq!(selected(&whole, "nextPageToken,files(id)"), Some(json!({"files": [{"id": "1"}]})));
        assert_eq!(selected(&whole, "files(id"), None);
    }
}
