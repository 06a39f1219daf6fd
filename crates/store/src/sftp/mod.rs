//! A place: SFTP servers.

use std::sync::Arc;

use url::Url;

use crate::{
    context::{Context, Options, invalid},
    error::StoreError,
    store::Store,
};

/// Keys of the configuration file beside `url`.
pub const KEYS: &[&str] = &[];

/// Makes contact and asks what the place can do.
pub async fn connect(url: &Url, _options: &Options, _context: &Context) -> Result<Arc<dyn Store>, StoreError> {
    Err(invalid(url.scheme(), "this kind of place can't be used yet"))
}
