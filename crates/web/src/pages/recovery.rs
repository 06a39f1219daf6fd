//! What is needed to restore on an empty machine: to be printed.

use askama::Template;
use axum::extract::State;
use keeper::status::{ArchiveStatus, DestinationStatus, JobStatus};

use super::{
    Answer, Frame, Service,
    archive::{best, quoted},
    show, view,
};
use crate::{shared::Asked, text::Clock};

#[derive(Template)]
#[template(path = "recovery.html")]
struct Recovery {
    frame: Frame,
    clock: Clock,
    jobs: Vec<Known>,
    destinations: Vec<DestinationStatus>,
}

/// A job and its newest backup.
struct Known {
    job: JobStatus,
    newest: Option<ArchiveStatus>,
}

impl Known {
    fn command(&self) -> Option<String> {
        let copy = best(self.newest.as_ref()?)?;
        let address = format!("{}/{}", copy.destination, copy.name);
        Some(format!("haul restore {} --into {} --replace", quoted(&address), quoted(&self.job.source)))
    }
}

pub(super) async fn recovery(State(shared): Service, asked: Asked) -> Answer {
    let (status, archives) = shared.ask(|backend| (backend.status(), backend.archives())).await?;
    let newest = |job: &JobStatus| {
        archives.iter().find(|archive| archive.job.as_ref() == Some(&job.name) && best(archive).is_some()).cloned()
    };
    let jobs = status.jobs.into_iter().map(|job| Known { newest: newest(&job), job }).collect();
    let frame = Frame::new(&asked, "Recovery", "recovery");
    Ok(show(&Recovery { frame, clock: shared.clock(), jobs, destinations: status.destinations }))
}
