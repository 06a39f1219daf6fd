//! Connects to the destination of an address.

use std::sync::Arc;

use crate::{
    address::Address,
    context::{Context, Options, invalid},
    error::StoreError,
    local::Local,
    registry::find,
    store::Store,
};

/// Connects to a destination. One attempt: see [`retry::RetryPolicy`](crate::retry::RetryPolicy).
pub async fn connect(address: &Address, options: &Options, context: &Context) -> Result<Arc<dyn Store>, StoreError> {
    match address {
        Address::Local(path) => Ok(Arc::new(Local::open(path)?)),
        Address::Stdout => {
            Err(invalid("standard output", "Haul can't read from it").advise("give a destination that keeps archives"))
        }
        Address::Remote(url) => match find(url) {
            Some(scheme) => (scheme.connect)(url, options, context).await,
            None => Err(invalid(url.scheme(), "there is no such kind of destination")),
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
