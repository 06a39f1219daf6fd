//! Addresses as they may be shown: without what may be a password, a key or a signature.

use url::Url;

/// Replaces the part of an address that is not shown.
pub(crate) const CUT: &str = "?…";

/// Text that a user typed as an address, whose scheme, if it has one, ends at this byte.
pub(crate) fn text(text: &str, end_of_scheme: usize) -> String {
    let (kept, cut) = cut(text);
    let (scheme, rest) = kept.split_at(end_of_scheme.min(kept.len()));
    format!("{scheme}{}{cut}", without_password(rest))
}

/// A URL that was taken for an address: it holds no password, but what follows the first ? or # may be a key or a
/// signature.
pub(crate) fn url(url: &Url) -> String {
    let (kept, cut) = cut(url.as_str());
    format!("{kept}{cut}")
}

/// The position after `scheme://`; zero if there is none.
pub(crate) fn behind_slashes(text: &str) -> usize {
    cut(text).0.find("://").map_or(0, |at| at + 3)
}

fn cut(text: &str) -> (&str, &str) {
    text.find(['?', '#']).map_or((text, ""), |at| (&text[..at], CUT))
}

/// Text between the first colon and the last @ may be a password, whatever characters it has; a port is none.
fn without_password(rest: &str) -> String {
    let (Some(colon), Some(at)) = (rest.find(':'), rest.rfind('@')) else { return rest.to_owned() };
    let port = rest[colon + 1..].split('/').next().unwrap_or_default();
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if at < colon || is_port || rest.starts_with('[') {
        return rest.to_owned();
    }
    format!("{}{}", &rest[..colon], &rest[at..])
}
