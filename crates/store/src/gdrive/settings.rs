//! The settings of a Drive, from the configuration file or the environment.

use std::path::PathBuf;

use url::{Host, Url};

use crate::{
    context::{Context, Options, invalid},
    error::StoreError,
    secret::Secret,
};

/// Where a sign-in is kept in the state directory, unless `token_file` names another file.
pub const TOKEN_FILE: &str = "gdrive-token.json";

/// Keys of the configuration file.
pub(super) const KEYS: &[&str] =
    &["client_id", "client_secret_file", "token_file", "api_url", "upload_url", "oauth_url"];

const API: &str = "https://www.googleapis.com/drive/v3";
const UPLOAD: &str = "https://www.googleapis.com/upload/drive/v3";
const OAUTH: &str = "https://oauth2.googleapis.com";

/// Settings as they are used.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The application's id, when it is not to come from the sign-in.
    pub client_id: Option<String>,
    /// Its secret, likewise.
    pub client_secret: Option<Secret>,
    /// Where the sign-in is kept.
    pub token_file: PathBuf,
    pub(super) api_url: String,
    pub(super) upload_url: String,
    pub(super) oauth_url: String,
}

impl Settings {
    /// Each key is looked up in `options`, then as `HAUL_GDRIVE_KEY` in the environment.
    pub fn new(destination: &str, options: &Options, context: &Context) -> Result<Self, StoreError> {
        let variable = |key: &str| format!("HAUL_GDRIVE_{}", key.to_ascii_uppercase());
        let found = KEYS.iter().filter_map(|key| {
            let value = options.get(key).map(str::to_owned).or_else(|| context.variable(&variable(key)))?;
            Some(((*key).to_owned(), value))
        });
        let options = Options::new(found.collect());
        let address = |key: &str, usual: &str| base(destination, key, options.get(key).unwrap_or(usual));
        Ok(Self {
            client_id: options.get("client_id").map(str::to_owned),
            client_secret: options.secret(destination, "client_secret", &variable("client_secret"), context)?,
            token_file: options.get("token_file").map_or_else(|| context.state.join(TOKEN_FILE), PathBuf::from),
            api_url: address("api_url", API)?,
            upload_url: address("upload_url", UPLOAD)?,
            oauth_url: address("oauth_url", OAUTH)?,
        })
    }
}

/// An address below which the calls lie. Tokens go there, so it is encrypted or this machine itself.
fn base(destination: &str, key: &str, text: &str) -> Result<String, StoreError> {
    let url = Url::parse(text).map_err(|error| invalid(destination, format!("{key} is not valid: {error}")))?;
    let own = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && own) {
        return Err(invalid(destination, format!("{key} must begin with https://, because tokens are sent there")));
    }
    Ok(text.trim_end_matches('/').to_owned())
}
