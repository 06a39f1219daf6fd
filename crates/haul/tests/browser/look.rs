//! What has to be right on every page: it fits on a phone, axe finds nothing against it, the keyboard reaches
//! everything, nothing comes from elsewhere, and the browser has no complaint.

use std::{cell::Cell, collections::BTreeSet, env, path::PathBuf};

use serde_json::json;
use testkit::browser::{Browser, TAB, axe};

const WIDE: u32 = 1280;
const PHONE: u32 = 390;

/// What can be focused and is shown; of radio buttons, the tab key stops at one.
const STOPS: &str =
    "[...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea, summary')]
    .filter((one) => !one.disabled && one.checkVisibility({visibilityProperty: true}))
    .filter((one) => one.type !== 'radio' || one.checked)";
/// A name for one of them: the page puts others in their place as things go on.
const NAME: &str =
    "((one) => [one.tagName, one.name, one.id, one.getAttribute('href'), one.form?.getAttribute('action'),
    one.matches('a, button, summary') ? one.textContent : ''].join(' '))";

pub(crate) struct Looks<'b> {
    pub(crate) browser: &'b Browser,
    axe: Option<String>,
    pictures: Option<PathBuf>,
    number: Cell<usize>,
}

impl<'b> Looks<'b> {
    pub(crate) fn new(browser: &'b Browser) -> Self {
        browser.screen(WIDE, false);
        let pictures = env::var_os("HAUL_PICTURES").map(PathBuf::from);
        Self { browser, axe: axe(), pictures, number: Cell::new(0) }
    }

    /// Looks at the page that is open.
    pub(crate) fn at(&self, name: &str) {
        self.number.set(self.number.get() + 1);
        for (width, is_dark) in [(PHONE, false), (PHONE, true), (WIDE, true), (WIDE, false)] {
            self.browser.screen(width, is_dark);
            let kind =
                format!("{}-{}", if width == PHONE { "phone" } else { "wide" }, if is_dark { "dark" } else { "light" });
            // Of the screen: on a phone, the window grows with what does not fit.
            let over =
                "return [...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right >
                arguments[0] + 1 && !one.closest('.hidden, svg')).map((one) => one.outerHTML.slice(0, 120)).slice(0, 3)
                .concat(document.documentElement.scrollWidth > arguments[0] ? ['the page itself'] : [])";
            let over = self.browser.run(over, &[width.into()]);
            assert_eq!(over, json!([]), "{name}, {kind}: wider than the screen");
            if let Some(directory) = &self.pictures {
                self.browser.picture(&directory.join(format!("{:02}-{name}-{kind}.png", self.number.get())));
            }
            // Colours in both schemes, structure on both screens.
            if (width == PHONE) == is_dark {
                self.ask_axe(name, &kind);
            }
        }
        self.tab_through(name);
        self.nothing_is_wrong(name);
    }

    fn ask_axe(&self, name: &str, kind: &str) {
        let Some(axe) = &self.axe else { return };
        if self.browser.run("return !window.axe", &[]) == json!(true) {
            self.browser.run(axe, &[]);
        }
        let found = self.browser.run_until_done(
            "const done = arguments[0]; axe.run({resultTypes: ['violations']}).then((found) => done(found.violations.map(
                (one) => one.id + ': ' + one.nodes.map((node) => node.html.slice(0, 200) + ' ' + node.failureSummary).join('; '))),
                (error) => done(['axe: ' + error]))",
            &[],
        );
        assert_eq!(found, json!([]), "{name}, {kind}");
    }

    /// The tab key reaches everything, and what is focused shows it.
    fn tab_through(&self, name: &str) {
        let all = self.browser.run(
            &format!(
                "document.activeElement.blur(); window.scrollTo(0, 0);
                 const start = document.createRange(); start.setStart(document.body, 0); start.collapse(true);
                 getSelection().removeAllRanges(); getSelection().addRange(start);
                 return {STOPS}.map({NAME})"
            ),
            &[],
        );
        let all = all.as_array().unwrap();
        let mut missed: BTreeSet<String> = all.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
        // It begins where the focus was last, and goes round.
        for _ in 0..2 * all.len() + 3 {
            if missed.is_empty() {
                break;
            }
            self.browser.press(TAB);
            let stop = self.browser.run(
                &format!(
                    "const one = document.activeElement, style = getComputedStyle(one);
                     const shows = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1;
                     return [{NAME}(one), one === document.body || shows]"
                ),
                &[],
            );
            let name_of_it = stop[0].as_str().unwrap();
            assert_eq!(stop[1], true, "{name}: the focus does not show on {name_of_it}");
            missed.remove(name_of_it);
        }
        assert_eq!(missed, BTreeSet::new(), "{name}: the tab key does not reach it");
    }

    /// Since the last time: no request to another place, and no complaint of the browser.
    pub(crate) fn nothing_is_wrong(&self, name: &str) {
        for address in self.browser.requests() {
            let is_ours =
                ["http://127.0.0.1:", "data:", "blob:", "about:"].iter().any(|ours| address.starts_with(ours));
            assert!(is_ours, "{name} asks {address}");
        }
        for message in self.browser.console() {
            // Its taste in forms is no complaint.
            if message.source == "recommendation" {
                continue;
            }
            // What Haul refused on purpose.
            let is_refusal = message.source == "network"
                && ["404", "422", "429"].iter().any(|code| message.text.contains(&format!("status of {code}")));
            assert!(is_refusal, "{name}: {message:?}");
        }
    }
}
