//! YAML as a tree that keeps its tags, because Home Assistant's files need them (`!include`, `!secret`).
//!
//! Aliases share the content of their anchors, so that no file becomes larger in memory than it is.

use std::{collections::HashMap, rc::Rc};

use saphyr_parser::{Event, Parser, Tag};

/// People do not nest deeper by hand.
const DEEPEST: usize = 100;

/// A value with the tag before it, as in `!include lights.yaml`.
#[derive(Debug)]
pub(super) struct Node {
    /// Without its exclamation mark; `None` for YAML's own.
    pub(super) tag: Option<String>,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Scalar(String),
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<(Rc<Node>, Rc<Node>)>),
}

impl Node {
    /// The text of a scalar, whatever its tag.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text) => Some(text),
            Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    fn null() -> Self {
        Self { tag: None, value: Value::Scalar(String::new()) }
    }
}

/// A collection that is still open.
struct Open {
    anchor: usize,
    tag: Option<String>,
    is_mapping: bool,
    // Keys and values in turn for a mapping.
    items: Vec<Rc<Node>>,
}

/// The first document of a file; `None` when it is not YAML.
pub(super) fn parse(text: &str) -> Option<Rc<Node>> {
    let mut open: Vec<Open> = Vec::new();
    let mut anchors = HashMap::new();
    for event in Parser::new_from_str(text.trim_start_matches('\u{feff}')) {
        let (anchor, node) = match event.ok()?.0 {
            Event::Alias(anchor) => (0, Rc::clone(anchors.get(&anchor)?)),
            Event::Scalar(text, _, anchor, tag) => {
                (anchor, Rc::new(Node { tag: own(tag.as_deref()), value: Value::Scalar(text.into_owned()) }))
            }
            Event::SequenceStart(anchor, tag) => {
                open.push(Open { anchor, tag: own(tag.as_deref()), is_mapping: false, items: Vec::new() });
                continue;
            }
            Event::MappingStart(anchor, tag) => {
                open.push(Open { anchor, tag: own(tag.as_deref()), is_mapping: true, items: Vec::new() });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Open { anchor, tag, is_mapping, items } = open.pop()?;
                let value = if is_mapping { Value::Mapping(pairs(items)) } else { Value::Sequence(items) };
                (anchor, Rc::new(Node { tag, value }))
            }
            Event::DocumentEnd | Event::StreamEnd => return Some(Rc::new(Node::null())),
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => continue,
        };
        if anchor > 0 {
            anchors.insert(anchor, Rc::clone(&node));
        }
        match open.last_mut() {
            Some(parent) => parent.items.push(node),
            None => return Some(node),
        }
        if open.len() > DEEPEST {
            return None;
        }
    }
    None
}

/// A tag of Home Assistant's.
fn own(tag: Option<&Tag>) -> Option<String> {
    tag.filter(|tag| !tag.is_yaml_core_schema()).map(|tag| tag.suffix.clone())
}

fn pairs(items: Vec<Rc<Node>>) -> Vec<(Rc<Node>, Rc<Node>)> {
    let mut items = items.into_iter();
    std::iter::from_fn(|| Some((items.next()?, items.next()?))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fmt::Write as _;

    use super::*;

    fn shown(node: &Node) -> String {
        let tag = node.tag.as_ref().map(|tag| format!("!{tag} ")).unwrap_or_default();
        tag + &match &node.value {
            Value::Scalar(text) => text.clone(),
            Value::Sequence(items) => {
                format!("[{}]", items.iter().map(|item| shown(item)).collect::<Vec<_>>().join(", "))
            }
            Value::Mapping(pairs) => {
                format!(
                    "{{{}}}",
                    pairs
                        .iter()
                        .map(|(key, value)| format!("{}: {}", shown(key), shown(value)))
                        .collect::<Vec<_>>()
                        .join(", ")
                )
            }
        }
    }

    #[test]
    fn tags_anchors_and_flow_style_are_kept() {
        for (text, tree) in [
            ("", ""),
            ("\u{feff}a: !include b.yaml # here\n", "{a: !include b.yaml}"),
            ("a: {b: [1, !secret two]}", "{a: {b: [1, !secret two]}}"),
            ("a: &x {b: c}\nd: *x\ne:\n  <<: *x\n", "{a: {b: c}, d: {b: c}, e: {<<: {b: c}}}"),
            ("url: >-\n  mysql://\n  x\n", "{url: mysql:// x}"),
            ("a: !env_var DB fallback\nb:\n", "{a: !env_var DB fallback, b: }"),
            ("a: 1\n---\nb: 2\n", "{a: 1}"),
        ] {
            assert_eq!(parse(text).map(|node| shown(&node)).as_deref(), Some(tree), "{text}");
        }
        for text in ["a: [1", "a: *nowhere", &"[".repeat(5000), "a: 'b"] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn laughter_does_not_fill_the_memory() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..60 {
            writeln!(text, "a{n}: &a{n} [*a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}]", n - 1).unwrap();
        }
        assert!(parse(&text).is_some());
    }
}
