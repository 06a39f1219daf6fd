//! Connects by an address, options and environment, and makes a first request.

use std::sync::Arc;

use url::Url;

use super::{
    azure,
    bucket::Bucket,
    bucket_store, google, s3,
    settings::{Backend, Wanted},
};
use crate::{
    context::{Context, Options, invalid},
    error::StoreError,
    redact,
    store::Store,
};

/// Connects and asks what the destination can do.
pub(super) async fn connect(url: &Url, options: &Options, context: &Context) -> Result<Arc<dyn Store>, StoreError> {
    let destination = redact::url(url).trim_end_matches('/').to_owned();
    if !url.username().is_empty() || url.port().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(invalid(&destination, "the address of a bucket must be SCHEME://BUCKET/PREFIX")
            .advise("endpoint, region and keys are options of the destination in haul.toml"));
    }
    let decoded =
        |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
    let bucket = url.host_str().and_then(|host| decoded(host).ok()).filter(|host| !host.is_empty());
    let bucket = bucket.ok_or_else(|| invalid(&destination, "the address names no bucket"))?;
    let prefix =
        decoded(url.path()).map_err(|_| invalid(&destination, "the path is not UTF-8"))?.trim_matches('/').to_owned();
    if prefix.split('/').any(|step| step == "." || step == ".." || (step.is_empty() && !prefix.is_empty())) {
        return Err(invalid(&destination, "the path contains an empty component, . or .."));
    }
    let wanted = Wanted { destination, bucket, options, context };
    let backend = match url.scheme() {
        "s3" => s3::open(&wanted)?,
        "azblob" => azure::open(&wanted)?,
        _ => google::open(&wanted)?,
    };
    let preferred = wanted.part_size(&*backend.multipart)?;
    let Backend { wire, objects, multipart } = backend;
    bucket_store::open(Bucket { wire, objects, multipart, prefix, keeps_everything: Arc::default() }, preferred).await
}
