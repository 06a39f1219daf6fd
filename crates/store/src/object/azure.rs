//! Azure Blob Storage: where account and key come from.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use object_store::azure::{MicrosoftAzureBuilder, split_sas};

use super::{
    blocks::Blocks,
    settings::{Backend, Wanted},
    wire::Wire,
};
use crate::error::StoreError;

const KEYS_ADVICE: &str = "set account and access_key_file (or sas_token_file) for this destination, or \
    AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY (or \
                           AZURE_STORAGE_SAS_TOKEN)";

pub(super) fn open(wanted: &Wanted<'_>) -> Result<Backend, StoreError> {
    let combined = wanted
        .context
        .variable("AZURE_STORAGE_CONNECTION_STRING")
        .map(|text| connection_string(&text))
        .unwrap_or_default();
    let account = wanted.setting("account", &["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"]);
    let account = account
        .or_else(|| combined.get("accountname").cloned())
        .ok_or_else(|| wanted.no_keys("no storage account is named", KEYS_ADVICE))?;
    if account.is_empty() || !account.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(wanted.invalid(format!("{account:?} is not a valid storage account name")));
    }
    let endpoint =
        wanted.setting("endpoint", &["AZURE_STORAGE_ENDPOINT"]).or_else(|| combined.get("blobendpoint").cloned());
    let suffix = combined.get("endpointsuffix").map_or("core.windows.net", String::as_str);
    let endpoint = wanted.endpoint(&endpoint.unwrap_or_else(|| format!("https://{account}.blob.{suffix}")))?;
    let wire = Wire::new(wanted.context, &wanted.destination, endpoint.host_str().unwrap_or_default());
    let builder = MicrosoftAzureBuilder::new()
        .with_account(&account)
        .with_container_name(&wanted.bucket)
        .with_endpoint(endpoint.as_str().trim_end_matches('/').to_owned())
        .with_allow_http(endpoint.scheme() == "http")
        .with_retry(Wanted::one_try())
        .with_http_connector(wire.clone());
    let key = wanted
        .secret("access_key", "AZURE_STORAGE_KEY")?
        .or_else(|| wanted.context.variable("AZURE_STORAGE_ACCESS_KEY"));
    let sas = wanted.secret("sas_token", "AZURE_STORAGE_SAS_TOKEN")?;
    // What is named for this destination wins over the environment, whichever of the two it is.
    let prefers_sas = wanted.options.get("sas_token_file").is_some() && wanted.options.get("access_key_file").is_none();
    let key = key.or_else(|| combined.get("accountkey").cloned()).filter(|_| !prefers_sas);
    let sas = sas.or_else(|| combined.get("sharedaccesssignature").cloned());
    let builder = match (key, sas) {
        (Some(key), _) => {
            if BASE64_STANDARD.decode(key.trim()).is_err() {
                return Err(wanted.no_keys(
                    "the access key is not Base64",
                    "copy the whole key from the storage account's page \"Access keys\"",
                ));
            }
            builder.with_access_key(key.trim())
        }
        (None, Some(sas)) => {
            let pairs = split_sas(sas.trim().trim_start_matches('?'));
            builder
                .with_sas_authorization(pairs.map_err(|_| wanted.no_keys("the SAS token is not valid", KEYS_ADVICE))?)
        }
        (None, None) if wanted.flag("instance_role")? => builder,
        (None, None) => return Err(wanted.no_keys("no access key and no SAS token was found", KEYS_ADVICE)),
    };
    let store = builder.build().map_err(|_| wanted.no_keys("the credentials can't be used", KEYS_ADVICE))?;
    let store = Arc::new(store);
    let container = format!("{}/{}", endpoint.as_str().trim_end_matches('/'), wanted.bucket);
    let multipart = Blocks { wire: wire.clone(), credentials: Arc::clone(store.credentials()), account, container };
    Ok(Backend { wire, objects: store, multipart: Arc::new(multipart) })
}

/// `Key=value;Key=value`, keys in lower case. Values may hold `=`.
fn connection_string(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_lowercase(), value.trim().to_owned())).collect()
}
