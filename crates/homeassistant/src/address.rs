//! The address of an instance: what a person types or copies from the browser, and where a redirect may lead.

use url::Url;

use crate::{
    error::{Error, Kind, Operation},
    text::sanitize,
};

/// Scheme, host and port of what a person typed; a page's path is dropped.
pub(crate) fn parse(text: &str) -> Result<Url, Error> {
    let text = text.trim();
    let invalid =
        |reason: &str| Error::new(sanitize(&without_login(text), 200), Operation::Look, Kind::Invalid, reason);
    if !text.contains("://") {
        let shown = sanitize(&without_login(text), 200);
        let error = Error::new(
            shown.clone(),
            Operation::Look,
            Kind::Invalid,
            "the address does not begin with http:// or https://",
        );
        return Err(error.advise(format!("write http://{}", shown.trim_start_matches('/').trim_end_matches("?…"))));
    }
    let url = Url::parse(text)
        .map_err(|error| Error::new("this address", Operation::Look, Kind::Invalid, error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        // Not shown: it may hold a password.
        return Err(Error::new(
            shown(&url),
            Operation::Look,
            Kind::Invalid,
            "the address contains a user name or password",
        )
        .advise("put the token in a file"));
    }
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(invalid("the address does not begin with http:// or https://"));
    }
    Ok(base(url))
}

/// What a person typed, without a user name and password before the host, and without what follows a ? or #.
pub fn without_login(text: &str) -> String {
    let (scheme, rest) = text.find("://").map_or(("", text), |at| text.split_at(at + 3));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rfind('@').map_or(0, |at| at + 1);
    let kept = rest.find(['?', '#']).unwrap_or(rest.len());
    format!("{scheme}{}{}", &rest[host..kept], if kept < rest.len() { "?…" } else { "" })
}

/// Its scheme, host and port alone.
pub(crate) fn base(mut url: Url) -> Url {
    url.set_path("/");
    url.set_query(None);
    url.set_fragment(None);
    url
}

/// Whether it is this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(host)) => host.is_loopback(),
        Some(url::Host::Ipv6(host)) => host.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// As people write it: without a path, and without whatever could be a secret.
pub(crate) fn shown(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Whether a request to `asked` may follow a redirect to this address without confirmation: the same host and path,
/// never from https to http. A backup holds every secret of a home, so a redirect must not decide which machine gets
/// it.
pub(crate) fn followed(asked: &Url, location: &str) -> Option<Url> {
    let target = asked.join(location).ok()?;
    let stays = target.host() == asked.host()
        && target.path() == asked.path()
        && target.username().is_empty()
        && target.password().is_none();
    let safe = target.scheme() == "https" || (target.scheme() == "http" && asked.scheme() == "http");
    (stays && safe && target != *asked).then(|| base(target))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_page_of_the_browser_is_an_address() {
        for text in ["http://new:8123", " http://new:8123/ ", "http://new:8123/onboarding.html?x=1#y"] {
            assert_eq!(shown(&parse(text).unwrap()), "http://new:8123", "{text}");
        }
        assert_eq!(shown(&parse("https://[fd00::1]:443/lovelace/0").unwrap()), "https://[fd00::1]");
    }

    #[test]
    fn what_is_no_address_is_explained_and_a_password_in_it_is_not_repeated() {
        assert_eq!(parse("new:8123").unwrap_err().advice.unwrap(), "write http://new:8123");
        for text in ["ftp://new", "", "://", "http://", "file:///etc/passwd"] {
            assert_eq!(parse(text).unwrap_err().kind, Kind::Invalid, "{text}");
        }
        let said = parse("http://me:sesame@new:8123").unwrap_err().to_string();
        assert!(!said.contains("sesame") && said.contains("http://new:8123"), "{said}");
        let error = parse("me:sesame@new:8123/x").unwrap_err();
        assert!(!error.to_string().contains("sesame"), "{error}");
        assert_eq!(error.advice.unwrap(), "write http://new:8123/x");
        for text in ["new:8123/?token=sesame", "ftp://new/?token=sesame", "ftp://new/#sesame"] {
            let error = parse(text).unwrap_err();
            assert!(!format!("{error} {:?}", error.advice).contains("sesame"), "{error}");
        }
        assert_eq!(without_login("http://me:se@same@new:8123/a@b"), "http://new:8123/a@b");
    }

    #[test]
    fn a_redirect_is_followed_to_the_same_host_only_and_never_to_less_safety() {
        let from = |asked: &str, location: &str| followed(&Url::parse(asked).unwrap(), location).map(|url| shown(&url));
        assert_eq!(
            from("http://ha.example/api/onboarding", "https://ha.example/api/onboarding").as_deref(),
            Some("https://ha.example")
        );
        assert_eq!(
            from("http://ha.example:8123/api/onboarding", "https://ha.example:8443/api/onboarding").as_deref(),
            Some("https://ha.example:8443")
        );
        assert_eq!(from("http://ha.example/api/onboarding", "https://other.example/api/onboarding"), None);
        assert_eq!(from("https://ha.example/api/onboarding", "http://ha.example/api/onboarding"), None);
        assert_eq!(from("https://ha.example/api/onboarding", "https://ha.example/login"), None);
        assert_eq!(from("https://ha.example/api/onboarding", "/api/onboarding"), None);
    }
}
