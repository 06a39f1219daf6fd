//! Names that fail to resolve on request.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use store::{Bridge, Cancellation, Context, Operation, Tuning, http, parts::Activity, retry::RetryPolicy};

/// Knows one name, which is this machine.
#[derive(Clone)]
pub struct Names {
    host: String,
    failures: Arc<AtomicU32>,
}

impl Names {
    pub fn new(host: &str) -> Self {
        Self { host: host.to_owned(), failures: Arc::default() }
    }

    /// The next `times` questions have no answer.
    pub fn fail(&self, times: u32) {
        self.failures.store(times, Ordering::Relaxed);
    }

    pub fn client(&self) -> reqwest::Client {
        reqwest::Client::builder().no_proxy().dns_resolver(Arc::new(self.clone())).build().unwrap()
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let fails =
            self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        let found = if !fails && name.as_str() == self.host {
            Ok(Box::new(std::iter::once(SocketAddr::from(([127, 0, 0, 1], 0)))) as Addrs)
        } else {
            Err(io::Error::other("Temporary failure in name resolution").into())
        };
        Box::pin(std::future::ready(found))
    }
}

#[test]
fn a_name_nobody_knows_may_pass_and_is_given_up_after_the_first_contacts_patience() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tuning = Tuning {
        first_pause: Duration::from_millis(20),
        first_contact: Duration::from_millis(300),
        ..Tuning::default()
    };
    let context = Context::new(tuning.clone(), "/nonexistent".into(), Cancellation::default()).unwrap();
    let policy = RetryPolicy::new(&context);
    let ask = || async {
        let request = context.http.get("http://no-such-host.invalid/");
        http::send("webdav://no-such-host.invalid", Operation::Connect, request, &Activity::default(), tuning.stall)
            .await
    };
    let error = Bridge::start().unwrap().wait(policy.retry(ask)).unwrap_err();
    assert!(error.is_transient(), "{error}");
    let said = error.to_string();
    assert!(said.contains("webdav://no-such-host.invalid") && said.contains("gave up"), "{said}");
    assert!(policy.retries() > 0);
}
