//! Finds out who answered: Home Assistant, or something in between. Recognises nginx, Caddy, Traefik, Cloudflare,
//! Apache or a router by their headers and the shape of their pages, and names the setting to change.

use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_TYPE, LOCATION, SERVER, WWW_AUTHENTICATE},
};

use crate::{
    error::{Error, Kind, Operation},
    text::sanitize,
    vendor::Vendor,
};

/// The way around every proxy.
const AROUND: &str = "give Home Assistant's own address in the home network, such as http://homeassistant.local:8123, \
    to bypass the proxy";

/// What Home Assistant's web server answers to an error that nothing caught.
const IN_TROUBLE: &str = "Server got itself in trouble";

/// An answer, as far as it shows who made it and what it means.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, or the beginning of a long one.
    pub body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: impl http::header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The kind of its body, without parameters.
    fn kind(&self) -> &str {
        self.header(CONTENT_TYPE).split(';').next().unwrap_or_default().trim()
    }

    pub(crate) fn is_json(&self) -> bool {
        self.kind() == "application/json"
    }

    pub(crate) fn location(&self) -> &str {
        self.header(LOCATION)
    }

    /// What a page calls itself.
    pub(crate) fn title(&self) -> Option<String> {
        let text = self.text();
        // Offsets of the lowered text are the text's own: only ASCII is lowered.
        let lower = text.to_ascii_lowercase();
        let begin = lower.find("<title")?;
        let begin = begin + lower[begin..].find('>')? + 1;
        let end = begin + lower[begin..].find("</title")?;
        let title = sanitize(&text[begin..end], 80);
        (!title.is_empty()).then_some(title)
    }

    /// The proxy that passed on an answer which Home Assistant made, if it shows itself.
    pub fn passed_by(&self) -> Option<Vendor> {
        self.names().or_else(|| (!self.header("via").is_empty()).then_some(Vendor::Unknown))
    }

    /// Whom the headers name.
    fn names(&self) -> Option<Vendor> {
        let server = self.header(SERVER).to_ascii_lowercase();
        if server.starts_with("cloudflare") || self.headers.contains_key("cf-ray") {
            Some(Vendor::Cloudflare)
        } else if server.starts_with("nginx") || server.starts_with("openresty") {
            Some(Vendor::Nginx)
        } else if server.starts_with("caddy") || self.header("via").to_ascii_lowercase().contains("caddy") {
            Some(Vendor::Caddy)
        } else if server.starts_with("apache") {
            Some(Vendor::Apache)
        } else if server.starts_with("traefik") {
            Some(Vendor::Traefik)
        } else {
            None
        }
    }

    /// Who made this answer. Proxies put their names on answers that they pass on, so the shape of the body comes
    /// first.
    pub fn vendor(&self) -> Vendor {
        let text = self.text();
        let lower = text.to_ascii_lowercase();
        if lower.contains("<center>nginx") || lower.contains("<center>openresty") {
            return if self.headers.contains_key("cf-ray") && !lower.contains("<center>nginx") {
                Vendor::Cloudflare
            } else {
                Vendor::Nginx
            };
        }
        if lower.contains("<center>cloudflare")
            || lower.contains("cloudflare ray id")
            || lower.contains("cf-error-details")
        {
            return Vendor::Cloudflare;
        }
        if lower.contains("<address>apache") || text.starts_with("<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">")
        {
            return Vendor::Apache;
        }
        if self.is_home_assistants() {
            return Vendor::HomeAssistant;
        }
        match self.names() {
            Some(vendor) => vendor,
            None if self.is_traefiks(&text) => Vendor::Traefik,
            None => Vendor::Unknown,
        }
    }

    /// Home Assistant puts its security headers on everything but unforeseen errors; those come from its web server,
    /// with a text of its own.
    fn is_home_assistants(&self) -> bool {
        let guarded =
            self.header("referrer-policy") == "no-referrer" && self.header("x-content-type-options") == "nosniff";
        let text = self.text();
        let shaped = self.kind() == "text/plain"
            && (text.starts_with(&format!("{}: ", self.status.as_u16()))
                || text.contains(IN_TROUBLE)
                || text.starts_with("Maximum request body size"));
        guarded || shaped || self.is_json() && self.status.is_success()
    }

    fn is_traefiks(&self, text: &str) -> bool {
        let name = self.status.canonical_reason().unwrap_or_default();
        let text = text.trim_end();
        self.kind() == "text/plain"
            && (text == "404 page not found"
                || !text.is_empty() && (text == name || self.status == 413 && text == "Request Entity Too Large"))
    }

    fn status_text(&self) -> String {
        match self.status.canonical_reason() {
            Some(name) => format!("{} ({name})", self.status.as_u16()),
            None => self.status.as_u16().to_string(),
        }
    }

    /// Why this answer is a refusal, as an error.
    pub(crate) fn refusal(&self, address: &str, operation: Operation) -> Error {
        let vendor = self.vendor();
        if self.status.is_redirection() {
            return self.sent_elsewhere(address, operation, vendor);
        }
        if vendor == Vendor::HomeAssistant {
            return self.home_assistants_refusal(address, operation);
        }
        let error = |reason: String| {
            Error::new(
                address,
                operation,
                Kind::Proxy(vendor),
                format!("{vendor} answered {}{reason}", self.status_text()),
            )
        };
        match self.status.as_u16() {
            413 => error(": it does not allow a body of this size".into()).advise(too_large(vendor)),
            411 => error(": it needs the length in advance".into()).advise(AROUND),
            408 | 504 | 522 | 524 => {
                error(": it timed out on an upload or on Home Assistant's answer".into()).advise(too_slow(vendor))
            }
            500 | 502 | 503 | 520 | 521 | 523 | 525..=530 => {
                error(": it got no answer from Home Assistant".into()).advise(no_answer(vendor))
            }
            401 | 407
                if self.headers.contains_key(WWW_AUTHENTICATE) || self.headers.contains_key("proxy-authenticate") =>
            {
                error(": it asks for a password of its own".into()).advise(AROUND)
            }
            401 | 403 | 407 | 429 => error(": it does not allow this machine".into()).advise(AROUND),
            _ => Error::new(address, operation, Kind::NotHomeAssistant, self.strange())
                .advise("check that this is Home Assistant's address: a browser must show its own first page there"),
        }
    }

    /// What there is instead of Home Assistant.
    pub(crate) fn strange(&self) -> String {
        match (self.title(), self.header(SERVER)) {
            (Some(title), _) => {
                format!("what answers is not Home Assistant: it calls itself “{title}” ({})", self.status.as_u16())
            }
            (None, "") => format!("what answers is not Home Assistant: it says {}", self.status_text()),
            (None, server) => {
                format!("what answers is not Home Assistant: {} says {}", sanitize(server, 40), self.status_text())
            }
        }
    }

    fn sent_elsewhere(&self, address: &str, operation: Operation, vendor: Vendor) -> Error {
        let who = if vendor == Vendor::HomeAssistant { Vendor::Unknown } else { vendor };
        let reason = match url::Url::parse(address).and_then(|base| base.join(self.location())) {
            Ok(target) => {
                format!("{who} answered {}, a redirect to {}", self.status_text(), crate::address::shown(&target))
            }
            Err(_) => format!("{who} answered {} without a target", self.status_text()),
        };
        Error::new(address, operation, Kind::Elsewhere, reason).advise(format!(
            "give the address that reaches Home Assistant directly, without a login page in between: {AROUND}"
        ))
    }

    fn home_assistants_refusal(&self, address: &str, operation: Operation) -> Error {
        let said = self.said();
        let (kind, reason, advice) = match self.status.as_u16() {
            400 if said.starts_with("400:") => (
                Kind::Proxy(Vendor::Unknown),
                "Home Assistant does not trust the proxy in between (400)".to_owned(),
                format!(
                    "name the proxy under http: use_x_forwarded_for and trusted_proxies in its configuration.yaml, \
                    or {AROUND}"
                ),
            ),
            401 => (
                Kind::Credentials,
                "it does not accept the token".to_owned(),
                "create a long-lived access token in an administrator's profile there".to_owned(),
            ),
            403 => (
                Kind::Credentials,
                "it has banned this machine".to_owned(),
                "Home Assistant bans an address after too many wrong logins: remove it from ip_bans.yaml, and restart \
                 Home Assistant"
                    .to_owned(),
            ),
            404 => (
                Kind::TooOld,
                "it does not know this request".to_owned(),
                "Home Assistant accepts backups since 2025.2: update it".to_owned(),
            ),
            413 => (
                Kind::Refused,
                "Home Assistant itself does not accept a body of this size".to_owned(),
                "2026.7 and 2026.8 have a bug that limits uploads to 16 MiB: install another version there".to_owned(),
            ),
            _ if is_about_space(&said) => (
                Kind::Full,
                "no space left there".to_owned(),
                "free some space there: Home Assistant needs about three times the size of the backup".to_owned(),
            ),
            _ if said.contains("manager busy") => (
                Kind::Busy,
                "it is busy with another backup, upload or restore".to_owned(),
                "try again in a few minutes".to_owned(),
            ),
            500 if operation == Operation::Upload && said.contains(IN_TROUBLE) => (
                Kind::Refused,
                "Home Assistant can't read the upload as a backup".to_owned(),
                "its log says why, under Settings > System > Logs".to_owned(),
            ),
            500 if operation == Operation::Upload => (
                Kind::Refused,
                format!(
                    "Home Assistant could not take the backup ({})",
                    if said.is_empty() { "without a reason" } else { &said }
                ),
                "its log says why, under Settings > System > Logs".to_owned(),
            ),
            _ => {
                let said = if said.is_empty() { String::new() } else { format!(": {said}") };
                (
                    Kind::Refused,
                    format!("Home Assistant answered {}{said}", self.status_text()),
                    "its log says more, under Settings > System > Logs".to_owned(),
                )
            }
        };
        let error = Error::new(address, operation, kind, reason).advise(advice);
        if said.is_empty() { error } else { error.quoting(said) }
    }

    /// Home Assistant's own text, from `{"message"}` or plain text.
    pub(crate) fn said(&self) -> String {
        #[derive(serde::Deserialize)]
        struct Message {
            message: String,
        }
        match serde_json::from_slice::<Message>(&self.body) {
            Ok(said) => sanitize(&said.message, 300),
            Err(_) if self.is_json() || self.kind() == "text/html" => String::new(),
            Err(_) => sanitize(&self.text(), 300),
        }
    }
}

fn is_about_space(said: &str) -> bool {
    said.contains("No space left") || said.contains("Errno 28") || said.contains("Disk quota exceeded")
}

fn too_large(vendor: Vendor) -> String {
    let setting = match vendor {
        Vendor::Nginx => "set client_max_body_size 0; for it in nginx",
        Vendor::Caddy => "raise max_size of request_body for it in the Caddyfile",
        Vendor::Traefik => "raise maxRequestBodyBytes of its buffering middleware in Traefik",
        Vendor::Cloudflare => {
            return format!("Cloudflare's free plan allows at most 100 MB, and no setting changes that: {AROUND}");
        }
        Vendor::Apache => {
            "set LimitRequestBody 0 and, with mod_security, a larger SecRequestBodyLimit for it in Apache"
        }
        Vendor::HomeAssistant | Vendor::Unknown => "raise the proxy's limit on the size of request bodies",
    };
    format!("{setting}, or {AROUND}")
}

fn too_slow(vendor: Vendor) -> String {
    let setting = match vendor {
        Vendor::Nginx => "set proxy_request_buffering off; and proxy_read_timeout 3600s; for it in nginx",
        Vendor::Caddy => "raise response_header_timeout and read_timeout of its reverse_proxy in the Caddyfile",
        Vendor::Traefik => "set respondingTimeouts.readTimeout of the entry point to 0 in Traefik",
        Vendor::Cloudflare => {
            return format!("Cloudflare waits 100 seconds for an answer, and no setting changes that: {AROUND}");
        }
        Vendor::Apache => {
            "set ProxyTimeout 3600, RequestReadTimeout body=0 and SetEnv proxy-sendchunked 1 for it in Apache"
        }
        Vendor::HomeAssistant | Vendor::Unknown => {
            "raise the proxy's timeouts, and make it pass request bodies on without buffering them"
        }
    };
    format!("{setting}, or {AROUND}")
}

fn no_answer(vendor: Vendor) -> String {
    let log = match vendor {
        Vendor::Cloudflare => "check that the tunnel is running".to_owned(),
        Vendor::HomeAssistant | Vendor::Unknown => {
            "check that Home Assistant is running and the proxy has its address".to_owned()
        }
        vendor => format!("check that Home Assistant is running and {vendor} has its address"),
    };
    format!("{log}, or {AROUND}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap()))
            .collect();
        Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into() }
    }

    fn nginx(status: u16, name: &str) -> Answer {
        let body = format!(
            "<html>\r\n<head><title>{status} {name}</title></head>\r\n<body>\r\n<center><h1>{status} \
             {name}</h1></center>\r\n<hr><center>nginx/1.26.3</center>\r\n</body>\r\n</html>\r\n"
        );
        answer(status, &[("server", "nginx/1.26.3"), ("content-type", "text/html")], &body)
    }

    #[test]
    fn each_proxy_is_known_by_its_own_page() {
        let apache = "<!DOCTYPE HTML PUBLIC \"-//IETF//DTD HTML 2.0//EN\">\n<html><head>\n<title>413 Request Entity \
            Too Large</title>\n</head><body>";
        let cases = [
            (nginx(413, "Request Entity Too Large"), Vendor::Nginx),
            (
                answer(
                    413,
                    &[("server", "openresty"), ("content-type", "text/html")],
                    "<hr><center>openresty</center>",
                ),
                Vendor::Nginx,
            ),
            (answer(413, &[("server", "Caddy")], ""), Vendor::Caddy),
            (answer(504, &[("content-type", "text/plain; charset=utf-8")], "Gateway Timeout"), Vendor::Traefik),
            (
                answer(
                    404,
                    &[("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff")],
                    "404 page not found\n",
                ),
                Vendor::Traefik,
            ),
            (
                answer(
                    413,
                    &[("server", "cloudflare"), ("cf-ray", "1-FRA"), ("content-type", "text/html")],
                    "<center>cloudflare</center>",
                ),
                Vendor::Cloudflare,
            ),
            (answer(413, &[("server", "Apache/2.4.65"), ("content-type", "text/html")], apache), Vendor::Apache),
            (answer(502, &[("content-type", "text/html")], "<h1>no</h1>"), Vendor::Unknown),
        ];
        for (answer, vendor) in cases {
            assert_eq!(answer.vendor(), vendor, "{answer:?}");
        }
    }

    #[test]
    fn home_assistants_own_text_behind_a_proxy_stays_its_own() {
        let plain = [("server", "nginx"), ("content-type", "text/plain; charset=utf-8")];
        assert_eq!(answer(404, &plain, "404: Not Found").vendor(), Vendor::HomeAssistant);
        assert_eq!(answer(404, &plain, "404: Not Found").passed_by(), Some(Vendor::Nginx));
        let guarded = [
            ("server", "cloudflare"),
            ("cf-ray", "1"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
        ];
        assert_eq!(
            answer(500, &guarded, "Can't upload backup file: Backup manager busy: blocked").vendor(),
            Vendor::HomeAssistant
        );
        assert_eq!(answer(200, &[("server", "")], "[]").passed_by(), None);
    }

    #[test]
    fn each_obstacle_is_explained_with_the_setting_that_removes_it() {
        let said = |answer: Answer| {
            let error = answer.refusal("http://new:8123", Operation::Upload);
            format!("{error}\n{}", error.advice.as_deref().unwrap())
        };
        let around = AROUND;
        assert_eq!(
            said(nginx(413, "Request Entity Too Large")),
            format!(
                "could not upload to http://new:8123: nginx answered 413 (Payload Too Large): it does not allow a body \
                 of this size\n\
                 set client_max_body_size 0; for it in nginx, or {around}"
            )
        );
        assert!(
            said(nginx(504, "Gateway Time-out")).contains("proxy_request_buffering off; and proxy_read_timeout 3600s;")
        );
        assert!(said(answer(413, &[("server", "cloudflare"), ("cf-ray", "1")], "")).contains("at most 100 MB"));
        assert!(
            said(answer(401, &[("server", "nginx"), ("www-authenticate", "Basic realm=\"home\"")], ""))
                .contains("a password of its own")
        );
        let moved = answer(
            308,
            &[("server", "Caddy"), ("location", "https://ha.example.org/api/onboarding/backup/upload?agent_id=x")],
            "",
        );
        assert!(
            said(moved).contains("Caddy answered 308 (Permanent Redirect), a redirect to https://ha.example.org\n")
        );
        let router = answer(404, &[("content-type", "text/html")], "<html><TITLE>\n FRITZ!Box \n</TITLE>");
        assert!(said(router).contains("it calls itself “FRITZ!Box” (404)"));
    }

    #[test]
    fn what_home_assistant_says_is_quoted() {
        let plain = [
            ("content-type", "application/octet-stream"),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
        ];
        let kind = |status, body| {
            let error = answer(status, &plain, body).refusal("http://new:8123", Operation::Upload);
            (error.kind, error.quoted)
        };
        let full = "Can't write backup file: [Errno 28] No space left on device";
        assert_eq!(kind(500, full), (Kind::Full, Some(full.to_owned())));
        let busy = "Can't upload backup file: Backup manager busy: blocked";
        assert_eq!(kind(500, busy), (Kind::Busy, Some(busy.to_owned())));
        assert_eq!(kind(400, "").0, Kind::Refused);
        assert_eq!(kind(400, "400: Bad Request").0, Kind::Proxy(Vendor::Unknown));
        assert_eq!(kind(413, "").0, Kind::Refused);
    }

    #[test]
    fn an_error_nobody_foresaw_is_home_assistants_too() {
        let bare = [("server", "Python/3.13 aiohttp/3.12.13"), ("content-type", "text/plain; charset=utf-8")];
        let error = answer(500, &bare, "500 Internal Server Error\n\nServer got itself in trouble")
            .refusal("http://new:8123", Operation::Upload);
        assert_eq!(
            error.to_string(),
            "could not upload to http://new:8123: Home Assistant can't read the upload as a backup"
        );
        let untrusted = answer(400, &bare, "400: Bad Request").refusal("http://new:8123", Operation::Look);
        assert!(untrusted.advice.unwrap().contains("trusted_proxies"));
        let limit = answer(413, &bare, "Maximum request body size 16777216 exceeded, actual body size 16937984")
            .refusal("http://new:8123", Operation::Upload);
        assert_eq!(limit.kind, Kind::Refused);
    }

    proptest! {
        #[test]
        fn any_answer_is_explained_in_one_plain_line(status in 100u16..1000, server in "[ -~]{0,20}", kind in "[ -~]{0,20}", body: Vec<u8>, page in "(<title>)?.{0,40}(</title>)?") {
            for body in [body, page.into_bytes()] {
                let mut answer = answer(status, &[("server", &server), ("content-type", &kind), ("location", &server)], "");
                answer.body = body;
                let error = answer.refusal("http://new:8123", Operation::Look);
                prop_assert!(error.to_string().chars().all(|c| !c.is_control()));
                prop_assert!(error.to_string().len() < 2000);
                prop_assert!(error.advice.is_some());
            }
        }
    }
}
