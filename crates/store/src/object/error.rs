//! What a store's refusal means: the error codes of S3, Azure and Google, distinguished by what can be done about them.

use ::http::{
    HeaderMap, Method, StatusCode,
    header::{CONTENT_TYPE, ETAG},
};

use crate::{
    error::{Kind, Operation, StoreError},
    http,
};

/// Words of the server that are worth showing.
const MAX_TEXT: usize = 300;

/// S3 assembles an object while it already says 200, and may then fail in the answer's body.
pub(super) fn hides_in_success(method: &Method, body: &[u8]) -> bool {
    method == Method::POST && element(&String::from_utf8_lossy(&body[..body.len().min(4096)]), "Error").is_some()
}

/// A success that the store can't have meant: a page for people, or something that is not a listing. Networks with a
/// login page and wrong endpoints answer like that.
pub(super) fn is_foreign(method: &Method, query: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    let start = String::from_utf8_lossy(&body[..body.len().min(4096)]).to_lowercase();
    let lists = |what: &str| *method == Method::GET && query.split('&').any(|pair| pair == what);
    if lists("list-type=2") || lists("comp=list") {
        return !start.contains("<listbucketresult") && !start.contains("<enumerationresults");
    }
    let is_page = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let begins_as_page = start.trim_start().starts_with("<!doctype html") || start.trim_start().starts_with("<html");
    // Whatever an object holds, the store names it by a tag.
    let may_be_bodiless = *method == Method::HEAD;
    (begins_as_page || (is_page && may_be_bodiless)) && !headers.contains_key(ETAG)
}

/// `own`: the store itself answered, not the service that was asked for credentials.
pub(super) fn understand(
    destination: &str,
    operation: Operation,
    own: bool,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> StoreError {
    let body = String::from_utf8_lossy(&body[..body.len().min(64 << 10)]);
    if !own && status.is_client_error() && !matches!(status.as_u16(), 408 | 429) {
        let reason = format!("no access token was given for these credentials ({})", status.as_u16());
        return StoreError::remote(destination, operation, Kind::Credentials, reason).advise(KEYS_ADVICE);
    }
    let code = headers
        .get("x-ms-error-code")
        .and_then(|code| code.to_str().ok())
        .map(str::to_owned)
        .or_else(|| element(&body, "Code"));
    let code = code.unwrap_or_default();
    let text = element(&body, "Message").unwrap_or_default();
    let text: String =
        text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect();
    if let Some(error) = moved(destination, operation, status, headers, &code, &body) {
        return error;
    }
    if let Some((kind, advice)) = meaning_by_text(&text) {
        return StoreError::remote(destination, operation, kind, format!("the store answered {code}: {text}"))
            .advise(advice);
    }
    let Some((kind, advice)) = meaning(&code, headers) else {
        let said = if code.is_empty() { text } else { format!("{code}: {text}") };
        return match status.as_u16() {
            409 => StoreError::remote(destination, operation, Kind::Exists, "the name already exists"),
            _ => http::refused(destination, operation, status, headers, &said),
        };
    };
    let reason = if text.is_empty() {
        format!("the store answered {code}")
    } else {
        format!("the store answered {code}: {text}")
    };
    let error = StoreError::remote(destination, operation, kind, reason);
    if advice.is_empty() { error } else { error.advise(advice) }
}

const KEYS_ADVICE: &str =
    "check the access key and its secret; they come from the destination's options, the environment or the profile";
const RIGHTS_ADVICE: &str =
    "the key must be allowed to list the bucket and to read, write and delete objects below the prefix";

/// What only the text shows.
fn meaning_by_text(text: &str) -> Option<(Kind, String)> {
    let text = text.to_lowercase();
    // Backblaze says AccessDenied.
    if text.contains("storage cap exceeded") {
        return Some((
            Kind::Full { missing: None },
            "raise the storage cap on Backblaze's page \"Caps & Alerts\", or free some space".to_owned(),
        ));
    }
    if text.contains("cap exceeded") {
        return Some((
            Kind::Permission,
            "a daily cap is used up: raise it on Backblaze's page \"Caps & Alerts\", or try again tomorrow".to_owned(),
        ));
    }
    if text.contains("part number must be") {
        let most = text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<u32>().ok()).max();
        let most = most.filter(|most| *most > 1).map_or_else(|| "1000".to_owned(), |most| most.to_string());
        return Some((
            Kind::Protocol,
            format!(
                "this store takes fewer parts than others: set max_parts = {most} for this destination in haul.toml"
            ),
        ));
    }
    None
}

/// By code, because one status means many things. `None`: the status has to decide.
fn meaning(code: &str, headers: &HeaderMap) -> Option<(Kind, &'static str)> {
    let transient = Kind::Transient { retry_after: http::retry_after(headers) };
    Some(match code {
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidSecurity"
        | "NotSignedUp"
        | "AuthenticationFailed"
        | "InvalidAuthenticationInfo"
        | "NoAuthenticationInformation"
        | "UnauthorizedAccess"
        | "Unauthorized"
        | "AuthenticationRequired" => (Kind::Credentials, KEYS_ADVICE),
        "ExpiredToken" | "TokenRefreshRequired" | "InvalidToken" | "ExpiredTokenException" => (
            Kind::Credentials,
            "the session token has expired or is not valid: get a new one, or use a key that does not expire",
        ),
        "RequestTimeTooSkewed" | "RequestExpired" => {
            (Kind::Credentials, "this machine's clock is wrong: correct it, preferably with NTP")
        }
        "AccessDenied"
        | "AllAccessDisabled"
        | "AccountProblem"
        | "AuthorizationFailure"
        | "AuthorizationPermissionMismatch"
        | "InsufficientAccountPermissions"
        | "AuthorizationProtocolMismatch"
        | "AuthorizationSourceIPMismatch"
        | "AccountIsDisabled" => (Kind::Permission, RIGHTS_ADVICE),
        "NoSuchBucket" | "ContainerNotFound" | "ContainerBeingDeleted" | "ResourceNotFound" => {
            (Kind::NotFound, "check the bucket's name; Haul does not create buckets")
        }
        "NoSuchKey" | "BlobNotFound" => (Kind::NotFound, ""),
        "NoSuchUpload" | "InvalidPart" | "InvalidPartOrder" | "InvalidBlockList" | "InvalidBlockId" => (Kind::Lost, ""),
        "SlowDown"
        | "ServiceUnavailable"
        | "InternalError"
        | "ServerBusy"
        | "OperationTimedOut"
        | "RequestTimeout"
        | "OperationAborted"
        | "Busy"
        | "ConditionalRequestConflict"
        | "BadDigest"
        | "Md5Mismatch"
        | "XAmzContentSHA256Mismatch"
        | "IncompleteBody"
        | "TooManyRequests"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded" => (transient, ""),
        "QuotaExceeded"
        | "QuotaExceededException"
        | "XMinioStorageFull"
        | "InsufficientStorage"
        | "StorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "CapExceeded"
        | "storage_cap_exceeded"
        | "AccountLimitExceeded" => (Kind::Full { missing: None }, "free some space there or raise the limit"),
        "EntityTooLarge" | "MaxMessageLengthExceeded" | "RequestBodyTooLarge" => {
            (Kind::Protocol, "choose a smaller part_size")
        }
        "EntityTooSmall" => (Kind::Protocol, "choose a larger part_size"),
        "PreconditionFailed" | "BlobAlreadyExists" | "ObjectAlreadyInActiveTierError" => (Kind::Exists, ""),
        "InvalidBucketName"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException"
        | "InvalidResourceName"
        | "KeyTooLongError" => (Kind::Invalid, "check the bucket's name and its region"),
        _ => return None,
    })
}

/// The bucket lives in another region.
fn moved(
    destination: &str,
    operation: Operation,
    status: StatusCode,
    headers: &HeaderMap,
    code: &str,
    body: &str,
) -> Option<StoreError> {
    let elsewhere = status.is_redirection()
        || matches!(code, "PermanentRedirect" | "AuthorizationHeaderMalformed" | "TemporaryRedirect");
    if !elsewhere || status == StatusCode::NOT_MODIFIED {
        return None;
    }
    let region = headers
        .get("x-amz-bucket-region")
        .and_then(|region| region.to_str().ok())
        .map(str::to_owned)
        .or_else(|| element(body, "Region"));
    let error = match &region {
        Some(region) => {
            StoreError::remote(destination, operation, Kind::Invalid, format!("the bucket is in region {region}"))
        }
        None => StoreError::remote(destination, operation, Kind::Invalid, "the store redirects to another address"),
    };
    Some(match region {
        Some(region) => error.advise(format!("set region = \"{region}\" for this destination, or AWS_REGION")),
        None => error.advise("check the endpoint and the region"),
    })
}

/// The text of the first element of this name; enough for the flat documents that errors are.
pub(super) fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inside, _) = rest.split_once(&format!("</{name}>"))?;
    Some(unescape(inside))
}

/// All elements of this name that do not hold each other.
pub(super) fn elements<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((inside, after)) = rest.split_once(&open).and_then(|(_, after)| after.split_once(&close)) {
        found.push(inside);
        rest = after;
    }
    found
}

fn unescape(text: &str) -> String {
    quick_xml::escape::unescape(text).map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use std::time::Duration;

    use super::*;

    fn refused(status: u16, code: &str) -> StoreError {
        let body =
            format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>Because &amp; so.</Message></Error>");
        understand(
            "s3://b",
            Operation::Write,
            true,
            StatusCode::from_u16(status).unwrap(),
            &HeaderMap::new(),
            body.as_bytes(),
        )
    }

    #[test]
    fn codes_tell_apart_what_a_status_does_not() {
        assert_eq!(refused(403, "SignatureDoesNotMatch").kind(), Some(Kind::Credentials));
        assert_eq!(refused(403, "AccessDenied").kind(), Some(Kind::Permission));
        assert_eq!(refused(400, "ExpiredToken").kind(), Some(Kind::Credentials));
        assert_eq!(refused(404, "NoSuchUpload").kind(), Some(Kind::Lost));
        assert_eq!(refused(404, "NoSuchBucket").kind(), Some(Kind::NotFound));
        assert_eq!(refused(400, "RequestTimeout").kind(), Some(Kind::Transient { retry_after: None }));
        assert_eq!(refused(403, "QuotaExceeded").kind(), Some(Kind::Full { missing: None }));
        assert_eq!(refused(507, "Whatever").kind(), Some(Kind::Full { missing: None }));
        assert_eq!(refused(503, "").kind(), Some(Kind::Transient { retry_after: None }));
        assert_eq!(refused(412, "").kind(), Some(Kind::Exists));
    }

    #[test]
    fn the_servers_text_is_passed_on() {
        assert_eq!(
            refused(403, "AccessDenied").to_string(),
            "could not write to s3://b: the store answered AccessDenied: Because & so."
        );
    }

    #[test]
    fn slow_down_says_how_long() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "9".parse().unwrap());
        let error = understand(
            "s3://b",
            Operation::Write,
            true,
            StatusCode::SERVICE_UNAVAILABLE,
            &headers,
            b"<Error><Code>SlowDown</Code></Error>",
        );
        assert_eq!(error.retry_after(), Some(Duration::from_secs(9)));
    }

    #[test]
    fn another_region_is_named() {
        let body = b"<Error><Code>PermanentRedirect</Code><Region>eu-central-1</Region></Error>";
        let error =
            understand("s3://b", Operation::Connect, true, StatusCode::MOVED_PERMANENTLY, &HeaderMap::new(), body);
        assert_eq!(error.to_string(), "can't use s3://b: the bucket is in region eu-central-1");
    }
}
