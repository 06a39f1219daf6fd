//! Opens an archive to look into it: its password, and the note if it has no index.

use std::{
    io::{IsTerminal, stdout},
    sync::Arc,
};

use engine::{
    Progress,
    browse::Browser,
    read::{ArchiveSource, OpenError, ProgressFn},
};
use habackup::securetar::Password;
use store::Cancellation;

use crate::{
    args::ProgressArg,
    failure::Failure,
    output,
    password::{self, Offered},
    progress::{Display, Job},
};

/// Opens an archive, and asks for the password when it turns out to be needed and somebody is there to answer.
pub(crate) fn open<'a>(
    source: &ArchiveSource,
    given: Option<Password>,
    progress: ProgressFn<'a>,
) -> Result<(Browser<'a>, Option<Password>), OpenError> {
    let attempt = |password: Option<&Password>| Browser::open(source.clone(), password, engine::all_cores(), progress);
    password::with(given, |error| Some(error), attempt)
}

/// The same with all that is offered, for commands.
pub(crate) fn unlock<'a>(
    source: &ArchiveSource,
    offered: &Offered,
    progress: ProgressFn<'a>,
    cancel: &Cancellation,
) -> Result<(Browser<'a>, Option<Password>), Failure> {
    let attempt = |password: Option<&Password>| Browser::open(source.clone(), password, engine::all_cores(), progress);
    password::unlock(offered, cancel, |error| Some(error), attempt)
}

/// Says that an archive must be streamed.
pub(crate) fn streamed(browser: &Browser<'_>, how_far: &str) {
    if !browser.is_indexed() {
        output::notes("note", std::iter::once(format!("{} has no index, so Haul reads it {how_far}", browser.label())));
    }
}

/// What a command shows while it reads: on a terminal that the result goes to as well, only until that begins.
pub(crate) struct Watch {
    display: Option<Display>,
    shared: bool,
}

impl Watch {
    pub(crate) fn start(how: ProgressArg, verb: &'static str, progress: &Arc<Progress>) -> Self {
        Self {
            display: Some(Display::start(how, Job::reading(verb), Arc::clone(progress))),
            shared: stdout().is_terminal(),
        }
    }

    /// The result begins.
    pub(crate) fn make_way(&mut self) {
        if self.shared {
            self.display = None;
        }
    }
}
