//! Somebody who has nothing yet.

use std::fs;

use testkit::{
    browser::{ENTER, TAB},
    home_assistant::{Fake, Mind},
};

use crate::{
    home::{Home, TWO},
    look::Looks,
    site::{PASSWORD, Site},
};

pub(crate) fn sets_up_from_nothing_to_the_first_backup(looks: &Looks<'_>) {
    let browser = looks.browser;
    let home = Home::new(TWO);
    fs::remove_file(home.path("haul.toml")).unwrap();
    let site = Site::start(home);
    comes_in_by_keyboard_alone(looks, &site);

    // What was typed stays, with the mistake beside it.
    looks.at("set-up");
    browser.click("input[name=source][value=other]");
    browser.fill("#other_source", "/nowhere/at/all");
    browser.click("input[name=kind][value=local]");
    browser.fill("[name='local.path']", "/nowhere/either");
    browser.click("button[value=try]");
    browser.says("/nowhere/either is not an existing folder");
    assert_eq!(browser.run("return document.activeElement.name", &[]), "local.path");
    browser.fill("[name='local.path']", site.home.path("nas").to_str().unwrap());
    browser.click("button[value=try]");
    browser.says("This location works.");
    browser.click("button[value=save]");
    browser.says("/nowhere/at/all can't be read: no such file or directory");
    looks.at("set-up-wrong");
    browser.fill("#other_source", site.home.path("config").to_str().unwrap());
    browser.click("button[value=save]");
    browser.wait("the key is shown", "location.pathname === '/setup/key'", &[]);
    looks.at("key");
    let key = browser.run("return document.querySelector('.key').innerText", &[]);
    let key = key.as_str().unwrap().trim();
    browser.click("a[download]");
    let kit = String::from_utf8(browser.downloaded("haul-emergency-kit.txt")).unwrap();
    assert!(kit.contains(key) && key.len() == 34, "{kit}");
    browser.click("input[type=checkbox]");
    browser.click_text("button", "Continue");
    browser.says("Backups are encrypted with your encryption key from now on.");
    browser.says("1 whole copy, newest just now, checked");
    browser.says("Proved: ");
    browser.wait("all is done", "!document.querySelector('.running')", &[]);
    looks.at("home");

    takes_one_file_out(looks, &site);
    restores_all_of_it(looks, &site);
    moves_to_another_machine(looks);
    has_forgotten_the_password(looks);
}

/// The code from the log, a password, and nothing but keys.
fn comes_in_by_keyboard_alone(looks: &Looks<'_>, site: &Site) {
    let browser = looks.browser;
    browser.visit(&site.at("/"));
    browser.says("You are the first visitor.");
    looks.at("welcome");
    let type_into = |selector: &str, text: &str| {
        for _ in 0..20 {
            if browser.run("return document.activeElement.matches(arguments[0])", &[selector.into()]) == true {
                break;
            }
            browser.press(TAB);
        }
        browser.press(text);
    };
    browser.visit(&site.at("/"));
    for (code, answer) in [("WRONG-CODES", "This is not the code."), (&site.code(), "Set up backups")] {
        browser.run("document.querySelector('#code').value = ''", &[]);
        type_into("#code", code);
        type_into("#password", PASSWORD);
        type_into("#again", PASSWORD);
        browser.press(ENTER);
        browser.says(answer);
    }
}

fn takes_one_file_out(looks: &Looks<'_>, site: &Site) {
    let browser = looks.browser;
    browser.click_text("nav a", "Backups");
    browser.wait("the list is open", "location.pathname === '/backups'", &[]);
    looks.at("backups");
    browser.click(".row .what > a");
    browser.says("What is in it");
    looks.at("backup");
    browser.click_text("main a", "Look into it");
    browser.wait("it is open", "document.querySelector('.tree')", &[]);
    looks.at("contents");
    browser.click_text(".tree a", "configuration.yaml, download");
    let original = fs::read(site.home.path("config/configuration.yaml")).unwrap();
    assert_eq!(browser.downloaded("configuration.yaml"), original);
}

fn restores_all_of_it(looks: &Looks<'_>, site: &Site) {
    let browser = looks.browser;
    browser.click_text("nav a", "Backups");
    browser.wait("the list is open", "location.pathname === '/backups'", &[]);
    browser.click(".row .what > a");
    browser.says("What is in it");
    browser.click_text("main a", "Restore…");
    browser.says("Restore this backup");
    looks.at("restore");
    let into = site.home.path("look");
    browser.fill("#into", "not/whole");
    browser.click_text("main button", "Restore");
    browser.says("is not the whole path of a directory");
    looks.at("restore-refused");
    browser.fill("#into", into.to_str().unwrap());
    browser.click_text("main button", "Restore");
    browser.says("The restore has begun");
    browser.click_text("nav a", "Events");
    browser.wait("the end of it is told", "document.body.innerText.includes('was restored into')", &[]);
    let restored = fs::read(into.join("configuration.yaml")).unwrap();
    assert_eq!(restored, fs::read(site.home.path("config/configuration.yaml")).unwrap());
}

fn moves_to_another_machine(looks: &Looks<'_>) {
    let browser = looks.browser;
    let new = Fake::start(Mind { restores_users: true, ..Mind::default() });
    browser.click_text("nav a", "Backups");
    browser.wait("the list is open", "location.pathname === '/backups'", &[]);
    browser.click(".row .what > a");
    browser.says("What is in it");
    browser.click_text("main a", "Move to another machine…");
    browser.says("leave its welcome page as it is");
    browser.fill("#to", "new-host:8123");
    browser.click_text("main button", "Check");
    browser.says("Write http://new-host:8123");
    looks.at("move-refused");
    browser.fill("#to", &new.url());
    browser.click_text("main button", "Check");
    browser.says("Both machines are ready");
    looks.at("move");
    browser.click_text("main button", "Move now");
    browser.says("The move has begun");
    browser.click_text("nav a", "Events");
    let told = format!("log in as demo at {}", new.url());
    browser.wait("the end of it is told", "document.body.innerText.includes(arguments[0])", &[told.into()]);
}

fn has_forgotten_the_password(looks: &Looks<'_>) {
    let browser = looks.browser;
    browser.click_text("button", "Log out");
    browser.wait("the log-in is shown", "location.pathname === '/login'", &[]);
    looks.at("log-in");
    browser.fill("#password", "not the password");
    browser.press(ENTER);
    browser.says("This is not the password.");
    // Each pause is twice as long as the one before, so there is one that outlasts the way back here.
    let refused = (0..12).any(|_| {
        browser.fill("#password", "not the password");
        browser.press(ENTER);
        browser.wait("it is refused", "document.querySelector('.wrong')", &[]);
        browser
            .run("return document.querySelector('.wrong').innerText", &[])
            .as_str()
            .unwrap()
            .contains("too many attempts")
    });
    assert!(refused, "guessing is slowed down");
    looks.nothing_is_wrong("log-in");
}
