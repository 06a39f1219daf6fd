//! Buttons that order something: it is done, and the page that they are on is shown again and says so.

use axum::{
    extract::{Path, State},
    response::Response,
};

use super::{Answer, Service, redirect};
use crate::{backend::Order, fields::segment, orders::carry_out, refusal::Refusal, shared::Asked};

/// What is said when it is done.
pub(super) fn done(key: &str) -> Option<&'static str> {
    Some(match key {
        "run" => "The backup has begun.",
        "pause" => "It is paused: nothing is made, copied or removed for it.",
        "resume" => "It goes on.",
        "restore" => "The restore has begun. Home shows how far it is; its end appears here.",
        "restore-parts" => {
            "Supervisor restores it. Home shows how far it is; its end appears here. If Home Assistant is restored, this \
             page is gone for some minutes."
        }
        "migrate" => "The move has begun. Home shows how far it is; its end appears here.",
        "rehearse" => "The test of a restore has begun.",
        "cancel" => "It is being stopped.",
        "sync" => "Haul looks at every location and copies what is missing.",
        "agree" => "The old backups are being removed.",
        "verify" => "The check has begun.",
        "pin" => "This backup is kept until you release it.",
        "unpin" => "This backup may be removed when its time has come.",
        "note" => "The note is saved.",
        "delete" => "The backup is being deleted.",
        "password" => "The password is changed. Every other browser is logged out.",
        "revoke" => "The token is revoked.",
        "key" => "Backups are encrypted with your encryption key from now on.",
        "saved" => "The change is saved, and in force.",
        "quick" => "Quick backups are set up, and the first one begins.",
        "saved-key" => "The change is saved. Download the emergency kit again: it has the new encryption key.",
        "removed" => "It is removed.",
        "setup" => "Everything is set up, and the first backup has begun.",
        _ => return None,
    })
}

/// Says it on a page.
pub(super) fn said(asked: &Asked, page: &str, key: &str) -> Response {
    redirect(asked, &format!("{page}?done={key}"))
}

pub(super) async fn job(State(shared): Service, Path((job, order)): Path<(String, String)>, asked: Asked) -> Answer {
    let (key, order) = match order.as_str() {
        "run" => ("run", Order::BackUp { job }),
        "pause" => ("pause", Order::Pause { job }),
        "resume" => ("resume", Order::Resume { job }),
        "rehearse" => ("rehearse", Order::RehearseNewest { job }),
        _ => return Err(Refusal::not_found("button")),
    };
    carry_out(&shared, order).await?;
    Ok(said(&asked, "/", key))
}

pub(super) async fn archive(
    State(shared): Service,
    Path((archive, order)): Path<(String, String)>,
    asked: Asked,
) -> Answer {
    let page = format!("/backups/{}", segment(&archive));
    let destination = asked.form.get("destination").map(str::to_owned);
    let (key, order) = match order.as_str() {
        "verify" => ("verify", Order::Verify { archive, destination }),
        "rehearse" => ("rehearse", Order::Rehearse { archive }),
        "pin" => ("pin", Order::Pin { archive }),
        "unpin" => ("unpin", Order::Unpin { archive }),
        "note" => ("note", Order::Note { archive, text: asked.form.text("text").trim().to_owned() }),
        _ => return Err(Refusal::not_found("button")),
    };
    carry_out(&shared, order).await?;
    Ok(said(&asked, &page, key))
}

pub(super) async fn cancel(State(shared): Service, Path(run): Path<String>, asked: Asked) -> Answer {
    let run = run.parse().map_err(|_| Refusal::not_found("running task"))?;
    carry_out(&shared, Order::Cancel { run }).await?;
    Ok(said(&asked, "/", "cancel"))
}

pub(super) async fn agree(State(shared): Service, Path(destination): Path<String>, asked: Asked) -> Answer {
    carry_out(&shared, Order::AgreeToRemovals { destination }).await?;
    Ok(said(&asked, "/", "agree"))
}

pub(super) async fn sync(State(shared): Service, asked: Asked) -> Answer {
    carry_out(&shared, Order::Sync).await?;
    Ok(said(&asked, "/", "sync"))
}
