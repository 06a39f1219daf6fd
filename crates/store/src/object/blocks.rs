//! Azure's form of uploads: blocks with names that we choose; a list of those names makes a blob of them.
//!
//! The library gives blocks random names and puts the list without a condition, so these requests are our own. The
//! names hold the upload's number: two uploads for the same name can't mix.

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{CONTENT_LENGTH, IF_NONE_MATCH},
};
use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use data_encoding::HEXLOWER;
use object_store::{
    azure::{AzureAuthorizer, AzureCredential, AzureCredentialProvider},
    client::{HttpRequest, HttpRequestBody},
    path::Path,
};
use percent_encoding::utf8_percent_encode;

use super::{
    error::{element, elements},
    multipart::{Arrived, KEPT, Listed, MARK, Multipart, Pending},
    wire::{Call, Wire},
};
use crate::{
    error::{Kind, Operation, StoreError},
    parts::{Activity, Part, Segments},
    store::PartRules,
};

pub(super) struct Blocks {
    pub(super) wire: Wire,
    pub(super) credentials: AzureCredentialProvider,
    pub(super) account: String,
    /// URL of the container.
    pub(super) container: String,
}

impl Blocks {
    async fn send(
        &self,
        operation: Operation,
        method: Method,
        target: (&Path, &str),
        headers: HeaderMap,
        body: Option<(&Segments, &Activity)>,
    ) -> Result<String, StoreError> {
        let (key, query) = target;
        let credential = self.wire.ask(Call::new(operation), self.credentials.get_credential()).await?;
        let mut url = format!("{}/{}?{query}", self.container, utf8_percent_encode(key.as_ref(), KEPT));
        if let AzureCredential::SASToken(pairs) = &*credential {
            for (name, value) in pairs {
                url.push('&');
                url.extend(utf8_percent_encode(name, KEPT));
                url.push('=');
                url.push_str(&utf8_percent_encode(value, KEPT).to_string().replace('/', "%2F"));
            }
        }
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = method;
        *request.uri_mut() =
            url.parse().map_err(|_| self.wire.error(operation, Kind::Invalid, "the address is not valid"))?;
        *request.headers_mut() = headers;
        if let Some((data, _)) = body {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(data.len()));
        }
        if matches!(&*credential, AzureCredential::SASToken(_)) {
            request.headers_mut().insert("x-ms-version", HeaderValue::from_static("2023-11-03"));
        } else {
            let signed = AzureAuthorizer::new(&credential, &self.account).try_authorize(&mut request);
            signed.map_err(|_| self.wire.error(operation, Kind::Credentials, "the access key can't be used"))?;
        }
        let call = match body {
            Some((data, activity)) => Call::new(operation).with_body(data, activity),
            None => Call::new(operation),
        };
        let answer = self.wire.send(call, request).await?;
        Ok(String::from_utf8_lossy(answer.body()).into_owned())
    }
}

/// All names of a blob's blocks must have the same length.
fn block_name(id: &str, index: u32) -> String {
    format!("{id}-{index:05}")
}

#[async_trait]
impl Multipart for Blocks {
    fn rules(&self) -> PartRules {
        // Azure takes any size; below this, most of the time goes into asking.
        PartRules { smallest: 1 << 20, largest: 4000 << 20, most: 50_000, equal: false }
    }

    async fn begin(&self, _: &Path, _: &str) -> Result<String, StoreError> {
        let mut random = [0; 8];
        let filled = getrandom::fill(&mut random);
        filled.map_err(|_| {
            self.wire.error(Operation::Create, Kind::Invalid, "this machine provides no random numbers")
        })?;
        Ok(HEXLOWER.encode(&random))
    }

    async fn put(&self, key: &Path, id: &str, part: &Part, md5: [u8; 16]) -> Result<Arrived, StoreError> {
        let tag = block_name(id, part.index);
        let query = format!("comp=block&blockid={}", utf8_percent_encode(&BASE64_STANDARD.encode(&tag), KEPT));
        let mut headers = HeaderMap::new();
        // The service compares, and refuses what was damaged on its way.
        if let Ok(value) = HeaderValue::from_str(&BASE64_STANDARD.encode(md5)) {
            headers.insert("content-md5", value);
        }
        self.send(Operation::Write, Method::PUT, (key, &query), headers, Some((&part.data, &part.activity))).await?;
        Ok(Arrived { tag, proven: true })
    }

    async fn finish(&self, key: &Path, _: &str, mark: &str, parts: &[Arrived]) -> Result<(), StoreError> {
        let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
        for part in parts {
            list.push_str("<Uncommitted>");
            list.push_str(&BASE64_STANDARD.encode(&part.tag));
            list.push_str("</Uncommitted>");
        }
        list.push_str("</BlockList>");
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        headers.insert("x-ms-blob-content-type", HeaderValue::from_static("application/x-tar"));
        if let (Ok(name), Ok(mark)) =
            (HeaderName::from_bytes(format!("x-ms-meta-{MARK}").as_bytes()), HeaderValue::from_str(mark))
        {
            headers.insert(name, mark);
        }
        let body = Segments::from(bytes::Bytes::from(list));
        self.send(
            Operation::Publish,
            Method::PUT,
            (key, "comp=blocklist"),
            headers,
            Some((&body, &Activity::default())),
        )
        .await?;
        Ok(())
    }

    async fn cancel(&self, _: &Path, _: &str) -> Result<(), StoreError> {
        // There is no such request: what is never put together is forgotten after a week.
        Ok(())
    }

    async fn remove(&self, key: &Path) -> Result<(), StoreError> {
        // The library only knows the form that removes many at once, and hides why one of them stays.
        self.send(Operation::Delete, Method::DELETE, (key, ""), HeaderMap::new(), None).await.map(drop)
    }

    async fn parts(&self, key: &Path, id: &str) -> Result<Vec<Listed>, StoreError> {
        let listed = self
            .send(
                Operation::Create,
                Method::GET,
                (key, "comp=blocklist&blocklisttype=uncommitted"),
                HeaderMap::new(),
                None,
            )
            .await?;
        let block = |text: &str| {
            let name = BASE64_STANDARD.decode(element(text, "Name")?).ok()?;
            let name = String::from_utf8(name).ok()?;
            let index = name.strip_prefix(id)?.strip_prefix('-')?.parse().ok()?;
            Some((index, name, element(text, "Size")?.parse().ok()?))
        };
        let found: Vec<_> = elements(&listed, "Block").into_iter().filter_map(block).collect();
        Ok(found)
    }

    async fn pending(&self, _: &str) -> Result<Vec<Pending>, StoreError> {
        Ok(Vec::new())
    }
}
