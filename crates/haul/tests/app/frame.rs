//! The page in Home Assistant's frame, in a real browser: its colours, its menu, its other pages.
//! `HAUL_PICTURES=DIRECTORY` keeps pictures.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    thread,
};

use serde_json::json;
use testkit::{
    browser::Browser,
    supervisor::{Supervisor, World},
};

use crate::home::{App, Home};

pub(crate) const PREFIX: &str = "/api/hassio_ingress/x";
const AROUND: &str = include_str!("frame.html");
const WIDE: u32 = 1280;
const PHONE: u32 = 390;
/// In the frame.
const INSIDE: &str = "document.querySelector('iframe').contentDocument";

/// Home Assistant's address: its page with the frame, and behind it the app, as Supervisor passes requests on.
pub(crate) fn address(app: &App) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let port = app.port;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            thread::spawn(move || pass_on(stream, port));
        }
    });
    address
}

/// One request, and all of its answer. What goes wrong with it is the browser's or the app's leaving.
fn pass_on(mut browser: TcpStream, port: u16) -> Option<()> {
    let mut reader = BufReader::new(browser.try_clone().ok()?);
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        let name = line.split(':').next().unwrap_or_default().to_lowercase();
        if name == "content-length" {
            length = line.split(':').nth(1)?.trim().parse().ok()?;
        }
        if name != "connection" {
            head.push(line);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let target = head[0].split(' ').nth(1)?.to_owned();
    let Some(path) = target.strip_prefix(PREFIX) else {
        let (kind, page) =
            if target.starts_with("/config/") { ("text/plain", "elsewhere") } else { ("text/html", AROUND) };
        write!(
            browser,
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
            page.len()
        )
        .ok()?;
        return Some(());
    };
    head[0] = head[0].replacen(&target, path, 1);
    let mut app = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(app, "{}X-Ingress-Path: {PREFIX}\r\nX-Remote-User-Id: 0aa1\r\nConnection: close\r\n\r\n", head.concat())
        .ok()?;
    app.write_all(&body).ok()?;
    std::io::copy(&mut app, &mut browser).ok()?;
    browser.shutdown(Shutdown::Both).ok()
}

/// Keeps a picture, for somebody who asks for one.
pub(crate) fn picture(browser: &Browser, name: &str) {
    if let Some(directory) = env::var_os("HAUL_PICTURES").map(PathBuf::from) {
        browser.picture(&directory.join(format!("app-{name}.png")));
    }
}

#[test]
fn the_page_is_a_part_of_home_assistant() {
    let Some(browser) = Browser::start() else { return };
    let supervisor = Supervisor::start(World::default());
    let home =
        Home::new("[destinations.nas]\nurl = \"nas\"\n[jobs.home]\nsource = \"config\"\ndestinations = [\"nas\"]\n");
    let app = home.start(&supervisor);
    let at = address(&app);
    let ground = format!("getComputedStyle({INSIDE}.body).backgroundColor === arguments[0]");
    let (light, dark) = (json!("rgb(250, 250, 250)"), json!("rgb(17, 17, 17)"));

    // Dark, although the browser prefers light, and the other way round.
    browser.screen(WIDE, false);
    browser.visit(&format!("{at}/?dark"));
    browser.wait("it is dark", &ground, std::slice::from_ref(&dark));
    browser.wait("all of it", &format!("{INSIDE}.getElementById('dark').media === 'all'"), &[]);
    picture(&browser, "wide-dark");
    browser.run("theme(false)", &[]);
    browser.wait("it follows", &ground, std::slice::from_ref(&light));
    picture(&browser, "wide-light");
    browser.screen(WIDE, true);
    browser.wait("it stays as Home Assistant is", &ground, &[light]);
    browser.wait("no part is dark", &format!("{INSIDE}.getElementById('dark').media === 'not all'"), &[]);
    // Its colour, as far as it can be read.
    let action =
        browser.run(&format!("return getComputedStyle({INSIDE}.documentElement).getPropertyValue('--action')"), &[]);
    assert!(action.as_str().unwrap().starts_with("rgb(0 1"), "{action}");

    // Wide, the menu is beside the page.
    let menu = format!("{INSIDE}.getElementById('menu').checkVisibility()");
    browser.wait("there is no menu button", &format!("!{menu}"), &[]);
    browser.screen(PHONE, true);
    browser.visit(&format!("{at}/?dark"));
    browser.wait("there is one on a phone", &menu, &[]);
    browser.wait("and no second one", "document.querySelector('.header').hidden", &[]);
    picture(&browser, "phone-dark");
    browser.run(&format!("{INSIDE}.getElementById('menu').click()"), &[]);
    browser.wait("it is Home Assistant's", "said.includes('home-assistant/toggle-menu')", &[]);
    // On the next page, too.
    browser.run(&format!("{INSIDE}.querySelector('nav a[href$=\"/settings\"]').click()"), &[]);
    browser.wait("it is open", &format!("{INSIDE}.title.startsWith('Settings') && {menu}"), &[]);
    browser.run("become(false)", &[]);
    browser.wait("it goes where there is room", &format!("!{menu} && !kiosk"), &[]);

    // Home Assistant's other pages are opened by itself.
    browser.screen(WIDE, false);
    browser.visit(&at);
    browser.wait("the page is there", &format!("{INSIDE}.querySelector('a[target=_top]')"), &[]);
    browser.wait("it listens", "listens", &[]);
    browser.run(&format!("{INSIDE}.querySelector('a[target=_top]').click()"), &[]);
    browser.wait("it is asked to", "said.includes('home-assistant/navigate/config/backup')", &[]);
    // Its taste in forms is no complaint.
    let complaints: Vec<_> = browser.console().into_iter().filter(|said| said.source != "recommendation").collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[test]
fn a_newcomer_sees_what_there_is_already() {
    let Some(browser) = Browser::start() else { return };
    let supervisor = Supervisor::start(World::default());
    supervisor.change(|world| {
        world.backup_config["create_backup"]["agent_ids"] = json!(["hassio.local", "google_drive.ab12"]);
        world.backup_config["agents"] = json!({ "google_drive.ab12": { "protected": false } });
        world.backup_config["last_attempted_automatic_backup"] = json!("2026-11-28T04:55:12.000000+01:00");
        world.backup_config["last_completed_automatic_backup"] = json!("2026-11-20T04:55:12.000000+01:00");
    });
    let home = Home::new("time_zone = \"Europe/Berlin\"\n");
    let app = home.start(&supervisor);
    let at = address(&app);
    for (width, is_dark) in [(WIDE, false), (PHONE, true)] {
        browser.screen(width, is_dark);
        browser.visit(&format!("{at}/{}", if is_dark { "?dark" } else { "" }));
        browser.wait("it leads to the set-up", &format!("{INSIDE}.querySelector('[name=other_schedule]')"), &[]);
        let fits = format!("{INSIDE}.documentElement.scrollWidth <= {width}");
        browser.wait("it fits", &fits, &[]);
        let own = format!("{INSIDE}.querySelector('[value=home-assistant]').checked");
        browser.wait("its key is proposed", &own, &[]);
        picture(&browser, &format!("setup-{width}"));
    }
}
