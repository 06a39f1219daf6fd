//! Finds circles between the modules of a crate: nobody can read one of two modules that need each other alone.
//!
//! The `use` declarations show what a module imports. A module may import from the modules inside it, and these from
//! it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::Result;

/// Which modules each takes from, by their paths below `src` without `.rs` and `/mod`.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Every circle in this crate, as a line for whoever has to break it.
pub(crate) fn circles(name: &str, src: &Path) -> Result<Vec<String>> {
    let mut files = BTreeMap::new();
    collect(src, src, &mut files)?;
    let mut graph = Graph::new();
    for (module, text) in &files {
        let taken = taken(module, text).into_iter().map(|path| nearest(&path, &files));
        graph.insert(module.clone(), taken.filter(|other| !are_nested(module, other)).collect());
    }
    Ok(groups(&graph)
        .into_iter()
        .map(|group| {
            format!("{name}: {} take from each other; what they share belongs in a module below them", group.join(", "))
        })
        .collect())
}

fn collect(root: &Path, directory: &Path, files: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let module = path.strip_prefix(root)?.with_extension("").to_string_lossy().into_owned();
            let module = module.strip_suffix("/mod").unwrap_or(&module);
            if !matches!(module, "lib" | "main") && module.rsplit('/').next() != Some("tests") {
                files.insert(module.to_owned(), std::fs::read_to_string(&path)?);
            }
        }
    }
    Ok(())
}

/// What the module's `use crate::…;` and `use super::…;` name, written out from the crate's root, outside tests.
fn taken(module: &str, text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let above = module.rsplit_once('/').map_or(String::new(), |(above, _)| format!("{}::", above.replace('/', "::")));
    let mut paths = Vec::new();
    for (start, before) in [("use crate::", ""), ("use super::", above.as_str())] {
        for (at, _) in text.match_indices(start) {
            let declaration = text[at + start.len()..].split(';').next().unwrap_or_default();
            write_out(&declaration.split_whitespace().collect::<String>(), before, &mut paths);
        }
    }
    paths
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn write_out(tree: &str, before: &str, paths: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        paths.push(format!("{before}{tree}"));
        return;
    };
    let before = format!("{before}{head}");
    let (mut depth, mut begin) = (0, 0);
    let inside = rest.strip_suffix('}').unwrap_or(rest);
    for (at, character) in inside.char_indices().chain([(inside.len(), ',')]) {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if at > begin {
                    write_out(&inside[begin..at], &before, paths);
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
}

/// The module that such a path leads into.
fn nearest(path: &str, files: &BTreeMap<String, String>) -> String {
    let mut module = path.replace("::", "/");
    while !files.contains_key(&module) {
        match module.rsplit_once('/') {
            Some((above, _)) => module.truncate(above.len()),
            None => break,
        }
    }
    module
}

fn are_nested(one: &str, other: &str) -> bool {
    let is_within = |inner: &str, outer: &str| {
        inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
    };
    is_within(one, other) || is_within(other, one)
}

/// Modules that all lead to one another.
fn groups(graph: &Graph) -> Vec<Vec<String>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|module| (module.as_str(), reachable(module, graph))).collect();
    let leads = |from: &str, to: &str| reached.get(from).is_some_and(|found| found.contains(to));
    let mut found: Vec<Vec<String>> = Vec::new();
    for module in graph.keys().filter(|module| leads(module, module)) {
        match found.iter_mut().find(|group| leads(&group[0], module) && leads(module, &group[0])) {
            Some(group) => group.push(module.clone()),
            None => found.push(vec![module.clone()]),
        }
    }
    found
}

fn reachable<'g>(from: &str, graph: &'g Graph) -> BTreeSet<&'g str> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for next in graph.get(module).into_iter().flatten() {
            if found.insert(next.as_str()) {
                open.push(next);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_found_and_a_path_is_none() {
        assert_eq!(
            taken("f/g", "use super::h::I;\nuse crate::{a::{b, c::{d, self}}, e};"),
            ["a::b", "a::c::d", "a::c::self", "e", "f::h::I"]
        );
        let graph = |edges: &[(&str, &str)]| {
            let mut graph = Graph::new();
            for (from, to) in edges {
                graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
                graph.entry((*to).to_owned()).or_default();
            }
            groups(&graph)
        };
        assert!(graph(&[("a", "b"), ("b", "c"), ("a", "c")]).is_empty());
        assert_eq!(graph(&[("a", "b"), ("b", "c"), ("c", "b"), ("d", "e"), ("e", "d")]), [["b", "c"], ["d", "e"]]);
    }
}
