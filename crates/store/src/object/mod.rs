//! S3 and every compatible store, Azure Blob Storage, Google Cloud Storage: buckets that accept an archive in numbered
//! parts.
//!
//! Signing, addresses and the plain calls are `object_store`'s; what happens to an archive on its way is ours. Nothing
//! is visible under an archive's name before its parts are put together, and that is refused when the name already
//! exists.
//!
//! A killed run leaves parts that cost money and that no listing shows. A `claim` beside the archive says whose they
//! are, so that `abandoned` can end them in the next run. Azure drops uncommitted blocks after a week by itself, and
//! has no other way; there the claim only says who may continue.
//!
//! | module | owns |
//! |---|---|
//! | `connect`, `settings` | connecting; the kind of store, and the user's settings for it |
//! | `s3`, `azure`, `google` | where the credentials of each kind come from |
//! | `bucket` | its objects, by name |
//! | `bucket_store` | the bucket as a [`Store`](crate::Store) |
//! | `upload`, `multipart`, `blocks` | an archive's parts; S3's and Google's form; Azure's |
//! | `claim`, `abandoned` | whose unfinished uploads are whose, and ending those that nobody wants |
//! | `wire`, `error` | sending requests; what a refusal means |
//! | `profile` | the files of the AWS command line |

mod abandoned;
mod azure;
mod blocks;
mod bucket;
mod bucket_store;
mod claim;
mod connect;
mod error;
mod google;
mod multipart;
mod profile;
mod s3;
mod settings;
mod upload;
mod wire;

use connect::connect;

use crate::scheme::Scheme;

/// S3, and every store that speaks it.
pub(crate) const S3: Scheme = Scheme {
    names: &["s3"],
    example: "s3://bucket/prefix",
    service: "S3 and every store that speaks it",
    keys: &[
        "access_key_id",
        "access_key_id_file",
        "allow_http",
        "endpoint",
        "instance_role",
        "max_parts",
        "path_style",
        "profile",
        "region",
        "secret_access_key_file",
        "session_token_file",
    ],
    connect: |url, options, context| Box::pin(connect(url, options, context)),
};

/// Azure Blob Storage.
pub(crate) const AZURE: Scheme = Scheme {
    names: &["azblob"],
    example: "azblob://container/prefix",
    service: "Azure Blob Storage",
    keys: &["access_key_file", "account", "allow_http", "endpoint", "instance_role", "sas_token_file"],
    connect: |url, options, context| Box::pin(connect(url, options, context)),
};

/// Google Cloud Storage.
pub(crate) const GOOGLE: Scheme = Scheme {
    names: &["gs"],
    example: "gs://bucket/prefix",
    service: "Google Cloud Storage",
    keys: &["allow_http", "credentials_file", "endpoint", "instance_role"],
    connect: |url, options, context| Box::pin(connect(url, options, context)),
};
