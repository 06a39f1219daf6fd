//! S3 and compatible stores: where the keys come from, and how the bucket is addressed.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};

use super::{
    multipart::{MOST_PARTS, Numbered, Signer},
    profile,
    settings::{Backend, Wanted},
    wire::Wire,
};
use crate::error::StoreError;

const KEYS_ADVICE: &str = "set access_key_id and secret_access_key_file for this destination, or AWS_ACCESS_KEY_ID and \
    AWS_SECRET_ACCESS_KEY, or a profile in \
                           ~/.aws/credentials";
/// Hosts whose uploads may have fewer parts than elsewhere.
const FEW_PARTS: &[(&str, u32)] = &[(".scw.cloud", 1000)];
/// How programs in containers and machines of AWS get their keys; the library knows the ways.
const ROLE_VARIABLES: &[(&str, AmazonS3ConfigKey)] = &[
    ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
];

pub(super) fn open(wanted: &Wanted<'_>) -> Result<Backend, StoreError> {
    let profile = chosen_profile(wanted)?;
    let endpoint = wanted
        .setting("endpoint", &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
        .or_else(|| profile.get("endpoint_url").cloned());
    let region =
        wanted.setting("region", &["AWS_REGION", "AWS_DEFAULT_REGION"]).or_else(|| profile.get("region").cloned());
    let region = region.unwrap_or_else(|| "us-east-1".to_owned());
    if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return Err(wanted.invalid(format!("{region:?} is not a valid region")));
    }
    let bucket = bucket_url(wanted, endpoint.as_deref(), &region)?;
    let host = bucket.host_str().unwrap_or_default().to_owned();
    let is_encrypted = bucket.scheme() == "https";
    let bucket = bucket.as_str().trim_end_matches('/').to_owned();
    let wire = Wire::new(wanted.context, &wanted.destination, &host);
    let builder = AmazonS3Builder::new()
        .with_bucket_name(&wanted.bucket)
        .with_region(&region)
        .with_endpoint(&bucket)
        // The endpoint holds the bucket already, in its host or its path.
        .with_virtual_hosted_style_request(true)
        .with_allow_http(!is_encrypted)
        // TLS guards the bytes of the small objects that the library sends itself; parts carry their signed MD5 in any
        // case.
        .with_unsigned_payload(is_encrypted)
        .with_disable_bulk_delete(true)
        .with_retry(Wanted::one_try())
        .with_http_connector(wire.clone());
    let builder = with_keys(wanted, builder, &profile)?;
    let store = builder.build().map_err(|error| wanted.invalid(format!("the options don't work together: {error}")))?;
    let store = Arc::new(store);
    let signer = Signer::Aws { credentials: Arc::clone(store.credentials()), region };
    let multipart = Numbered {
        wire: wire.clone(),
        store: Arc::clone(&store),
        signer,
        bucket,
        condition: ("if-none-match", "*"),
        unconditional: AtomicBool::new(false),
        most_parts: most_parts(wanted, &host)?,
    };
    Ok(Backend { wire, objects: store, multipart: Arc::new(multipart) })
}

/// `max_parts`, else what is known of the host.
fn most_parts(wanted: &Wanted<'_>, host: &str) -> Result<u32, StoreError> {
    match wanted.options.get("max_parts") {
        Some(text) => text.parse().ok().filter(|most| (1..=MOST_PARTS).contains(most)).ok_or_else(|| {
            wanted.invalid(format!("max_parts is {text:?}, but must be a number from 1 to {MOST_PARTS}"))
        }),
        None => Ok(FEW_PARTS.iter().find(|(known, _)| host.ends_with(known)).map_or(MOST_PARTS, |(_, most)| *most)),
    }
}

/// The settings of the named profile, or of the default one. Keys given otherwise override it.
fn chosen_profile(wanted: &Wanted<'_>) -> Result<BTreeMap<String, String>, StoreError> {
    let asked = wanted.setting("profile", &["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]);
    let name = asked.as_deref().unwrap_or("default");
    match profile::read(wanted.context, name) {
        Some(settings) => Ok(settings),
        None if asked.is_some() => Err(wanted.no_keys(
            &format!("there is no profile {name} in ~/.aws/credentials or ~/.aws/config"),
            "add it, or name another one",
        )),
        None => Ok(BTreeMap::new()),
    }
}

/// Where the bucket is: `https://HOST/BUCKET`, or with the bucket in the host's name.
fn bucket_url(wanted: &Wanted<'_>, endpoint: Option<&str>, region: &str) -> Result<url::Url, StoreError> {
    let bucket = &wanted.bucket;
    let is_name = !bucket.is_empty()
        && bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
        && !bucket.contains("..");
    if !is_name {
        return Err(wanted.invalid(format!("{bucket:?} is not a valid bucket name")));
    }
    let own_style = match wanted.options.get("path_style") {
        Some(_) => wanted.flag("path_style")?,
        // A dot in a bucket's name would need a certificate that nobody has.
        None => endpoint.is_some() || bucket.contains('.'),
    };
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let base = wanted.endpoint(endpoint.unwrap_or(&format!("https://s3.{region}.{suffix}")))?;
    let port = base.port().map(|port| format!(":{port}")).unwrap_or_default();
    let (scheme, host, path) = (base.scheme(), base.host_str().unwrap_or_default(), base.path().trim_end_matches('/'));
    let text = if own_style {
        format!("{scheme}://{host}{port}{path}/{bucket}")
    } else {
        format!("{scheme}://{bucket}.{host}{port}{path}")
    };
    url::Url::parse(&text).map_err(|_| wanted.invalid("the endpoint and the bucket's name don't work together"))
}

fn with_keys(
    wanted: &Wanted<'_>,
    builder: AmazonS3Builder,
    profile: &BTreeMap<String, String>,
) -> Result<AmazonS3Builder, StoreError> {
    let id = match wanted.options.get("access_key_id") {
        Some(id) => Some(id.to_owned()),
        None => wanted.secret("access_key_id", "AWS_ACCESS_KEY_ID")?,
    };
    let secret = wanted.secret("secret_access_key", "AWS_SECRET_ACCESS_KEY")?;
    let token = wanted.secret("session_token", "AWS_SESSION_TOKEN")?;
    // A profile named for this destination means its keys, whatever the environment holds for others.
    let has_own = wanted.options.get("access_key_id").is_some() || wanted.options.get("access_key_id_file").is_some();
    let named = wanted.options.get("profile").is_some() && !has_own;
    let (id, secret, token) = match (id, secret) {
        (Some(id), Some(secret)) if !named => (id, secret, token),
        (Some(_), None) if !named => {
            return Err(wanted.no_keys(
                "an access key was given without its secret",
                "set secret_access_key_file or AWS_SECRET_ACCESS_KEY",
            ));
        }
        (None, Some(_)) if !named => {
            return Err(
                wanted.no_keys("a secret was given without its access key", "set access_key_id or AWS_ACCESS_KEY_ID")
            );
        }
        _ => {
            let keys = profile.get("aws_access_key_id").cloned().zip(profile.get("aws_secret_access_key").cloned());
            let Some((id, secret)) = keys else { return with_role(wanted, builder) };
            (id, secret, profile.get("aws_session_token").cloned())
        }
    };
    if [Some(&id), token.as_ref()].into_iter().flatten().any(|text| !text.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(wanted.no_keys("the access key or the session token contains invalid characters", KEYS_ADVICE));
    }
    let builder = builder.with_access_key_id(id).with_secret_access_key(secret);
    Ok(match token {
        Some(token) => builder.with_token(token),
        None => builder,
    })
}

fn with_role(wanted: &Wanted<'_>, mut builder: AmazonS3Builder) -> Result<AmazonS3Builder, StoreError> {
    let mut has_role = wanted.flag("instance_role")?;
    for (variable, key) in ROLE_VARIABLES {
        if let Some(value) = wanted.context.variable(variable) {
            builder = builder.with_config(*key, value);
            has_role = true;
        }
    }
    if has_role { Ok(builder) } else { Err(wanted.no_keys("no access key was found", KEYS_ADVICE)) }
}
