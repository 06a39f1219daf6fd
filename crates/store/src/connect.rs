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
        Address::Remote(_) if address.beneath_vault().is_some() => {
            let Some(beneath) = address.beneath_vault() else { return Err(invalid("a vault", "it has no address")) };
            let store = Box::pin(connect(&beneath, options, context)).await?;
            match &context.vaults {
                Some(vaults) => vaults.open(store, options, context).await,
                None => Err(invalid(&address.to_string(), "a vault can't be used here")),
            }
        }
        Address::Remote(url) => match find(url) {
            Some(scheme) => (scheme.connect)(url, options, context).await,
            None => Err(invalid(url.scheme(), "there is no such kind of destination")),
        },
    }
}

/// The keys that a destination of this kind may have in the configuration file, beside those that all have.
pub fn keys(address: &Address) -> Vec<&'static str> {
    match address {
        Address::Local(_) | Address::Stdout => Vec::new(),
        Address::Remote(url) => match address.beneath_vault() {
            Some(beneath) => keys(&beneath).into_iter().chain(VAULT_KEYS.iter().copied()).collect(),
            None => find(url).map_or_else(Vec::new, |scheme| scheme.keys.to_vec()),
        },
    }
}

/// The keys of a vault, beside those of the destination at which it is.
const VAULT_KEYS: &[&str] = &["vault_password_file", "vault_key_file"];
