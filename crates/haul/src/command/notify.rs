//! `haul notify check`: sends a test message through the channels of `haul.toml`.

use std::{sync::mpsc::RecvTimeoutError, time::Duration};

use keeper::{notices::Notice, status::Failure as Reason};
use serde::Serialize;
use store::Cancellation;

use super::list::table;
use crate::{
    args::NotifyCheckArgs,
    config::Config,
    failure::{DONE, FAILED, Failure, INTERRUPTED},
    notify::Channel,
    output, text,
};

/// How often it looks for Ctrl-C.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Serialize)]
struct Tried<'a> {
    channel: &'a str,
    delivered: bool,
    message: Option<String>,
    hint: Option<String>,
}

/// Whoever does not answer is not waited for when the user has had enough.
fn tell(channel: &Channel, cancel: &Cancellation) -> Result<Result<(), Reason>, Failure> {
    let (tell, told) = std::sync::mpsc::channel();
    let (channel, own) = (channel.clone(), cancel.clone());
    std::thread::spawn(move || {
        let _ = tell.send(channel.tell(&Notice::Test, &own));
    });
    loop {
        match told.recv_timeout(LOOK_AGAIN) {
            _ if cancel.is_cancelled() => return Err(Failure::new(INTERRUPTED, "interrupted")),
            Ok(told) => return Ok(told),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::new(FAILED, "the message could not be sent: its thread ended"));
            }
        }
    }
}

pub(crate) fn check(args: &NotifyCheckArgs, config: &Config, cancel: &Cancellation) -> Result<u8, Failure> {
    let wanted = |channel: &&Channel| args.channel.as_ref().is_none_or(|name| channel.wants.name == *name);
    let channels: Vec<&Channel> = config.channels().iter().filter(wanted).collect();
    if channels.is_empty() {
        let known: Vec<&str> = config.channels().iter().map(|channel| channel.wants.name.as_str()).collect();
        let failure = match &args.channel {
            Some(name) => Failure::usage(format!("there is no channel {name:?}")),
            None => Failure::usage("haul.toml names nobody to be told"),
        };
        let example = "define one as [notify.NAME], for example with ntfy = \"https://ntfy.example.net/my-backups\"";
        return Err(failure.hint(if known.is_empty() {
            example.to_owned()
        } else {
            format!("known: {}", known.join(", "))
        }));
    }
    let mut tried = Vec::new();
    for channel in channels {
        let told = tell(channel, cancel)?;
        let failure = told.err();
        tried.push(Tried {
            channel: &channel.wants.name,
            delivered: failure.is_none(),
            hint: failure.as_ref().and_then(|failure| failure.hint.clone()),
            message: failure.map(|failure| failure.message),
        });
    }
    let failed = tried.iter().any(|tried| !tried.delivered);
    if args.json {
        output::json(&tried)?;
    } else {
        let rows = tried.iter().map(|tried| {
            let said = tried.message.as_deref().map_or("sent", |message| message);
            [tried.channel.to_owned(), text::sanitize(said)]
        });
        output::lines(&table(&rows.collect::<Vec<_>>()))?;
        let hints = tried.iter().filter_map(|tried| Some(format!("{}: {}", tried.channel, tried.hint.as_ref()?)));
        output::notes("tip", hints.collect::<Vec<_>>().into_iter());
    }
    Ok(if failed { FAILED } else { DONE })
}
