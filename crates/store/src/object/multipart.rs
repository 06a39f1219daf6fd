//! Uploads in numbered parts: what S3, Google and Azure have in common, and the form that S3 and Google share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{AUTHORIZATION, CONTENT_LENGTH, ETAG},
};
use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use md5::{Digest, Md5};
use object_store::{
    Attribute, Attributes, ObjectStore, ObjectStoreExt, PutMultipartOptions,
    aws::{AwsAuthorizer, AwsCredentialProvider},
    client::{HttpRequest, HttpRequestBody},
    gcp::GcpCredentialProvider,
    multipart::{MultipartStore, PartId},
    path::Path,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    error::{element, elements},
    wire::{Call, Wire},
};
use crate::{
    error::{Kind, Operation, StoreError},
    parts::{Part, Segments},
    store::PartRules,
};

/// Name of the metadata by which an upload recognises its own object. Azure wants it to be an identifier.
pub(super) const MARK: &str = "haulupload";
/// What a path keeps as it is, in the form that is signed.
pub(super) const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// Parts that an upload may have at S3 itself, and at most stores that speak it.
pub(super) const MOST_PARTS: u32 = 10_000;
/// An archive is listed by the page; more pages than this are somebody's mistake.
const MOST_PAGES: usize = 1000;

/// A part that the store has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    /// What names it when the object is put together.
    pub(super) tag: String,
    /// The store computed a checksum of it that is ours.
    pub(super) proven: bool,
}

/// Number, tag and length of a part, as the store lists it.
pub(super) type Listed = (u32, String, u64);

/// An upload that was begun and not ended.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) key: String,
    pub(super) id: String,
    pub(super) begun: Option<SystemTime>,
}

/// A store's uploads in parts. Like a [`Store`](crate::Store), it makes one attempt per call.
#[async_trait]
pub(super) trait Multipart: Send + Sync {
    fn rules(&self) -> PartRules;

    /// Begins an object that will carry `mark`.
    async fn begin(&self, key: &Path, mark: &str) -> Result<String, StoreError>;

    async fn put(&self, key: &Path, id: &str, part: &Part, md5: [u8; 16]) -> Result<Arrived, StoreError>;

    /// Puts the object together, unless there is one.
    async fn finish(&self, key: &Path, id: &str, mark: &str, parts: &[Arrived]) -> Result<(), StoreError>;

    async fn cancel(&self, key: &Path, id: &str) -> Result<(), StoreError>;

    /// Removes a finished object.
    async fn remove(&self, key: &Path) -> Result<(), StoreError>;

    /// Number, tag and length of the parts that are there.
    async fn parts(&self, key: &Path, id: &str) -> Result<Vec<Listed>, StoreError>;

    /// Uploads that were begun for keys with this prefix.
    async fn pending(&self, prefix: &str) -> Result<Vec<Pending>, StoreError>;

    /// Headers with a checksum of a small object's bytes. Buckets with Object Lock refuse a `PUT` without one.
    fn checksum(&self, _: &[u8]) -> HeaderMap {
        HeaderMap::new()
    }

    /// Whether the bucket keeps what was removed or replaced as old versions.
    async fn keeps_versions(&self) -> Result<bool, StoreError> {
        Ok(false)
    }
}

/// Our credentials, for the requests for which the library has no call.
#[derive(Debug)]
pub(super) enum Signer {
    Aws { credentials: AwsCredentialProvider, region: String },
    Google { credentials: GcpCredentialProvider },
}

/// S3's form of uploads, which Google has as well.
pub(super) struct Numbered<T> {
    pub(super) wire: Wire,
    pub(super) store: Arc<T>,
    pub(super) signer: Signer,
    /// URL of the bucket.
    pub(super) bucket: String,
    /// The header that refuses to replace an object.
    pub(super) condition: (&'static str, &'static str),
    /// The store does not know that header.
    pub(super) unconditional: AtomicBool,
    /// How many parts an upload may have.
    pub(super) most_parts: u32,
}

impl<T: MultipartStore + ObjectStore> Numbered<T> {
    async fn complete(&self, key: &Path, id: &str, parts: &[Arrived], conditional: bool) -> Result<(), StoreError> {
        let mut headers = HeaderMap::new();
        if conditional {
            headers.insert(HeaderName::from_static(self.condition.0), HeaderValue::from_static(self.condition.1));
        }
        let parts = parts.iter().map(|part| PartId { content_id: part.tag.clone() }).collect();
        let id = id.to_owned();
        let work = self.store.complete_multipart(key, &id, parts);
        self.wire.ask(Call::new(Operation::Publish).with_headers(headers), work).await?;
        Ok(())
    }

    /// Some stores deny what concerns an upload they don't know, as if it were somebody else's. With nothing in it, it
    /// may as well be gone.
    async fn is_unknown(&self, key: &Path, id: &str) -> bool {
        match self.parts(key, id).await {
            Ok(parts) => parts.is_empty(),
            Err(error) => matches!(error.kind(), Some(Kind::Lost | Kind::NotFound)),
        }
    }

    /// A request below the bucket that the library has no call for.
    fn request(
        &self,
        operation: Operation,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<HttpRequest, StoreError> {
        let query: Vec<String> = query.iter().map(|(key, value)| format!("{key}={}", encode_value(value))).collect();
        let url = format!("{}/{path}?{}", self.bucket, query.join("&"));
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = method;
        *request.uri_mut() =
            url.parse().map_err(|_| self.wire.error(operation, Kind::Invalid, "the address is not valid"))?;
        Ok(request)
    }

    /// Signs the request as it is, including all headers. The body is not read: a header vouches for it.
    async fn sign(&self, operation: Operation, request: &mut HttpRequest) -> Result<(), StoreError> {
        let signed = async {
            match &self.signer {
                Signer::Aws { credentials, region } => {
                    let credential = credentials.get_credential().await?;
                    let has_body = request.method() == Method::PUT;
                    AwsAuthorizer::new(&credential, "s3", region)
                        .with_sign_payload(!has_body)
                        .try_authorize(request, None)?;
                }
                Signer::Google { credentials } => {
                    let credential = credentials.get_credential().await?;
                    if let Ok(value) = HeaderValue::from_str(&format!("Bearer {}", credential.bearer))
                        && !credential.bearer.is_empty()
                    {
                        request.headers_mut().insert(AUTHORIZATION, value);
                    }
                }
            }
            Ok(())
        };
        self.wire.ask(Call::new(operation), signed).await
    }

    /// Asks for a page of XML below the bucket.
    async fn page(&self, operation: Operation, path: &str, query: &[(&str, &str)]) -> Result<String, StoreError> {
        let mut request = self.request(operation, Method::GET, path, query)?;
        self.sign(operation, &mut request).await?;
        let answer = self.wire.send(Call::new(operation), request).await?;
        Ok(String::from_utf8_lossy(answer.body()).into_owned())
    }
}

#[async_trait]
impl<T: MultipartStore + ObjectStore> Multipart for Numbered<T> {
    fn rules(&self) -> PartRules {
        PartRules { smallest: 5 << 20, largest: 5 << 30, most: self.most_parts, equal: true }
    }

    async fn begin(&self, key: &Path, mark: &str) -> Result<String, StoreError> {
        let mut attributes = Attributes::new();
        attributes.insert(Attribute::ContentType, "application/x-tar".into());
        attributes.insert(Attribute::Metadata(MARK.into()), mark.to_owned().into());
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        self.wire.ask(Call::new(Operation::Create), self.store.create_multipart_opts(key, options)).await
    }

    /// The library's own call hashes the part with SHA-256 when the line is not encrypted. Its MD5 is known already and
    /// has to be, since that is what most stores name a part by; as a signed header it binds the bytes to the request
    /// just as well, and a part is hashed once.
    async fn put(&self, key: &Path, id: &str, part: &Part, md5: [u8; 16]) -> Result<Arrived, StoreError> {
        let path = utf8_percent_encode(key.as_ref(), KEPT).to_string();
        let number = (part.index + 1).to_string();
        let mut request =
            self.request(Operation::Write, Method::PUT, &path, &[("partNumber", &number), ("uploadId", id)])?;
        // A server that checks it refuses a part that was damaged on its way, whatever its tag means.
        request.headers_mut().extend(md5_header(md5));
        request.headers_mut().insert(CONTENT_LENGTH, part.data.len().into());
        self.sign(Operation::Write, &mut request).await?;
        let answer = self.wire.send(Call::new(Operation::Write).with_body(&part.data, &part.activity), request).await?;
        let tag = answer.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
        let tag = tag.ok_or_else(|| {
            self.wire.error(Operation::Write, Kind::Protocol, "it accepted a part without returning its ETag")
        })?;
        Ok(Arrived { tag: tag.to_owned(), proven: bare(tag).eq_ignore_ascii_case(&HEXLOWER.encode(&md5)) })
    }

    async fn finish(&self, key: &Path, id: &str, _: &str, parts: &[Arrived]) -> Result<(), StoreError> {
        let conditional = !self.unconditional.load(Ordering::Relaxed);
        match self.complete(key, id, parts, conditional).await {
            // Some stores know no such condition. The caller has checked just before.
            Err(error) if conditional && error.kind() == Some(Kind::Protocol) => {
                self.complete(key, id, parts, false).await?;
                self.unconditional.store(true, Ordering::Relaxed);
                Ok(())
            }
            done => done,
        }
    }

    async fn cancel(&self, key: &Path, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        match self.wire.ask(Call::new(Operation::Delete), self.store.abort_multipart(key, &id)).await {
            Err(error) if matches!(error.kind(), Some(Kind::Lost | Kind::NotFound)) => Ok(()),
            Err(error) if error.kind() == Some(Kind::Permission) && self.is_unknown(key, id.as_str()).await => Ok(()),
            done => done,
        }
    }

    async fn remove(&self, key: &Path) -> Result<(), StoreError> {
        self.wire.ask(Call::new(Operation::Delete), self.store.delete(key)).await
    }

    async fn parts(&self, key: &Path, id: &str) -> Result<Vec<Listed>, StoreError> {
        let path = utf8_percent_encode(key.as_ref(), KEPT).to_string();
        let mut found = Vec::new();
        let mut after = "0".to_owned();
        for _ in 0..MOST_PAGES {
            let page = self
                .page(
                    Operation::Create,
                    &path,
                    &[("max-parts", "1000"), ("part-number-marker", &after), ("uploadId", id)],
                )
                .await?;
            for part in elements(&page, "Part") {
                let number = element(part, "PartNumber")
                    .and_then(|number| number.parse::<u32>().ok())
                    .and_then(|number| number.checked_sub(1));
                let size = element(part, "Size").and_then(|size| size.parse().ok());
                if let (Some(number), Some(tag), Some(size)) = (number, element(part, "ETag"), size) {
                    found.push((number, tag, size));
                }
            }
            match element(&page, "NextPartNumberMarker")
                .filter(|_| element(&page, "IsTruncated").as_deref() == Some("true"))
            {
                Some(next) => after = next,
                None => break,
            }
        }
        Ok(found)
    }

    fn checksum(&self, bytes: &[u8]) -> HeaderMap {
        md5_header(Md5::digest(bytes).into())
    }

    async fn keeps_versions(&self) -> Result<bool, StoreError> {
        let page = self.page(Operation::Connect, "", &[("versioning", "")]).await?;
        Ok(element(&page, "Status").as_deref() == Some("Enabled"))
    }

    async fn pending(&self, prefix: &str) -> Result<Vec<Pending>, StoreError> {
        let mut found = Vec::new();
        let (mut key_marker, mut id_marker) = (String::new(), String::new());
        for _ in 0..MOST_PAGES {
            let mut query = vec![("delimiter", "/"), ("max-uploads", "1000"), ("prefix", prefix), ("uploads", "")];
            if !key_marker.is_empty() {
                query.extend([("key-marker", &*key_marker), ("upload-id-marker", &*id_marker)]);
            }
            let page = self.page(Operation::List, "", &query).await?;
            for upload in elements(&page, "Upload") {
                let begun = element(upload, "Initiated")
                    .and_then(|text| text.parse::<jiff::Timestamp>().ok())
                    .map(SystemTime::from);
                if let (Some(key), Some(id)) = (element(upload, "Key"), element(upload, "UploadId")) {
                    found.push(Pending { key, id, begun });
                }
            }
            let next =
                element(&page, "NextKeyMarker").filter(|_| element(&page, "IsTruncated").as_deref() == Some("true"));
            let Some(next) = next else { break };
            (key_marker, id_marker) = (next, element(&page, "NextUploadIdMarker").unwrap_or_default());
        }
        Ok(found)
    }
}

fn md5_header(md5: [u8; 16]) -> HeaderMap {
    let value = HeaderValue::from_str(&BASE64_STANDARD.encode(md5)).ok();
    value.into_iter().map(|value| (HeaderName::from_static("content-md5"), value)).collect()
}

fn encode_value(value: &str) -> String {
    utf8_percent_encode(value, KEPT).to_string().replace('/', "%2F")
}

/// MD5 of a part.
pub(super) fn digest(data: &Segments) -> [u8; 16] {
    let mut md5 = Md5::new();
    for piece in data.pieces() {
        md5.update(piece);
    }
    md5.finalize().into()
}

/// An ETag without what is around it.
pub(super) fn bare(tag: &str) -> &str {
    tag.trim().trim_start_matches("W/").trim_matches('"')
}

/// Whether a tag has the form of an MD5.
pub(super) fn is_md5(tag: &str) -> bool {
    let tag = bare(tag);
    tag.len() == 32 && tag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The tag of an object that was put together from parts with these tags, by S3's rule: MD5 of their MD5s, and how many
/// there were.
pub(super) fn whole_tag(parts: &[Arrived]) -> Option<String> {
    let mut md5 = Md5::new();
    for part in parts {
        let tag = bare(&part.tag);
        if !is_md5(tag) {
            return None;
        }
        md5.update(&HEXLOWER_PERMISSIVE.decode(tag.as_bytes()).ok()?);
    }
    Some(format!("{}-{}", HEXLOWER.encode(&md5.finalize()), parts.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_the_whole_follows_from_those_of_the_parts() {
        // Two parts, "hello" and "world": md5(md5("hello") + md5("world")).
        let part = |tag: &str| Arrived { tag: format!("\"{tag}\""), proven: true };
        let parts = [part("5d41402abc4b2a76b9719d911017c592"), part("7d793037a0760186574b0282f2f435e7")];
        let digests = [Md5::digest(b"hello").as_slice(), Md5::digest(b"world").as_slice()].concat();
        assert_eq!(whole_tag(&parts), Some(format!("{}-2", HEXLOWER.encode(&Md5::digest(digests)))));
        assert_eq!(whole_tag(&[part("opaque")]), None);
    }
}
