//! Channels that are reached by HTTP: ntfy, webhooks, Home Assistant, pings.

use std::path::PathBuf;

use jiff::Timestamp;
use keeper::{
    notices::Notice,
    status::{Failure as Reason, Level},
};
use reqwest::{RequestBuilder, StatusCode, Url, header::LOCATION};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::Cancellation;

use super::{TIME_LIMIT, body, innermost, is_loud, secret};
use crate::{destination::Network, failure::reason};

/// An address, and what it wants to see. The address may be a secret itself: only its host is ever shown.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) url: Url,
    /// Sent as `Authorization: Bearer`.
    pub(crate) token_file: Option<PathBuf>,
}

impl Site {
    /// Publishes to a topic: the last part of the address.
    pub(super) fn ntfy(&self, notice: &Notice, now: Timestamp, cancel: &Cancellation) -> Result<(), Reason> {
        let mut root = self.url.clone();
        let topic = root.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default().to_owned();
        if let Ok(mut parts) = root.path_segments_mut() {
            parts.pop();
        }
        let (priority, tag) = match notice.level() {
            _ if is_loud(notice) => (4, "rotating_light"),
            Level::Warning => (3, "warning"),
            _ => (3, "white_check_mark"),
        };
        let message = json!({
            "topic": topic,
            "title": notice.title(),
            "message": body(notice, now),
            "priority": priority,
            "tags": [tag],
        });
        self.post(root, Some(&message), "", cancel)
    }

    /// Posts a document.
    pub(super) fn webhook(&self, document: &Value, cancel: &Cancellation) -> Result<(), Reason> {
        self.post(self.url.clone(), Some(document), "", cancel)
    }

    /// Has Home Assistant tell it.
    pub(super) fn home_assistant(
        &self,
        service: Option<&str>,
        notice: &Notice,
        now: Timestamp,
        cancel: &Cancellation,
    ) -> Result<(), Reason> {
        let (action, data) = action(service, notice, now);
        let mut url = self.url.clone();
        let path = self.url.path().trim_end_matches('/');
        url.set_path(&format!("{path}/api/services/{}", action.replace('.', "/")));
        self.post(url, Some(&data), "", cancel)
    }

    /// Calls an address with this after its path.
    pub(super) fn ping(&self, after: &str, text: &str, cancel: &Cancellation) -> Result<(), Reason> {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{after}", self.url.path().trim_end_matches('/')));
        self.post(url, None, text, cancel)
    }

    fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    fn post(&self, url: Url, document: Option<&Value>, text: &str, cancel: &Cancellation) -> Result<(), Reason> {
        let network = Network::start(None, cancel).map_err(|failure| reason(&failure))?;
        let request = network.context.http.post(url).timeout(TIME_LIMIT);
        let request = match document {
            Some(document) => request.json(document),
            None => request.body(text.to_owned()),
        };
        let request = match &self.token_file {
            Some(path) => request.bearer_auth(secret(path)?.expose()),
            None => request,
        };
        network.bridge.wait(self.send(request))
    }

    async fn send(&self, request: RequestBuilder) -> Result<(), Reason> {
        let host = self.host();
        let answer = request.send().await.map_err(|error| {
            let why = if error.is_timeout() {
                format!("it did not answer within {} s", TIME_LIMIT.as_secs())
            } else {
                innermost(&error)
            };
            Reason {
                message: format!("{host} can't be reached: {why}"),
                hint: Some("check the address, and whether this machine reaches it".to_owned()),
                passes: true,
            }
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let hint = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "check the access token".to_owned(),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => "check the address".to_owned(),
            status if status.is_redirection() => {
                let to = answer.headers().get(LOCATION).and_then(|to| Url::parse(to.to_str().ok()?).ok());
                let to = to.map(|to| format!("{}://{}", to.scheme(), to.host_str().unwrap_or_default()));
                format!("use the address that it names instead{}", to.map_or_else(String::new, |to| format!(": {to}")))
            }
            _ => "Haul tries again later".to_owned(),
        };
        Err(Reason { message: format!("{host} answered {status}"), hint: Some(hint), passes: true })
    }
}

/// What Home Assistant is to do. Its notifications are of a problem as long as that exists, and all of its users see
/// them.
pub(super) fn action(service: Option<&str>, notice: &Notice, now: Timestamp) -> (String, Value) {
    let key = notice.problem().map_or_else(|| notice.kind(), |problem| &problem.key);
    let id = id(key);
    // `notify.persistent_notification` shows them, too.
    let (title, message) = match service.filter(|service| !service.contains("persistent_notification")) {
        None => notice.public(),
        Some(_) => (unmarked(&notice.title()), unmarked(&body(notice, now))),
    };
    match service {
        Some(service) => (service.to_owned(), json!({ "title": title, "message": message, "data": { "tag": id } })),
        None if matches!(notice, Notice::Over(_)) => {
            ("persistent_notification.dismiss".to_owned(), json!({ "notification_id": id }))
        }
        None => (
            "persistent_notification.create".to_owned(),
            json!({ "notification_id": id, "title": title, "message": message }),
        ),
    }
}

/// The same words, in which neither Markdown nor HTML sees a link, an image or a tag. What a service makes of its text is
/// its own matter, and whoever can write to a destination chooses the names of archives.
fn unmarked(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        plain.push(c);
        let opens = match (c, characters.peek()) {
            (']', Some(next)) => matches!(next, '(' | '[' | ':'),
            ('<', Some(next)) => !next.is_whitespace(),
            _ => false,
        };
        if opens {
            plain.push(' ');
        }
    }
    plain
}

/// What Home Assistant calls the notification of a problem: different for different problems. All of its users see that,
/// too, so it does not name the job.
fn id(key: &str) -> String {
    let (kind, of) = key.split_once(':').unwrap_or((key, ""));
    let kind = kind.replace('-', "_");
    if of.is_empty() {
        return format!("haul_{kind}");
    }
    let digest = Sha256::digest(of)[..8].iter().fold(0_u64, |digest, byte| digest << 8 | u64::from(*byte));
    format!("haul_{kind}_{digest:016x}")
}

#[cfg(test)]
mod tests {
    use keeper::status::Problem;

    use super::*;

    /// What whoever can write to a destination may call an archive, and what else says something of a home.
    const NAMES: [&str; 5] =
        ["![](https://evil.example/x).tar", "[Sign in](https://evil.example)", "<b>a", "/srv/nas", "cabin"];

    fn damaged() -> Notice {
        Notice::Begun(Problem {
            key: "copy-damaged:cabin:/srv/nas:![](https://evil.example/x).tar".to_owned(),
            kind: "copy-damaged".to_owned(),
            level: Level::Error,
            job: Some("cabin".to_owned()),
            destination: Some("/srv/nas".to_owned()),
            since: Timestamp::UNIX_EPOCH,
            message: NAMES.join(", "),
            hint: Some(NAMES.join(" and ")),
        })
    }

    #[test]
    fn what_all_users_of_home_assistant_see_names_nothing() {
        for service in [None, Some("notify.persistent_notification")] {
            let (_, data) = action(service, &damaged(), Timestamp::UNIX_EPOCH);
            let shown = data.to_string();
            assert!(NAMES.iter().all(|name| !shown.contains(name)) && !shown.contains("evil"), "{shown}");
            assert_eq!(data["title"], "Haul: backups are not safe");
            assert_eq!(data["message"], "A copy is damaged. Open Haul to see more.");
        }
    }

    #[test]
    fn a_service_that_takes_its_text_for_markup_shows_no_link_image_or_tag() {
        let (_, data) = action(Some("notify.mobile_app_phone"), &damaged(), Timestamp::UNIX_EPOCH);
        let message = data["message"].as_str().unwrap_or_default();
        assert!(message.contains("[Sign in] (https://evil.example)"), "{message}");
        assert!(["](", "<b"].iter().all(|markup| !message.contains(markup)), "{message}");
        assert_eq!(data["title"], "Haul: backups are not safe: cabin");
        assert_eq!(unmarked("[a][b] [b]: c a < b ]"), "[a] [b] [b] : c a < b ]");
    }

    #[test]
    fn two_problems_never_have_one_notification() {
        let keys =
            ["blocked:x-y:nas", "blocked:x_y:nas", "blocked:x:y:nas", "blocked:X-y:nas", "blocked:xʚ:nas", "state"];
        let mut ids: Vec<String> = keys.map(id).to_vec();
        assert_eq!((ids[5].as_str(), id(keys[0])), ("haul_state", ids[0].clone()));
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), keys.len());
    }
}
