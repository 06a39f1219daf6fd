//! What the program knows of a kind of remote destination before it connects.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use url::Url;

use crate::{
    context::{Context, Options},
    error::StoreError,
    store::Store,
};

/// How to reach a destination.
pub(crate) type Connect =
    for<'a> fn(&'a Url, &'a Options, &'a Context) -> BoxFuture<'a, Result<Arc<dyn Store>, StoreError>>;

/// A kind of remote destination.
pub struct Scheme {
    /// What precedes `://` in its addresses. The first is the recommended one; others reach the same servers, for
    /// example without TLS.
    pub names: &'static [&'static str],
    /// An address, for help and documentation.
    pub example: &'static str,
    /// What is reached.
    pub service: &'static str,
    /// The keys that such a destination may have in the configuration file, beside those that all have.
    pub keys: &'static [&'static str],
    /// Connects and asks what the destination can do. One attempt.
    pub(crate) connect: Connect,
}
