//! The page of one service.

use testkit::{browser::Browser, wait};

use crate::home::{Home, Service};

pub(crate) const PASSWORD: &str = "correct horse";

/// A service and where its page is.
pub(crate) struct Site {
    pub(crate) home: Home,
    pub(crate) address: String,
    _service: Service,
}

impl Site {
    pub(crate) fn start(home: Home) -> Self {
        Self::start_in(home, &[])
    }

    /// `through` is another program, with its arguments, that starts the service.
    pub(crate) fn start_in(home: Home, through: &[&str]) -> Self {
        let service = home.serve_in(through, "127.0.0.1:0");
        let address = said(&home, "the page is at ");
        Self { home, address, _service: service }
    }

    /// The set-up code, as the log says it.
    pub(crate) fn code(&self) -> String {
        said(&self.home, "this code at the first visit: ")
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// The first visit.
    pub(crate) fn come_in(&self, browser: &Browser) {
        browser.visit(&self.at(&format!("/welcome?code={}", self.code())));
        browser.fill("#password", PASSWORD);
        browser.fill("#again", PASSWORD);
        browser.click("main button");
    }
}

/// What stands behind these words in the log.
fn said(home: &Home, words: &str) -> String {
    wait::found(format!("the log says {words:?}"), || {
        let log = home.log();
        let (_, rest) = log.split_once(words)?;
        rest.contains('\n').then(|| rest.split_whitespace().next().unwrap_or_default().to_owned())
    })
}
