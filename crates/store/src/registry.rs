//! Every kind of remote destination, once: connecting, the keys of the configuration file and the help are made from this table.
//!
//! A new one is a folder with a [`Scheme`], and a line here.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use url::Url;

use crate::{
    address::Address,
    context::{Context, Options, invalid},
    error::StoreError,
    gdrive,
    local::Local,
    machine, nextcloud, object, sftp,
    store::Store,
    webdav,
};

/// How a place is reached.
pub(crate) type Connect = for<'a> fn(&'a Url, &'a Options, &'a Context) -> BoxFuture<'a, Result<Arc<dyn Store>, StoreError>>;

/// A kind of remote destination.
pub struct Scheme {
    /// What stands before `://` in its addresses. The first is the one to recommend; another speaks to the same servers, as without TLS.
    pub names: &'static [&'static str],
    /// An address, for help and documentation.
    pub example: &'static str,
    /// What is reached.
    pub service: &'static str,
    /// The keys that such a destination may have in the configuration file, beside those that all have.
    pub keys: &'static [&'static str],
    /// Makes contact and asks what the place can do. One attempt.
    pub(crate) connect: Connect,
}

/// All of them, in the order in which they are shown.
pub static SCHEMES: &[Scheme] = &[object::S3, object::AZURE, object::GOOGLE, gdrive::SCHEME, webdav::SCHEME, nextcloud::SCHEME, sftp::SCHEME, machine::SCHEME];

/// A directory of this machine can be written as an address, too.
const FILE: &str = "file";

/// What may stand before `://`.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    std::iter::once(FILE).chain(SCHEMES.iter().flat_map(|scheme| scheme.names.iter().copied()))
}

fn find(url: &Url) -> Option<&'static Scheme> {
    SCHEMES.iter().find(|scheme| scheme.names.contains(&url.scheme()))
}

/// Makes contact with a place. One attempt: see [`patience::Patience`](crate::patience::Patience).
pub async fn connect(address: &Address, options: &Options, context: &Context) -> Result<Arc<dyn Store>, StoreError> {
    match address {
        Address::Local(path) => Ok(Arc::new(Local::open(path)?)),
        Address::Stdout => Err(invalid("standard output", "it can't be read from").advise("give a place that keeps archives")),
        Address::Remote(url) => match find(url) {
            Some(scheme) => (scheme.connect)(url, options, context).await,
            None => Err(invalid(url.scheme(), "there is no such kind of place")),
        },
    }
}

/// The keys that a destination of this kind may have in the configuration file, beside those that all have.
pub fn keys(address: &Address) -> &'static [&'static str] {
    match address {
        Address::Local(_) | Address::Stdout => &[],
        Address::Remote(url) => find(url).map_or(&[], |scheme| scheme.keys),
    }
}
