//! Every kind of remote destination, once: connecting, addresses, the keys of the configuration file and the help come
//! from this table.
//!
//! A new one is a folder with a [`Scheme`], and a line here.

use url::Url;

use crate::{gdrive, machine, nextcloud, object, scheme::Scheme, sftp, webdav};

/// All of them, in the order in which they are shown.
pub static SCHEMES: &[Scheme] = &[
    object::S3,
    object::AZURE,
    object::GOOGLE,
    gdrive::SCHEME,
    webdav::SCHEME,
    nextcloud::SCHEME,
    sftp::SCHEME,
    machine::SCHEME,
];

/// A directory of this machine can be written as an address, too.
const FILE: &str = "file";

/// What may precede `://`.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    std::iter::once(FILE).chain(SCHEMES.iter().flat_map(|scheme| scheme.names.iter().copied()))
}

/// Of which kind an address is.
pub(crate) fn find(url: &Url) -> Option<&'static Scheme> {
    SCHEMES.iter().find(|scheme| scheme.names.contains(&url.scheme()))
}
