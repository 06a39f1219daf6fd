//! Home Assistant's network storage for files: what is behind a folder below `/share` or `/media`.

use std::time::Duration;

use store::Cancellation;
use supervisor::mount::Mount;
use web::backend::Storage;

use super::{App, Unanswered};
use crate::{
    failure::{FAILED, Failure},
    text::sanitize,
};

/// Somebody waits for a page.
const SOON: Duration = Duration::from_secs(5);

impl App {
    /// The folders that are network storage, and what is behind each.
    pub(crate) fn storages(&self, cancel: &Cancellation) -> Result<Vec<Storage>, Failure> {
        let asking = async { tokio::time::timeout(SOON, self.supervisor.mounts()).await };
        match self.network.bridge.wait(cancel.unless_cancelled(asking)) {
            Some(Ok(Ok(mounts))) => Ok(mounts.mounts.iter().filter_map(storage).collect()),
            Some(Ok(Err(error))) => Err(Unanswered::Failed(error).into()),
            Some(Err(_)) => {
                let late = format!("Supervisor does not say within {} s what network storage there is", SOON.as_secs());
                Err(Failure::new(FAILED, late).hint("try again"))
            }
            None => Err(Unanswered::Stopped.into()),
        }
    }
}

fn storage(mount: &Mount) -> Option<Storage> {
    // That for backups is in no folder of an app.
    let usage = mount.usage.as_deref().filter(|usage| ["share", "media"].contains(usage))?;
    let server = sanitize(mount.server.as_deref()?);
    let port = mount.port.map_or_else(String::new, |port| format!(", port {port}"));
    let behind = if mount.kind == "nfs" {
        format!("the NFS folder {} of {server}{port}", sanitize(mount.path.as_deref()?))
    } else {
        format!("the Windows share {} of {server}{port}", sanitize(mount.share.as_deref()?))
    };
    Some(Storage { folder: format!("/{usage}/{}", sanitize(&mount.name)), behind })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use serde_json::json;

    use super::*;

    #[test]
    fn only_storage_for_files_is_a_folder() {
        let told = |mount| storage(&serde_json::from_value(mount).unwrap()).map(|it| (it.folder, it.behind));
        let cifs = |usage: &str| json!({ "name": "nas", "type": "cifs", "usage": usage, "server": "10.0.0.2", "share": "ha", "port": 1445 });
        let share = ("/share/nas".to_owned(), "the Windows share ha of 10.0.0.2, port 1445".to_owned());
        assert_eq!(told(cifs("share")), Some(share));
        assert_eq!(told(cifs("backup")), None);
        let nfs = json!({ "name": "m", "type": "nfs", "usage": "media", "server": "nas", "path": "/volume1/m" });
        assert_eq!(told(nfs), Some(("/media/m".to_owned(), "the NFS folder /volume1/m of nas".to_owned())));
        assert_eq!(told(json!({ "name": "x", "usage": "share" })), None);
    }
}
