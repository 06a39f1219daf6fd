//! What has to be done so that Supervisor's mounts are what they should be: decided from facts alone.

use std::net::IpAddr;

use super::{Mount, Mounts, State, Wanted};

/// How to tell one's own mounts from everybody else's, which are never touched.
#[derive(Clone, Debug)]
pub struct Ours {
    /// What their names begin with.
    pub prefix: String,
    /// Addresses at which Haul answers or has answered. Those of the machine itself and of the apps' network count
    /// without being named: an app gets another one when it is installed anew.
    pub servers: Vec<String>,
}

impl Ours {
    /// Those of Haul, at these addresses and the ones that only an app can have.
    pub fn at(servers: impl IntoIterator<Item = String>) -> Self {
        Self { prefix: "haul_".to_owned(), servers: servers.into_iter().collect() }
    }

    /// Whether this mount was made for us: by its name, its use and its server together. A user may well call a
    /// network storage of his own `haul_nas`.
    pub fn has(&self, mount: &Mount) -> bool {
        let server = mount.server.as_deref().unwrap_or_default();
        mount.name.starts_with(&self.prefix)
            && mount.kind == "cifs"
            && mount.usage.as_deref() == Some("backup")
            && (self.servers.iter().any(|ours| ours == server) || is_of_an_app(server))
    }
}

/// Whether this is an address of the machine itself, or in the network of its apps.
fn is_of_an_app(server: &str) -> bool {
    match server.parse() {
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, _] = address.octets();
            address.is_loopback() || matches!((a, b, c), (172, 30, 32 | 33))
        }
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.segments()[..3] == [0xfd0c, 0xac1e, 0x2100],
        Err(_) => server == "localhost",
    }
}

/// One thing to be done, or to be left.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// It is not there.
    Create(&'a Wanted),
    /// It is there with other settings or another password.
    Update(&'a Wanted),
    /// It is there as it should be, and does not work. If that does not help, it is updated.
    Reload(&'a Wanted),
    /// It is there, works, and stays as it is.
    Leave(&'a Wanted),
    /// It is being mounted or unmounted just now: it is looked at again later.
    Wait(&'a Wanted),
    /// Somebody else's mount has its name: nothing is done.
    Taken(&'a Wanted),
    /// It is ours, and not wanted any more.
    Remove(&'a str),
}

impl Step<'_> {
    /// The mount that it is about.
    pub fn name(&self) -> &str {
        match self {
            Self::Create(wanted)
            | Self::Update(wanted)
            | Self::Reload(wanted)
            | Self::Leave(wanted)
            | Self::Wait(wanted)
            | Self::Taken(wanted) => &wanted.name,
            Self::Remove(name) => name,
        }
    }

    /// Whether it interrupts whoever reads or writes there.
    pub fn interrupts(&self) -> bool {
        matches!(self, Self::Update(_) | Self::Remove(_))
    }
}

/// What has to be done.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// In this order: what is removed comes first, so that its name and port are free.
    pub steps: Vec<Step<'a>>,
    /// The default for backups before anything is done.
    pub default: Option<String>,
}

impl<'a> Plan<'a> {
    /// Decides.
    pub fn new(wanted: &'a [Wanted], mounts: &'a Mounts, ours: &Ours) -> Self {
        let removed = mounts.mounts.iter().filter(|mount| ours.has(mount));
        let removed = removed.filter(|mount| wanted.iter().all(|wanted| wanted.name != mount.name));
        let mut steps: Vec<Step<'a>> = removed.map(|mount| Step::Remove(&mount.name)).collect();
        steps.extend(wanted.iter().map(|wanted| match mounts.named(&wanted.name) {
            None => Step::Create(wanted),
            Some(mount) if !ours.has(mount) => Step::Taken(wanted),
            Some(mount) if mount.state == State::Changing => Step::Wait(wanted),
            Some(mount) if wanted.is_renewed || !is_as(mount, wanted) => Step::Update(wanted),
            Some(mount) if mount.state == State::Down => Step::Reload(wanted),
            Some(_) => Step::Leave(wanted),
        }));
        Self { steps, default: mounts.default.clone() }
    }

    /// Whether nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Leave(_)))
    }
}

/// Whether a mount has these settings, as far as Supervisor says.
fn is_as(mount: &Mount, wanted: &Wanted) -> bool {
    mount.server.as_deref() == Some(&wanted.server)
        && mount.port == wanted.port
        && mount.share.as_deref() == Some(&wanted.share)
        && !mount.read_only
}

/// A default for backups that has to be set: a mount, or none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Restored(pub(super) Option<String>);

/// Which default for backups has to be set after our steps, if one has: Supervisor makes the first backup mount the
/// default by itself, and takes it away from one that is updated.
pub(super) fn default_to_restore(before: Option<&str>, after: &Mounts, ours: &Ours) -> Option<Restored> {
    let is_ours = |name: &str| after.named(name).is_some_and(|mount| ours.has(mount));
    let before = before.filter(|before| after.named(before).is_some());
    match after.default.as_deref() {
        now if now == before => None,
        // What became of it by our doing is undone; what the user chose meanwhile stays.
        Some(now) => is_ours(now).then(|| Restored(before.map(str::to_owned))),
        None => before.filter(|before| is_ours(before)).map(|before| Restored(Some(before.to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::secret::Secret;

    fn wanted(name: &str) -> Wanted {
        Wanted {
            name: name.to_owned(),
            server: "172.30.33.5".to_owned(),
            port: Some(8746),
            share: "nas".to_owned(),
            user: "homeassistant".to_owned(),
            password: Secret::new("sesame"),
            is_renewed: false,
        }
    }

    /// As Supervisor lists what was wanted, with changes.
    fn mount(name: &str, changes: &serde_json::Value) -> Mount {
        let mut mount = json!({ "name": name, "type": "cifs", "usage": "backup", "server": "172.30.33.5", "port": 8746,
            "share": "nas", "version": null, "read_only": false, "state": "active", "user_path": null });
        mount.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(mount).unwrap()
    }

    fn ours() -> Ours {
        Ours::at(["192.168.1.5".to_owned()])
    }

    fn step(wanted: &Wanted, there: Option<Mount>) -> String {
        let mounts = Mounts { default: None, mounts: there.into_iter().collect() };
        let wanted = [wanted.clone()];
        let step = format!("{:?}", Plan::new(&wanted, &mounts, &ours()).steps[0]);
        step.split('(').next().unwrap().to_owned()
    }

    #[test]
    fn each_mount_gets_what_it_needs_and_no_more() {
        let it = wanted("haul_nas");
        let with = |changes| Some(mount("haul_nas", &changes));
        assert_eq!(step(&it, None), "Create");
        assert_eq!(step(&it, with(json!({}))), "Leave");
        assert_eq!(step(&it, with(json!({ "state": "failed" }))), "Reload");
        assert_eq!(step(&it, with(json!({ "state": null }))), "Reload");
        assert_eq!(step(&it, with(json!({ "state": "activating" }))), "Wait");
        assert_eq!(step(&it, with(json!({ "port": 8747 }))), "Update");
        assert_eq!(step(&it, with(json!({ "port": null }))), "Update");
        assert_eq!(step(&it, with(json!({ "share": "other" }))), "Update");
        assert_eq!(step(&it, with(json!({ "server": "172.30.33.9" }))), "Update", "the app got another address");
        assert_eq!(step(&it, with(json!({ "server": "192.168.1.5" }))), "Update");
        assert_eq!(step(&Wanted { is_renewed: true, ..it.clone() }, with(json!({}))), "Update");
        assert_eq!(step(&Wanted { is_renewed: true, ..it }, with(json!({ "state": "failed" }))), "Update");
    }

    #[test]
    fn what_is_not_ours_is_never_touched() {
        let it = wanted("haul_nas");
        for changes in [
            json!({ "server": "192.168.1.10" }),
            json!({ "server": "haul.local" }),
            json!({ "server": null }),
            json!({ "usage": "media" }),
            json!({ "type": "nfs", "share": null }),
        ] {
            assert_eq!(step(&it, Some(mount("haul_nas", &changes))), "Taken", "{changes}");
        }
        let mounts = Mounts {
            default: None,
            mounts: vec![
                mount("nas", &json!({})),
                mount("haul_music", &json!({ "usage": "media" })),
                mount("haul_old", &json!({ "server": "192.168.1.10" })),
            ],
        };
        assert!(Plan::new(&[], &mounts, &ours()).steps.is_empty());
    }

    #[test]
    fn what_is_ours_and_not_wanted_goes_first() {
        let mounts = Mounts { default: None, mounts: vec![mount("haul_old", &json!({ "state": "failed" }))] };
        let wanted = [wanted("haul_nas")];
        let plan = Plan::new(&wanted, &mounts, &ours());
        assert!(matches!(plan.steps[..], [Step::Remove("haul_old"), Step::Create(_)]), "{plan:?}");
    }

    #[test]
    fn the_default_is_as_before_whatever_supervisor_made_of_it() {
        let after = |default: Option<&str>| Mounts {
            default: default.map(str::to_owned),
            mounts: vec![mount("haul_nas", &json!({})), mount("nas", &json!({ "server": "192.168.1.10" }))],
        };
        let restored = |before, now| default_to_restore(before, &after(now), &ours());
        let named = |name: &str| Some(Restored(Some(name.to_owned())));
        assert_eq!(restored(None, None), None);
        assert_eq!(
            restored(None, Some("haul_nas")),
            Some(Restored(None)),
            "the first backup mount became it by itself"
        );
        assert_eq!(restored(Some("nas"), Some("nas")), None);
        assert_eq!(restored(Some("nas"), Some("haul_nas")), named("nas"));
        assert_eq!(restored(Some("haul_nas"), None), named("haul_nas"), "the user's choice, lost by an update");
        assert_eq!(restored(Some("haul_nas"), Some("haul_nas")), None, "the user's choice");
        assert_eq!(restored(None, Some("nas")), None, "the user chose meanwhile");
        assert_eq!(restored(Some("nas"), None), None, "the user chose meanwhile");
        assert_eq!(restored(Some("gone"), Some("haul_nas")), Some(Restored(None)), "what it was is not there any more");
        assert_eq!(restored(Some("haul_gone"), None), None);
    }

    #[test]
    fn only_an_app_or_the_machine_itself_has_these_addresses() {
        for ours in ["127.0.0.1", "::1", "localhost", "172.30.32.1", "172.30.33.255", "fd0c:ac1e:2100::5"] {
            assert!(is_of_an_app(ours), "{ours}");
        }
        for other in ["172.30.34.1", "172.31.33.1", "192.168.1.5", "fd0c:ac1e:2101::5", "nas", ""] {
            assert!(!is_of_an_app(other), "{other}");
        }
    }
}
