//! Google Cloud Storage: where the credentials come from.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use object_store::gcp::GoogleCloudStorageBuilder;
use serde::Deserialize;

use super::{
    multipart::{MOST_PARTS, Numbered, Signer},
    settings::{Backend, Wanted},
    wire::Wire,
};
use crate::error::StoreError;

const OWN_ENDPOINT: &str = "https://storage.googleapis.com";
const KEYS_ADVICE: &str = "set credentials_file for this destination or GOOGLE_APPLICATION_CREDENTIALS to a service \
    account's key file, or run \
                           `gcloud auth application-default login`";

/// What distinguishes the two kinds of files.
#[derive(Deserialize)]
struct Credentials {
    #[serde(default)]
    private_key: Option<String>,
}

/// No file of credentials is longer.
const LONGEST: u64 = 1 << 20;

pub(super) fn open(wanted: &Wanted<'_>) -> Result<Backend, StoreError> {
    let endpoint = wanted
        .endpoint(&wanted.setting("endpoint", &["STORAGE_EMULATOR_HOST"]).unwrap_or_else(|| OWN_ENDPOINT.to_owned()))?;
    let base = endpoint.as_str().trim_end_matches('/').to_owned();
    let wire = Wire::new(wanted.context, &wanted.destination, endpoint.host_str().unwrap_or_default());
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&wanted.bucket)
        .with_base_url(&base)
        .with_retry(Wanted::one_try())
        .with_http_connector(wire.clone());
    match credentials_file(wanted) {
        Some(path) => {
            let shown = path.display().to_string();
            let text = crate::files::read_short(&path, LONGEST, &wanted.context.cancel).map_err(|error| {
                wanted.no_keys(&format!("{shown} can't be read: {}", crate::error::reason(&error)), KEYS_ADVICE)
            })?;
            let found: Credentials = serde_json::from_str(&text)
                .map_err(|_| wanted.no_keys(&format!("{shown} is not a Google credentials file"), KEYS_ADVICE))?;
            builder = if found.private_key.is_some() {
                builder.with_service_account_key(text.as_str())
            } else {
                builder.with_application_credentials(shown)
            };
        }
        None if wanted.flag("instance_role")? => {}
        None => return Err(wanted.no_keys("no Google credentials were found", KEYS_ADVICE)),
    }
    let store = builder
        .build()
        .map_err(|error| wanted.no_keys(&format!("the credentials can't be used: {}", last(&error)), KEYS_ADVICE))?;
    let store = Arc::new(store);
    let multipart = Numbered {
        wire: wire.clone(),
        store: Arc::clone(&store),
        signer: Signer::Google { credentials: Arc::clone(store.credentials()) },
        bucket: format!("{base}/{}", wanted.bucket),
        condition: ("x-goog-if-generation-match", "0"),
        unconditional: AtomicBool::new(false),
        most_parts: MOST_PARTS,
    };
    Ok(Backend { wire, objects: store, multipart: Arc::new(multipart) })
}

fn credentials_file(wanted: &Wanted<'_>) -> Option<PathBuf> {
    let named = wanted.setting("credentials_file", &["GOOGLE_APPLICATION_CREDENTIALS"]).map(PathBuf::from);
    named.or_else(|| {
        let home = wanted.context.variable("HOME")?;
        Some(PathBuf::from(home).join(".config/gcloud/application_default_credentials.json"))
            .filter(|path| path.is_file())
    })
}

/// The innermost reason.
fn last(error: &object_store::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
