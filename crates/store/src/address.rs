//! What the user types for a destination: a path, `-`, or a URL. `foreign` knows how other programs write the same
//! addresses.

mod foreign;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use url::Url;

use self::foreign::Foreign;
pub use self::foreign::shown;
use crate::{context::invalid, error::StoreError, redact, registry};

/// What precedes the address at which a vault is.
pub const VAULT: &str = "vault+";

/// Where an archive goes or comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A directory or file of this machine.
    Local(PathBuf),
    /// Standard output.
    Stdout,
    /// A remote destination.
    Remote(Url),
}

impl Address {
    /// Understands what the user typed. Whatever has no `scheme://` is a path, unless it can only be the address of
    /// something else.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        if text == "-" {
            return Ok(Self::Stdout);
        }
        if let Some(beneath) = text.strip_prefix(VAULT) {
            return Self::vault(beneath);
        }
        let shown = shown(text);
        let refuse = |meant: Foreign| invalid(&shown, meant.reason).advise(meant.advice);
        let is_scheme =
            |scheme: &str| !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
            return foreign::without_scheme(text, &shown)
                .map_or_else(|| Ok(Self::Local(text.into())), |meant| Err(refuse(meant)));
        };
        let scheme = scheme.to_ascii_lowercase();
        if registry::names().all(|name| name != scheme) {
            let (_, shown_rest) = shown.split_once("://").unwrap_or_default();
            if let Some(meant) = foreign::scheme(&scheme, shown_rest.trim_end_matches(redact::CUT)) {
                return Err(refuse(meant));
            }
            let nearest =
                registry::names().min_by_key(|known| strsim::damerau_levenshtein(known, &scheme)).unwrap_or("file");
            return Err(invalid(
                &shown,
                format!("{scheme}:// is not a kind of destination; did you mean {nearest}://?"),
            )
            .advise(format!("known are {}", registry::names().collect::<Vec<_>>().join(", "))));
        }
        if scheme == "s3" && rest.split(['?', '#']).next().is_none_or(|path| path.trim_matches('/').is_empty()) {
            return Err(invalid(&shown, "the address names no bucket").advise("write s3://BUCKET/PREFIX"));
        }
        // An empty host (`haul://`, any receiver of the network) is no URL to everybody, but one to us.
        let url = Url::parse(text).map_err(|error| invalid(&shown, format!("the address is not valid: {error}")))?;
        if url.password().is_some() {
            return Err(invalid(&shown, "the address contains a password")
                .advise("put the password in a file instead, and name the file as password_file in haul.toml"));
        }
        if scheme == "file" {
            let path = url
                .to_file_path()
                .map_err(|()| invalid(&shown, "a file:// address needs three slashes and an absolute path"))?;
            return Ok(Self::Local(path));
        }
        Ok(Self::Remote(url))
    }

    /// A vault at the destination that the rest of its address names.
    fn vault(beneath: &str) -> Result<Self, StoreError> {
        let refuse =
            |reason: &str, advice: &str| Err(invalid(&format!("{VAULT}{}", shown(beneath)), reason).advise(advice));
        let address = match Self::parse(beneath)? {
            Self::Local(path) if path.is_absolute() => Url::from_file_path(&path).map(|url| url.to_string()),
            Self::Remote(url) if !url.scheme().starts_with(VAULT) => Ok(url.to_string()),
            Self::Local(_) => return refuse("the path of a vault begins with a slash", "write vault+/mnt/nas/ha"),
            Self::Remote(_) | Self::Stdout => {
                return refuse("there can't be a vault", "give a directory or another destination after vault+");
            }
        };
        let url = address.ok().and_then(|address| Url::parse(&format!("{VAULT}{address}")).ok());
        match url {
            Some(url) => Ok(Self::Remote(url)),
            None => refuse("the address is not valid", "write vault+ and the address of another destination"),
        }
    }

    /// The destination at which a vault is; `None` for what is none.
    pub fn beneath_vault(&self) -> Option<Self> {
        let Self::Remote(url) = self else { return None };
        Self::parse(url.as_str().strip_prefix(VAULT)?).ok()
    }

    /// Where it really is: as [`Self::plain`], and on this machine links are followed as far as they lead. That asks the
    /// file system, which may not answer for long.
    pub fn place(&self) -> String {
        match self {
            Self::Local(path) => real(&plain(path)).to_string_lossy().into_owned(),
            other => other.plain(),
        }
    }

    /// The same text for addresses that differ only in slashes that say nothing.
    pub fn plain(&self) -> String {
        match self {
            Self::Local(path) => plain(path).to_string_lossy().into_owned(),
            Self::Remote(url) => {
                let mut url = url.clone();
                let path: Vec<&str> = url.path().split('/').filter(|step| !step.is_empty()).collect();
                let path = path.join("/");
                url.set_path(&path);
                Self::Remote(url).to_string()
            }
            Self::Stdout => self.to_string(),
        }
    }

    /// The destination and, if the last component of the path ends in `.tar`, the archive's name there.
    pub fn split_name(self) -> (Self, Option<String>) {
        match self {
            Self::Local(path) if path.extension().is_some_and(|extension| extension == "tar") && !path.is_dir() => {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                let parent = path
                    .parent()
                    .filter(|parent| !parent.as_os_str().is_empty())
                    .map_or_else(|| PathBuf::from("."), PathBuf::from);
                (Self::Local(parent), name)
            }
            Self::Remote(mut url) => {
                let last = url
                    .path_segments()
                    .and_then(|mut segments| segments.next_back())
                    .filter(|last| Path::new(last).extension().is_some_and(|extension| extension == "tar"));
                let Some(name) =
                    last.map(|last| percent_encoding::percent_decode_str(last).decode_utf8_lossy().into_owned())
                else {
                    return (Self::Remote(url), None);
                };
                let path = url.path().rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
                url.set_path(&path);
                (Self::Remote(url), Some(name))
            }
            other => (other, None),
        }
    }
}

/// An absolute path without slashes and dots that say nothing.
fn plain(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components().collect()
}

/// Where a path leads; what of it is not there yet is taken as it is written.
fn real(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|above| {
        let rest = path.strip_prefix(above).ok()?;
        Some(above.canonicalize().ok()?.join(rest))
    });
    // A path that is joined with nothing ends in a slash.
    found.map_or_else(|| path.to_owned(), |found| found.components().collect())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Stdout => f.write_str("standard output"),
            Self::Remote(url) => f.write_str(&redact::url(url)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_and_urls_are_distinguished() {
        assert_eq!(Address::parse("-").unwrap(), Address::Stdout);
        assert_eq!(Address::parse("/a b/c").unwrap(), Address::Local("/a b/c".into()));
        assert_eq!(Address::parse("file:///a%20b").unwrap(), Address::Local("/a b".into()));
        assert!(matches!(Address::parse("s3://bucket/prefix").unwrap(), Address::Remote(_)));
        assert!(matches!(Address::parse("haul://").unwrap(), Address::Remote(_)));
    }

    #[test]
    fn a_mistyped_scheme_names_the_nearest() {
        let error = Address::parse("stfp://host/path").unwrap_err().to_string();
        assert!(error.contains("did you mean sftp://?"), "{error}");
    }

    #[test]
    fn a_password_in_the_address_is_refused_and_not_repeated() {
        let error = Address::parse("webdavs://me:hunter2@host/").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn however_a_place_is_written_it_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("two")).unwrap();
        std::os::unix::fs::symlink("two", real.join("link")).unwrap();
        let place = |text: &str| Address::parse(text).unwrap().place();
        let own = real.join("two").display().to_string();
        for written in [
            own.clone(),
            format!("/{own}"),
            format!("{own}/"),
            format!("{own}//."),
            format!("{}//link/", real.display()),
            format!("{own}/../two"),
            format!("file://{own}/"),
        ] {
            assert_eq!(place(&written), own, "{written}");
        }
        assert_eq!(Address::parse(&format!("/{own}/./")).unwrap().plain(), own);
        // What is not there yet.
        let new = real.join("two/new/er").display().to_string();
        assert_eq!(place(&format!("{}//link//new/er/", real.display())), new);
        assert_ne!(place(&new), own);
        assert_eq!(place("s3://bucket/a//b/"), place("s3://bucket/a/b"));
        assert_eq!(place("sftp://me@host/a/"), place("sftp://me@host/a"));
        assert_ne!(place("sftp://me@host/a"), place("sftp://you@host/a"));
        assert_ne!(place("s3://bucket/a"), place("s3://bucket/b"));
    }

    #[test]
    fn the_name_is_what_ends_in_tar() {
        let split = |text: &str| {
            let (destination, name) = Address::parse(text).unwrap().split_name();
            (destination.to_string(), name)
        };
        assert_eq!(split("s3://bucket/a/b%20c.tar"), ("s3://bucket/a".into(), Some("b c.tar".into())));
        assert_eq!(split("s3://bucket/c.tar"), ("s3://bucket".into(), Some("c.tar".into())));
        assert_eq!(split("s3://bucket/a"), ("s3://bucket/a".into(), None));
        assert_eq!(split("x.tar"), (".".into(), Some("x.tar".into())));
    }
}
