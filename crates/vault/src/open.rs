//! Opening a vault from its destination's settings.

use std::sync::Arc;

use async_trait::async_trait;
use store::{
    Context, Kind as ErrorKind, Operation, Options, Secret as StoreSecret, Store, StoreError, Vaults, context::invalid,
};
use zeroize::Zeroizing;

use crate::{
    destination::VaultStore,
    keys::{KEY_FILE, Secret},
};

/// Asks the person at the terminal for a password; `None`: nobody is there.
pub type AskPassword = Arc<dyn Fn(&str) -> Option<Zeroizing<String>> + Send + Sync>;

/// Opens vaults with what their settings, the environment or a person say.
#[derive(Clone, Default)]
pub struct Opener {
    /// Asks for the password where neither the settings nor the environment have one.
    pub ask: Option<AskPassword>,
}

impl Opener {
    /// What opens the vault at `destination`: the file that `vault_key_file` or `vault_password_file` names, else
    /// `HAUL_VAULT_PASSWORD`, else what a person types.
    pub fn secret(&self, destination: &str, options: &Options, context: &Context) -> Result<Secret, StoreError> {
        if let Some(key) = options.secret(destination, "vault_key", "HAUL_VAULT_KEY", context)? {
            return key_of(&key).ok_or_else(|| {
                invalid(destination, "the key file of the vault does not hold 64 hexadecimal digits")
                    .advise("make one with `haul vault keys DEST --add-key-file FILE`")
            });
        }
        if let Some(password) = options.secret(destination, "vault_password", "HAUL_VAULT_PASSWORD", context)? {
            return Ok(Secret::Password(Zeroizing::new(password.expose().to_owned())));
        }
        let asked = self.ask.as_ref().and_then(|ask| ask(&format!("Password of the vault at {destination}: ")));
        asked.map(Secret::Password).ok_or_else(|| {
            StoreError::remote(destination, Operation::Connect, ErrorKind::Credentials, "the vault needs its password")
                .advise("name a file as vault_password_file in haul.toml, or set HAUL_VAULT_PASSWORD")
        })
    }
}

/// A key file holds the key in hexadecimal digits.
fn key_of(text: &StoreSecret) -> Option<Secret> {
    let mut key = Zeroizing::new([0; KEY_FILE]);
    let digits = text.expose().as_bytes();
    if digits.len() != 2 * KEY_FILE {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(Secret::KeyFile(key))
}

#[async_trait]
impl Vaults for Opener {
    async fn open(
        &self,
        store: Arc<dyn Store>,
        options: &Options,
        context: &Context,
    ) -> Result<Arc<dyn Store>, StoreError> {
        let (opener, label) = (self.clone(), format!("vault+{}", store.label()));
        let (options, own) = (options.clone(), context.clone());
        // Reading a file and asking a person wait.
        let secret = crate::destination::blocking(move || opener.secret(&label, &options, &own)).await?;
        Ok(Arc::new(VaultStore::open(store, context, secret).await?))
    }
}
