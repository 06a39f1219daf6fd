//! What forms about jobs and locations have in common: what was typed stays, and what is wrong stands beside it.

use std::sync::Arc;

use http::StatusCode;
use zeroize::Zeroizing;

use crate::{
    backend::{Backend, Choices, Encryption, Filled, FormField, FormKind, Invalid, SignIn},
    fields::Fields,
    refusal::Refusal,
    shared::Shared,
};

/// How the names of buttons begin that put what was offered into a field.
const ACCEPT: &str = "accept:";

/// The kind of a location that is there already.
pub(super) const EXISTING: &str = "existing";

/// A form as it was filled in.
pub(super) struct Typed {
    pub(super) choices: Choices,
    pub(super) fields: Fields,
    pub(super) wrong: Vec<Invalid>,
    /// What was tried at the location and worked.
    pub(super) tried: Option<Vec<String>>,
    /// Secrets that are left empty stay as they are.
    pub(super) keeps: bool,
    /// A sign-in that waits or has ended.
    pub(super) signing_in: Option<SignIn>,
}

impl Typed {
    /// After something was tried there or not.
    pub(super) fn of(choices: Choices, fields: Fields, outcome: Outcome) -> Self {
        let (tried, wrong) = outcome.map_or_else(|wrong| (None, wrong), |tried| (tried, Vec::new()));
        Self { choices, fields, wrong, tried, keeps: false, signing_in: None }
    }

    /// A form with nothing to choose from.
    pub(super) fn plain(fields: Fields, wrong: Vec<Invalid>) -> Self {
        Self { wrong, ..Self::of(Choices::default(), fields, Ok(None)) }
    }

    /// How the answer with this form is to be understood.
    pub(super) fn status(&self) -> StatusCode {
        status(&self.wrong)
    }

    /// What was typed or, on the first visit, what is proposed.
    pub(super) fn value<'a>(&'a self, name: &str, proposed: &'a str) -> &'a str {
        if self.fields.is_empty() { proposed } else { self.fields.text(name) }
    }

    pub(super) fn is(&self, name: &str, value: &str, proposed: &str) -> bool {
        self.value(name, proposed) == value
    }

    /// Whether one of several is chosen.
    pub(super) fn has(&self, name: &str, value: &str) -> bool {
        self.fields.iter().any(|field| field == (name, value))
    }

    pub(super) fn first_kind(&self) -> &str {
        if !self.choices.existing.is_empty() {
            return EXISTING;
        }
        self.choices.kinds.first().map_or("", |kind| &kind.id)
    }

    pub(super) fn field_name(kind: &FormKind, field: &FormField) -> String {
        format!("{}.{}", kind.id, field.id)
    }

    /// What is wrong with a field, if it is that one.
    pub(super) fn wrong_with(&self, field: &str) -> Option<&Invalid> {
        self.wrong.iter().find(|wrong| wrong.field.as_deref() == Some(field))
    }

    /// What is wrong with a location's field: only that of the chosen kind can be.
    pub(super) fn wrong_in(&self, kind: &FormKind, field: &FormField) -> Option<&Invalid> {
        self.wrong_with(&field.id).filter(|_| self.is("kind", &kind.id, self.first_kind()))
    }

    /// What is wrong and belongs neither to one of these fields nor to a location's.
    pub(super) fn wrong_beside(&self, fields: &[&str]) -> Vec<&Invalid> {
        let shown = |field: &str| {
            fields.contains(&field)
                || self.choices.kinds.iter().flat_map(|kind| &kind.fields).any(|known| known.id == field)
        };
        self.wrong.iter().filter(|wrong| !wrong.field.as_deref().is_some_and(shown)).collect()
    }
}

pub(super) fn wrong(field: &str, message: &str) -> Invalid {
    Invalid {
        field: Some(field.to_owned()),
        failure: keeper::status::Failure { message: message.to_owned(), hint: None, passes: false },
        offer: None,
    }
}

/// What was tried, if something was, and worked.
pub(super) type Outcome = Result<Option<Vec<String>>, Vec<Invalid>>;

/// How an answer is to be understood that says what is wrong.
pub(super) fn status(wrong: &[Invalid]) -> StatusCode {
    if wrong.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY }
}

/// Notes what a field lacks, so that the rest is looked at, too.
pub(super) fn noted<T: Default>(wrong: &mut Vec<Invalid>, answer: Result<T, Invalid>) -> T {
    answer.unwrap_or_else(|why| {
        wrong.push(why);
        T::default()
    })
}

/// All of it: the service's word on fields of which nothing is known yet.
pub(super) fn with_more(mut wrong: Vec<Invalid>, more: Vec<Invalid>) -> Vec<Invalid> {
    for found in more {
        if wrong.iter().all(|known| known.field != found.field) {
            wrong.push(found);
        }
    }
    wrong
}

/// What came of a button of the location's part of a form.
pub(super) struct Pressed {
    /// The form as it is now.
    pub(super) fields: Fields,
    pub(super) outcome: Outcome,
}

/// Does what such a button asks for; nothing: the form is to be saved.
pub(super) async fn pressed(
    shared: &Arc<Shared>,
    form: &Fields,
    keeps: Option<&str>,
) -> Result<Option<Pressed>, Refusal> {
    let mut fields = form.clone();
    let accepted = form.iter().find_map(|(name, value)| Some((name.strip_prefix(ACCEPT)?, value)));
    if let Some((field, value)) = accepted {
        fields.set(field, value);
    }
    let location = location(&fields, keeps);
    let outcome = match form.text("do") {
        "sign-in" => {
            shared.ask_slowly(move |backend, _| backend.sign_in(&location)).await?.map(|_| None).map_err(Vec::from)
        }
        "end-sign-in" => shared.ask(<dyn Backend>::end_sign_in).await.map(|()| Ok(None))?,
        "try" => shared.ask_slowly(move |backend, cancel| backend.try_location(&location, cancel)).await?.map(Some),
        _ if accepted.is_some() => {
            shared.ask_slowly(move |backend, cancel| backend.try_location(&location, cancel)).await?.map(Some)
        }
        _ => return Ok(None),
    };
    Ok(Some(Pressed { fields, outcome }))
}

/// The location that was filled in. `keeps`: secrets that were left empty are those of this one.
pub(super) fn location(form: &Fields, keeps: Option<&str>) -> Filled {
    let kind = form.text("kind").to_owned();
    let of_kind = |(name, value): (&str, &str)| {
        let field = name.strip_prefix(kind.as_str())?.strip_prefix('.')?;
        (!value.is_empty()).then(|| (field.to_owned(), Zeroizing::new(value.to_owned())))
    };
    let fields = form.iter().filter_map(of_kind).collect();
    Filled { kind, fields, keeps: keeps.map(str::to_owned) }
}

/// How backups are encrypted; nothing: as before.
pub(super) fn encryption(form: &Fields) -> Result<Option<Encryption>, Invalid> {
    Ok(match form.text("encryption") {
        "key" if form.text("key").trim().is_empty() => return Err(wrong("key", "Enter your encryption key.")),
        "key" => Some(Encryption::Key(Zeroizing::new(form.text("key").trim().to_owned()))),
        "home-assistant" => Some(Encryption::HomeAssistants),
        "nothing" => Some(Encryption::Nothing),
        "new" => Some(Encryption::NewKey),
        _ => None,
    })
}
