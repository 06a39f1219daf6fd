//! Whether backups are safe, and what to do if not.

use askama::Template;
use axum::extract::State;
use keeper::status::{JobStatus, Problem, Status};

use super::{Answer, Frame, Service, redirect, show, view};
use crate::{backend::Backend, shared::Asked, text::Clock};

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    frame: Frame,
    clock: Clock,
    status: Status,
}

impl Home {
    /// Whether a problem above says the same.
    fn is_told(&self, job: &JobStatus) -> bool {
        let is_of = |problem: &&Problem| problem.job.as_ref() == Some(&job.name);
        self.status.problems.iter().filter(is_of).any(|problem| job.headline.starts_with(&problem.message))
    }

    /// What would make backups safer, once for all that it is said of: their names, unless it is said of all.
    fn advice(&self) -> Option<(String, &str)> {
        let jobs = &self.status.jobs;
        let advice = jobs.iter().find_map(|job| job.advice.as_deref())?;
        let of: Vec<&str> =
            jobs.iter().filter(|job| job.advice.as_deref() == Some(advice)).map(|job| job.name.as_str()).collect();
        let names = if of.len() == jobs.len() { String::new() } else { of.join(", ") };
        Some((names, advice))
    }
}

pub(super) async fn home(State(shared): Service, asked: Asked) -> Answer {
    let status = shared.ask(<dyn Backend>::status).await?;
    if shared.established().is_some_and(|established| established.key.is_some()) {
        return Ok(redirect(&asked, "/setup/key"));
    }
    if status.jobs.is_empty() && status.configuration.problem.is_none() {
        return Ok(redirect(&asked, "/setup"));
    }
    Ok(show(&Home { frame: Frame::new(&asked, "Home", "home"), clock: shared.clock(), status }))
}
