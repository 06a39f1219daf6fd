//! Locations that ask something back: whether a host's key is the right one, and a sign-in elsewhere.

use testkit::{
    drive::{CLIENT_ID, CLIENT_SECRET, Drive},
    sshd::{self, Sshd},
};

use crate::{
    home::{Home, TWO},
    look::Looks,
    site::Site,
};

pub(crate) fn locations_that_ask_back(looks: &Looks<'_>) {
    let drive = Drive::start();
    let at = drive.address();
    let urls = [("API", Drive::api_url(at)), ("UPLOAD", Drive::upload_url(at)), ("OAUTH", Drive::oauth_url(at))];
    let variables: Vec<String> = urls.iter().map(|(name, url)| format!("HAUL_GDRIVE_{name}_URL={url}")).collect();
    let through: Vec<&str> = std::iter::once("env").chain(variables.iter().map(String::as_str)).collect();
    let site = Site::start_in(Home::new(TWO), &through);
    site.come_in(looks.browser);
    looks.browser.says("Automatic backups");
    google_drive(looks, &site, &drive);
    if sshd::is_installed() {
        sftp(looks, &site);
    }
}

fn google_drive(looks: &Looks<'_>, site: &Site, drive: &Drive) {
    let browser = looks.browser;
    browser.visit(&site.at("/settings/location"));
    browser.fill("[name=name]", "cloud");
    browser.click("input[name=kind][value=gdrive]");
    browser.click("button[value=sign-in]");
    browser.says("Signing in needs a client ID of your own.");
    browser.fill("[name='gdrive.client_id']", CLIENT_ID);
    browser.fill("[name='gdrive.client_secret']", CLIENT_SECRET);
    browser.click("button[value=sign-in]");
    browser.wait("the code is shown", "document.querySelector('#sign-in .key')", &[]);
    looks.at("sign-in");
    let code = browser.run("return document.querySelector('#sign-in .key').innerText", &[]);
    // The page hears of it by itself, and what was typed stays.
    drive.approve(code.as_str().unwrap().trim());
    browser.says("Signed in to Google Drive of tester@example.org, 16.1 GB free.");
    assert_eq!(browser.run("return document.querySelector('[name=name]').value", &[]), "cloud");
    browser.click("button[value=try]");
    browser.says("This location works.");
    looks.at("signed-in");
    browser.click("button[value=save]");
    browser.wait("it is saved", "location.pathname === '/settings'", &[]);
    browser.says("gdrive://");
}

fn sftp(looks: &Looks<'_>, site: &Site) {
    let browser = looks.browser;
    let server = Sshd::start("").unwrap();
    browser.visit(&site.at("/settings/location"));
    browser.fill("[name=name]", "box");
    browser.click("input[name=kind][value=sftp]");
    browser.fill("[name='sftp.host']", &format!("127.0.0.1:{}", server.port()));
    browser.fill("[name='sftp.user']", "root");
    browser.fill("[name='sftp.path']", server.root().to_str().unwrap());
    browser.fill("[name='sftp.key_file']", server.user_key().to_str().unwrap());
    browser.click("button[value=try]");
    browser.says("The host is not known yet; its key is");
    looks.at("host-key");
    browser.click("button[name='accept:sftp.host_key']");
    browser.says("This location works.");
    browser.click("button[value=save]");
    browser.wait("it is saved", "location.pathname === '/settings'", &[]);
    browser.says("sftp://root@127.0.0.1");
}
