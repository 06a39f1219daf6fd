//! What an answer of Supervisor means: its data, or an error in its own words.

use http::StatusCode;
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};

use crate::{
    error::{Error, Kind},
    secret::Secret,
    text::{sanitize, without},
};

/// What every answer is wrapped in.
#[derive(Deserialize)]
struct Envelope<T> {
    result: Option<String>,
    data: Option<T>,
    message: Option<String>,
    error_key: Option<String>,
    job_id: Option<String>,
}

/// What was asked, as far as its answer depends on it.
pub(crate) struct Asked<'a> {
    /// As in "create the mount `haul_nas`".
    pub(crate) operation: &'a str,
    /// What was sent in confidence.
    pub(crate) secrets: &'a [&'a Secret],
}

impl Asked<'_> {
    /// The data of an answer; `None` if it has none.
    pub(crate) fn data<T: DeserializeOwned>(&self, status: StatusCode, body: &[u8]) -> Result<Option<T>, Error> {
        if !status.is_success() {
            return Err(self.refusal(status, body));
        }
        let envelope: Envelope<T> = serde_json::from_slice(body).map_err(|error| {
            // A refusal need not have the shape of the data.
            match serde_json::from_slice::<Envelope<IgnoredAny>>(body) {
                Ok(envelope) if envelope.result.as_deref() == Some("error") => self.refused(status, &envelope),
                _ => self.strange(&error.to_string()),
            }
        })?;
        match envelope.result.as_deref() {
            Some("ok") => Ok(envelope.data),
            Some("error") => Err(self.refused(status, &envelope)),
            _ => Err(self.strange("it has no result")),
        }
    }

    /// An answer that is not as it should be.
    pub(crate) fn strange(&self, why: &str) -> Error {
        // serde's words can repeat a value.
        let why = without(why, self.secrets);
        Error::new(self.operation, Kind::Protocol, format!("the answer is not Supervisor's ({why})"))
    }

    /// An answer with the status of a failure.
    fn refusal(&self, status: StatusCode, body: &[u8]) -> Error {
        match serde_json::from_slice::<Envelope<IgnoredAny>>(body) {
            Ok(envelope) if envelope.result.as_deref() == Some("error") => self.refused(status, &envelope),
            _ => self.plain(status, body),
        }
    }

    /// An error in Supervisor's own words.
    fn refused<T>(&self, status: StatusCode, envelope: &Envelope<T>) -> Error {
        let said = without(envelope.message.as_deref().unwrap_or_default(), self.secrets);
        let kind = kind(status, &said, envelope.error_key.as_deref().unwrap_or_default());
        let reason = match said.as_str() {
            "" => format!("Supervisor refuses it without a reason ({})", status.as_u16()),
            said => format!("Supervisor says: {}", said.trim_end_matches('.')),
        };
        let mut error = Error::new(self.operation, kind, reason);
        error.said = Some(said.into_boxed_str()).filter(|said| !said.is_empty());
        error.job = envelope.job_id.as_deref().map(|job| sanitize(job).into_boxed_str());
        error
    }

    /// A failure that is not in Supervisor's own shape: its web server's, or that of something in between.
    fn plain(&self, status: StatusCode, body: &[u8]) -> Error {
        let code = status.as_u16();
        let (kind, reason) = match code {
            401 => (Kind::Token, "Supervisor does not accept the app's token (401)".to_owned()),
            403 => (Kind::Forbidden, "Supervisor does not allow it to this app (403)".to_owned()),
            404 | 405 => (Kind::Unsupported, format!("this Supervisor does not know the request ({code})")),
            502..=504 => (Kind::NotReady, format!("Home Assistant does not answer behind Supervisor ({code})")),
            500.. => (Kind::Failing, format!("Supervisor has an internal error ({code})")),
            300..=399 => (Kind::Protocol, format!("the answer leads elsewhere ({code})")),
            _ => (Kind::Refused, format!("Supervisor refuses it ({code})")),
        };
        let mut error = Error::new(self.operation, kind, reason);
        let said = without(&String::from_utf8_lossy(body), self.secrets);
        error.said = Some(said.into_boxed_str()).filter(|said| !said.is_empty());
        error
    }
}

/// Whether Supervisor's words say that it is at something else.
pub fn is_busy(said: &str) -> bool {
    said.contains("Another job is running") || said.contains("system is not running - ")
}

/// What Supervisor's words mean. It has a key for few of its errors, and older versions have none.
fn kind(status: StatusCode, said: &str, key: &str) -> Kind {
    let says = |words: &str| said.contains(words);
    match key {
        "backup_mount_down" => return Kind::MountDown,
        "mount_not_found_error" => return Kind::NotFound,
        _ => {}
    }
    if says("System is not ready with state") {
        Kind::NotReady
    } else if is_busy(said) {
        Kind::Busy
    } else if says("not enough free space") {
        Kind::Full
    } else if says("mounting not supported") {
        Kind::Unsupported
    } else if says("A mount already exists") {
        Kind::Exists
    } else if says("No mount exists") || says("no mount exists") || status == StatusCode::NOT_FOUND {
        Kind::NotFound
    } else if says("did not succeed") || (says("Could not") && says("mount")) {
        Kind::MountFailed
    } else if says("is down") {
        Kind::MountDown
    } else if says("Invalid password") {
        Kind::WrongPassword
    } else {
        match status.as_u16() {
            401 => Kind::Token,
            403 => Kind::Forbidden,
            502..=504 => Kind::NotReady,
            500.. => Kind::Failing,
            _ => Kind::Refused,
        }
    }
}
