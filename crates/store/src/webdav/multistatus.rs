//! What a server says about its files: the parts of a `207 Multi-Status` answer (RFC 4918) that matter here. Servers
//! agree on the namespace and on little else, so this accepts any prefix, absolute and relative addresses, and every
//! way to escape them.

use std::time::SystemTime;

use percent_encoding::percent_decode_str;
use quick_xml::{
    NsReader,
    escape::resolve_predefined_entity,
    events::Event,
    name::{Namespace, ResolveResult},
};

const DAV: &str = "DAV:";
/// Deeper than any answer is.
const DEEPEST: usize = 64;

/// One file or folder, as its server describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resource {
    /// The steps of its path, decoded.
    pub(crate) steps: Vec<String>,
    pub(crate) is_folder: bool,
    pub(crate) size: Option<u64>,
    pub(crate) modified: Option<SystemTime>,
    /// `quota-available-bytes`; `None` too when it is negative, which is how sabre/dav says that there is no limit or
    /// none known.
    pub(crate) free: Option<u64>,
}

impl Resource {
    /// The last step of its path.
    pub(crate) fn name(&self) -> &str {
        self.steps.last().map_or("", String::as_str)
    }
}

/// Properties of one `propstat`, which count only when its status is good.
#[derive(Default)]
struct Properties {
    found: Resource,
    refused: bool,
}

/// What is wrong with an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// In plain words.
    pub(crate) reason: String,
    /// It began as it should: the next one may be whole.
    pub(crate) may_pass: bool,
}

/// Reads a multi-status answer, which counts only if it is whole. Some servers stop at the first file that they can't
/// open, close all elements, and write their error after the last one.
pub(crate) fn parse(text: &str) -> Result<Vec<Resource>, Flaw> {
    let mut reader = NsReader::from_str(text);
    let mut open: Vec<Option<String>> = Vec::new();
    let mut content = String::new();
    let mut resources = Vec::new();
    let mut resource = Resource::default();
    let mut is_gone = false;
    let mut properties = Properties::default();
    let (mut seen_root, mut responses) = (false, 0_u64);
    let foreign = |reason: &str| Flaw { reason: reason.to_owned(), may_pass: false };
    let broken = |reason: &str| Flaw { reason: reason.to_owned(), may_pass: true };
    loop {
        let (namespace, event) = match reader.read_resolved_event() {
            Ok(read) => read,
            Err(_) if seen_root => return Err(broken("its list ends with something that is not XML")),
            Err(error) => return Err(foreign(&format!("the answer is not XML: {error}"))),
        };
        let is_dav = matches!(namespace, ResolveResult::Bound(Namespace(name)) if AsRef::<[u8]>::as_ref(&name) == DAV.as_bytes());
        let is_space = |text: &str| text.chars().all(char::is_whitespace);
        let is_more = match &event {
            Event::Start(_) | Event::Empty(_) | Event::CData(_) | Event::GeneralRef(_) => true,
            Event::Text(part) => !is_space(&part.xml10_content()),
            _ => false,
        };
        if seen_root && open.is_empty() && is_more {
            return Err(broken("its list is cut short by an error of its own"));
        }
        match event {
            Event::Start(tag) => {
                let name = is_dav.then(|| text_of(tag.local_name().as_ref()));
                if open.is_empty() {
                    seen_root |= name.as_deref() == Some("multistatus");
                }
                match name.as_deref() {
                    Some("response") => (resource, is_gone) = (Resource::default(), false),
                    Some("propstat") => properties = Properties::default(),
                    _ => (),
                }
                content.clear();
                open.push(name);
                if open.len() > DEEPEST {
                    return Err(foreign("the answer is nested too deeply"));
                }
            }
            // `<D:collection/>`
            Event::Empty(tag) => {
                if is_dav && text_of(tag.local_name().as_ref()) == "collection" && parent(&open, 0) == "resourcetype" {
                    properties.found.is_folder = true;
                }
            }
            Event::Text(part) => content.push_str(&part.xml10_content()),
            Event::CData(part) => content.push_str(&part.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(character)) => content.push(character),
                _ => content.push_str(resolve_predefined_entity(&reference.xml10_content()).unwrap_or_default()),
            },
            Event::End(_) => {
                let name = open.pop().flatten().unwrap_or_default();
                let value = content.trim();
                match (parent(&open, 0), name.as_str()) {
                    ("response", "href") => resource.steps = steps(value).unwrap_or_default(),
                    // What it can't describe is there all the same.
                    ("response", "status") => is_gone = is_absent(value),
                    ("response", "propstat") if !properties.refused => {
                        adopt(&mut resource, &std::mem::take(&mut properties).found);
                    }
                    ("propstat", "status") => properties.refused = !is_good(value),
                    ("resourcetype", "collection") => properties.found.is_folder = true,
                    ("prop", property) => properties.found.note(property, value),
                    ("multistatus", "response") => {
                        responses += 1;
                        if !is_gone {
                            resources.push(std::mem::take(&mut resource));
                        }
                    }
                    _ => (),
                }
                content.clear();
            }
            Event::Eof if !seen_root => return Err(foreign("the answer is not a WebDAV answer")),
            Event::Eof if !open.is_empty() => return Err(broken("the answer ends in the middle")),
            // The requested file is always in the answer, if only to say that it does not exist.
            Event::Eof if responses == 0 => return Err(broken("the answer is empty")),
            Event::Eof => return Ok(resources),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => (),
        }
    }
}

impl Resource {
    fn note(&mut self, property: &str, value: &str) {
        match property {
            "getcontentlength" => self.size = value.parse().ok(),
            "quota-available-bytes" => self.free = value.parse().ok(),
            "getlastmodified" => {
                self.modified = jiff::fmt::rfc2822::parse(value).ok().map(|moment| moment.timestamp().into());
            }
            _ => (),
        }
    }
}

/// A resource may come with several `propstat`, of which only one found something.
fn adopt(resource: &mut Resource, found: &Resource) {
    resource.is_folder |= found.is_folder;
    resource.size = found.size.or(resource.size);
    resource.modified = found.modified.or(resource.modified);
    resource.free = found.free.or(resource.free);
}

/// What a person may read in an error's body (`s:message` of sabre/dav), in one line.
pub(crate) fn message(text: &str) -> Option<String> {
    let mut reader = NsReader::from_str(text);
    let mut inside = false;
    let mut said = String::new();
    while let Ok(event) = reader.read_event() {
        match event {
            Event::Start(tag) => inside = AsRef::<str>::as_ref(&tag.local_name()) == "message",
            Event::Text(part) if inside => said.push_str(&part.xml10_content()),
            Event::End(_) if inside => break,
            Event::Eof => break,
            _ => (),
        }
    }
    let said: String = said.trim().chars().filter(|c| !c.is_control()).take(200).collect();
    (!said.is_empty()).then_some(said)
}

fn text_of(name: &(impl AsRef<[u8]> + ?Sized)) -> String {
    String::from_utf8_lossy(name.as_ref()).into_owned()
}

fn parent(open: &[Option<String>], above: usize) -> &str {
    open.iter().rev().nth(above).and_then(Option::as_deref).unwrap_or_default()
}

/// `HTTP/1.1 200 OK`
fn is_good(status: &str) -> bool {
    status.split_whitespace().nth(1).is_some_and(|code| code.starts_with('2'))
}

/// `HTTP/1.1 404 Not Found`
fn is_absent(status: &str) -> bool {
    status.split_whitespace().nth(1).is_some_and(|code| matches!(code, "404" | "410"))
}

/// The decoded components of an address, which may be whole or a path. `None` for names that are not UTF-8, which
/// nothing here could request.
pub(crate) fn steps(href: &str) -> Option<Vec<String>> {
    let path = match href.split_once("://") {
        Some((_, rest)) if !href.starts_with('/') => rest.split_once('/').map_or("", |(_, path)| path),
        _ => href,
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.split('/')
        .filter(|step| !step.is_empty())
        .map(|step| percent_decode_str(step).decode_utf8().ok().map(std::borrow::Cow::into_owned))
        .collect()
}

/// What is directly in the folder whose path is `folder`. A server behind a proxy may know its folder by another path
/// than we do; it is then the one with the fewest components.
pub(crate) fn children(resources: Vec<Resource>, folder: &[String]) -> Vec<Resource> {
    let is_known = resources.iter().any(|resource| resource.steps == folder);
    let shortest = resources.iter().filter(|resource| resource.is_folder).min_by_key(|resource| resource.steps.len());
    let folder =
        if is_known { folder.to_vec() } else { shortest.map_or_else(|| folder.to_vec(), |found| found.steps.clone()) };
    let is_child = |resource: &Resource| {
        resource.steps.len() == folder.len() + 1
            && resource.steps.starts_with(&folder)
            && !resource.name().contains('/')
    };
    resources.into_iter().filter(is_child).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_understood_or_refused(text in ".*", at in 0..APACHE.len(), junk in "[<>&/a-zD:\"= ;#0-9]{0,12}") {
            let _ = (parse(&text), message(&text), steps(&text));
            let damaged = [&APACHE[..at], &junk, &APACHE[at..]].concat();
            let _ = (parse(&damaged).map(|found| children(found, &["dav".to_owned()])), message(&damaged));
        }
    }

    #[test]
    fn an_address_is_whole_or_a_path() {
        for href in ["/a/b%20c/", "http://host:1/a/b%20c", "a/b c", "https://host/a//b%20c?x#y"] {
            assert_eq!(steps(href).unwrap(), ["a", "b c"], "{href}");
        }
        assert_eq!(steps("/a://b").unwrap(), ["a:", "b"]);
        assert_eq!(steps("/%ff"), None);
        assert_eq!(steps("http://host").unwrap(), Vec::<String>::new());
    }

    const APACHE: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<D:multistatus xmlns:D="DAV:" xmlns:ns0="DAV:">
<D:response xmlns:lp1="DAV:"><D:href>/dav/</D:href>
<D:propstat><D:prop><lp1:resourcetype><D:collection/></lp1:resourcetype></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>
<D:propstat><D:prop><D:getcontentlength/></D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat></D:response>
<D:response xmlns:lp1="DAV:"><D:href>/dav/a%20%26%20b%c3%a4.tar</D:href>
<D:propstat><D:prop><lp1:resourcetype/><lp1:getcontentlength>12</lp1:getcontentlength>
<lp1:getlastmodified>Sun, 22 Nov 2026 04:00:00 GMT</lp1:getlastmodified></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
</D:multistatus>"#;

    #[test]
    fn names_sizes_and_dates_are_understood() {
        let found = children(parse(APACHE).unwrap(), &["dav".to_owned()]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name(), found[0].size), ("a & bä.tar", Some(12)));
        assert_eq!(found[0].modified.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(), 1_795_320_000);
    }

    #[test]
    fn a_default_namespace_whole_addresses_and_entities_are_the_same() {
        let text = r#"<multistatus xmlns="DAV:"><response><href>http://host:80/x/</href><propstat><prop><resourcetype><collection/></resourcetype>
            <quota-available-bytes>-3</quota-available-bytes></prop><status>HTTP/1.1 200 OK</status></propstat></response>
            <response><href>http://host:80/x/a&amp;b&#228;%2B+.tar</href><propstat><prop><getcontentlength>1</getcontentlength></prop>
            <status>HTTP/1.1 200 OK</status></propstat></response></multistatus>"#;
        let all = parse(text).unwrap();
        assert!(all[0].is_folder);
        assert_eq!(all[0].free, None);
        assert_eq!(children(all, &["x".to_owned()])[0].name(), "a&bä++.tar");
    }

    #[test]
    fn a_folder_known_by_another_path_is_the_shortest() {
        let found = children(parse(APACHE).unwrap(), &["outside".to_owned(), "dav".to_owned()]);
        assert_eq!(found[0].name(), "a & bä.tar");
    }

    #[test]
    fn a_property_of_a_foreign_namespace_is_not_taken_for_ours() {
        let text = r#"<d:multistatus xmlns:d="DAV:" xmlns:x="urn:x"><d:response><d:href>/a</d:href><d:propstat><d:prop><x:getcontentlength>7</x:getcontentlength>
            </d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response></d:multistatus>"#;
        assert_eq!(parse(text).unwrap()[0].size, None);
    }

    #[test]
    fn what_is_no_answer_is_refused_at_every_length() {
        assert!(parse("<html><body>Welcome</body></html>").is_err());
        assert!(parse("").is_err());
        for length in 1..APACHE.len() - 1 {
            assert!(APACHE.get(..length).is_none_or(|cut| parse(cut).is_err()), "{length}");
        }
        assert!(parse(&"<a>".repeat(100_000)).is_err());
    }

    #[test]
    fn what_an_error_says_is_found() {
        let text = r#"<d:error xmlns:d="DAV:" xmlns:s="http://sabredav.org/ns"><s:exception>X</s:exception><s:message>No room</s:message></d:error>"#;
        assert_eq!(message(text).as_deref(), Some("No room"));
        assert_eq!(message("<html>"), None);
    }

    #[test]
    fn only_a_whole_answer_counts() {
        let whole = APACHE.trim_end();
        for (more, is_whole) in [
            ("", true),
            ("\n \n", true),
            ("Internal Server Error", false),
            ("\n<p>", false),
            ("<a/>", false),
            ("&amp;", false),
            ("<", false),
        ] {
            let found = parse(&format!("{whole}{more}"));
            assert_eq!(found.is_ok(), is_whole, "{more}");
            assert!(found.is_ok() || found.is_err_and(|flaw| flaw.may_pass), "{more}");
        }
        let empty = r#"<D:multistatus xmlns:D="DAV:"></D:multistatus>"#;
        assert!(parse(empty).is_err_and(|flaw| flaw.may_pass));
        assert!(parse("<html></html>").is_err_and(|flaw| !flaw.may_pass));
        // What the server can't describe is there all the same; what is not there is not.
        let some = r#"<D:multistatus xmlns:D="DAV:"><D:response><D:href>/a</D:href><D:status>HTTP/1.1 403 Forbidden</D:status></D:response>
            <D:response><D:href>/b</D:href><D:status>HTTP/1.1 404 Not Found</D:status></D:response></D:multistatus>"#;
        let names: Vec<String> = parse(some).unwrap().iter().map(|resource| resource.name().to_owned()).collect();
        assert_eq!(names, ["a"]);
    }
}
