//! Why a request was not done: said as a page or as JSON, in the same words.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use keeper::status::Failure;
use serde::Serialize;
use utoipa::ToSchema;

use crate::backend::NotSent;

/// A request that was not done. It becomes a page or JSON in [`crate::app`], which knows what was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// Seconds after which another attempt may succeed.
    pub(crate) retry_after: Option<u64>,
    /// What it is about, if that is something that was filled in.
    pub(crate) about: Option<Box<About>>,
}

/// What was filled in and can't be used.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    /// The field.
    pub(crate) field: Option<String>,
    /// What that field would have to say, if the user agrees.
    pub(crate) offer: Option<String>,
    /// What is wrong besides.
    pub(crate) others: Vec<Mistake>,
}

/// One of several mistakes, as the API says it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Mistake {
    /// What is wrong.
    pub(crate) error: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// The field that it is about.
    pub(crate) field: Option<String>,
}

/// As the API says it.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorBody {
    /// What happened.
    pub(crate) error: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// The field that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
    /// What that field would have to say, if you agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offer: Option<String>,
    /// What is wrong besides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) others: Vec<Mistake>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), hint: None, retry_after: None, about: None }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// There is no such thing, as `backup` or `job`.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("There is no such {what}."))
    }

    /// Something broke on this side.
    pub(crate) fn broken(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let status = if failure.passes { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CONFLICT };
        Self { hint: failure.hint, ..Self::new(status, failure.message) }
    }
}

impl From<NotSent> for Refusal {
    fn from(why: NotSent) -> Self {
        match why {
            NotSent::NoSuchFile(failure) => Self { status: StatusCode::NOT_FOUND, ..failure.into() },
            NotSent::Failed(failure) => failure.into(),
        }
    }
}

impl From<crate::auth::AccountError> for Refusal {
    fn from(error: crate::auth::AccountError) -> Self {
        match error {
            crate::auth::AccountError::Invalid(sentence) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, sentence),
            crate::auth::AccountError::Disk(sentence) => {
                Self::broken(format!("The accounts can't be saved: {sentence}."))
                    .hint("Check that the state directory has space and can be written.")
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
