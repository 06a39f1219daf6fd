//! Whether the host is the right one: `known_hosts`, or a fingerprint from the configuration. Nothing is ever trusted
//! unasked.
//!
//! Understood are hashed names, `[host]:port`, patterns, several keys per host and `@revoked`; host certificates
//! (`@cert-authority`) are not.

use std::path::PathBuf;

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use russh::keys::{Algorithm, HashAlg, PublicKey, parse_public_key_base64};
use sha1::Sha1;

use super::settings::Target;
use crate::{
    context::{Context, Options, invalid},
    error::{HostKey, Kind, Operation, StoreError},
};

/// No list of hosts is longer.
const LONGEST: u64 = 16 << 20;

/// What is known of one host.
#[derive(Clone)]
pub(super) struct Trust {
    label: String,
    host: String,
    port: u16,
    pinned: Option<String>,
    known: Vec<PublicKey>,
    revoked: Vec<PublicKey>,
    file: String,
    // What has to be made before something can be added to that file.
    missing: Option<String>,
}

impl Trust {
    /// Reads the files again, so that a host trusted meanwhile counts.
    pub(super) fn read(target: &Target, options: &Options, context: &Context) -> Result<Self, StoreError> {
        let label = target.label();
        let pinned = options.get("host_key").map(str::to_owned);
        if pinned.as_ref().is_some_and(|pinned| !pinned.starts_with("SHA256:")) {
            return Err(invalid(&label, "host_key must be a fingerprint that begins with SHA256:"));
        }
        let mut files = Vec::new();
        match (options.get("known_hosts"), context.variable("HOME")) {
            (Some(path), home) => files.push(super::login::expanded(path, home.as_deref())),
            (None, Some(home)) => {
                files.extend([PathBuf::from(home).join(".ssh/known_hosts"), PathBuf::from("/etc/ssh/ssh_known_hosts")]);
            }
            (None, None) => files.push(PathBuf::from("/etc/ssh/ssh_known_hosts")),
        }
        let file = if options.get("known_hosts").is_some() {
            files[0].display().to_string()
        } else {
            "~/.ssh/known_hosts".to_owned()
        };
        let missing = files[0].parent().filter(|parent| !parent.exists());
        let missing = missing.and_then(|_| Some(file.rsplit_once('/')?.0.to_owned()));
        let mut trust = Self {
            label,
            host: target.host.clone(),
            port: target.port,
            pinned,
            known: Vec::new(),
            revoked: Vec::new(),
            file,
            missing,
        };
        for path in files {
            // A missing file knows nobody.
            trust.learn(
                &String::from_utf8_lossy(&crate::files::read(&path, LONGEST).unwrap_or_default()),
                &target.known_as(),
            );
        }
        Ok(trust)
    }

    fn learn(&mut self, text: &str, known_as: &str) {
        for line in text.lines() {
            let mut fields = line.split_whitespace();
            let mut first = fields.next().unwrap_or_default();
            let marker = if first.starts_with('@') {
                Some(std::mem::replace(&mut first, fields.next().unwrap_or_default()))
            } else {
                None
            };
            if first.starts_with('#') || !names(first, known_as) {
                continue;
            }
            // A kind of key we don't know can't be presented to us either.
            let Some(Ok(key)) = fields.nth(1).map(parse_public_key_base64) else { continue };
            match marker {
                None => self.known.push(key),
                Some("@revoked") => self.revoked.push(key),
                Some(_) => {}
            }
        }
    }

    /// Kinds of keys, those first by which the host is known: a server with several should present one of them.
    pub(super) fn preferred(&self, all: &[Algorithm]) -> Vec<Algorithm> {
        let is_known = |algorithm: &&Algorithm| self.known.iter().any(|key| same_kind(&key.algorithm(), algorithm));
        let (mut first, rest): (Vec<&Algorithm>, Vec<&Algorithm>) = all.iter().partition(is_known);
        first.extend(rest);
        first.into_iter().cloned().collect()
    }

    /// Refuses a host that is not, or not any more, the one it should be.
    pub(super) fn judge(&self, key: &PublicKey) -> Result<(), StoreError> {
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let same = |known: &&PublicKey| known.key_data() == key.key_data();
        if self.revoked.iter().any(|revoked| same(&revoked)) {
            return Err(self.refuse(format!("its key {fingerprint} is marked as revoked in {}", self.file)));
        }
        if let Some(pinned) = &self.pinned {
            if *pinned == fingerprint {
                return Ok(());
            }
            let reason = format!("ITS KEY IS NOT THE CONFIGURED ONE: it is {fingerprint}, but host_key says {pinned}");
            return Err(self.refuse(reason).advise(
                "somebody may be impersonating this server; change host_key only if \
                the server's key was really changed",
            ));
        }
        if self.known.iter().any(|known| same(&known)) {
            return Ok(());
        }
        let kind = key.algorithm();
        if self.known.iter().any(|known| same_kind(&known.algorithm(), &kind)) {
            let advice = format!(
                "somebody may be impersonating this server. If its key was really changed, compare {fingerprint} \
                 with \"ssh-keygen -lf\" of its own key, then: \
                 ssh-keygen -R '{}' && {}",
                self.known_as(),
                self.trust_command(&kind)
            );
            return Err(self
                .refuse(format!("THE HOST'S KEY HAS CHANGED: it is now {fingerprint}, but {} holds another", self.file))
                .advise(advice));
        }
        let advice = format!(
            "compare the fingerprint with the server's own (\"ssh-keygen -lf\" of its key), then trust it by: {}",
            self.trust_command(&kind)
        );
        // Whoever is known by another kind of key is no stranger: somebody else may show one that nobody knows.
        let (reason, host_key) = if self.known.is_empty() {
            ("the host is not known yet", HostKey::Unknown(fingerprint.clone()))
        } else {
            ("the host is known, but with another kind of key", HostKey::Wrong)
        };
        let refused = self.refuse(format!("{reason}; its key is {} {fingerprint}", kind_name(&kind)));
        Err(refused.advise(advice).about_host_key(host_key))
    }

    fn refuse(&self, reason: String) -> StoreError {
        StoreError::remote(&self.label, Operation::Connect, Kind::Protocol, reason).about_host_key(HostKey::Wrong)
    }

    fn known_as(&self) -> String {
        if self.port == 22 { self.host.clone() } else { format!("[{}]:{}", self.host, self.port) }
    }

    fn trust_command(&self, kind: &Algorithm) -> String {
        let port = if self.port == 22 { String::new() } else { format!(" -p {}", self.port) };
        let made = self.missing.as_ref().map_or_else(String::new, |missing| format!("mkdir -p {missing} && "));
        format!("{made}ssh-keyscan{port} -t {} {} >> {}", kind_name(kind), self.host, self.file)
    }
}

fn same_kind(one: &Algorithm, other: &Algorithm) -> bool {
    // RSA keys are the same whatever they sign with.
    one == other || matches!((one, other), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }))
}

/// As `ssh-keyscan -t` wants it.
fn kind_name(kind: &Algorithm) -> &'static str {
    match kind {
        Algorithm::Ed25519 => "ed25519",
        Algorithm::Ecdsa { .. } => "ecdsa",
        _ => "rsa",
    }
}

/// Whether a line's list of names means this host (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
fn names(list: &str, host: &str) -> bool {
    let mut found = false;
    for entry in list.split(',') {
        if let Some(hashed) = entry.strip_prefix("|1|") {
            found |= is_hash_of(hashed, host);
        } else if let Some(negated) = entry.strip_prefix('!') {
            if matches(negated.to_lowercase().as_bytes(), host.as_bytes()) {
                return false;
            }
        } else {
            found |= matches(entry.to_lowercase().as_bytes(), host.as_bytes());
        }
    }
    found
}

fn is_hash_of(hashed: &str, host: &str) -> bool {
    let Some((salt, hash)) = hashed.split_once('|') else { return false };
    let (Ok(salt), Ok(hash)) = (STANDARD.decode(salt), STANDARD.decode(hash)) else { return false };
    Hmac::<Sha1>::new_from_slice(&salt).is_ok_and(|hmac| hmac.chain_update(host).verify_slice(&hash).is_ok())
}

/// `*` matches any characters, `?` one. Goes back to the last star only, so long patterns cost no more than pattern
/// times name.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut seen, mut star) = (0, 0, None);
    while seen < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[seen] => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((back, taken)) = star else { return false };
                at = back + 1;
                seen = taken + 1;
                star = Some((back, seen));
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_patterns_and_negations_are_understood() {
        assert!(names("nas,10.0.0.5", "10.0.0.5"));
        assert!(names("[nas]:2222", "[nas]:2222"));
        assert!(!names("nas", "[nas]:2222"));
        assert!(names("*.example.org", "a.b.example.org"));
        assert!(names("NAS?", "nas1"));
        assert!(!names("*.example.org,!bad.example.org", "bad.example.org"));
        assert!(!names("", "nas"));
        assert!(matches(b"a*b*c", b"aXXbYYc") && !matches(b"a*b*c", b"aXXcYY"));
    }

    #[test]
    fn hashed_names_are_recognised() {
        // As "ssh-keygen -H" writes it.
        let line = "|1|O33ESRMWPVkMYIwJ1Uw+n877jTo=|nuuC5vEqXlEZ/8BXQR7m619W6Ak=";
        assert!(names(line, "example.com"));
        assert!(!names(line, "example.net"));
        assert!(!names("|1|nonsense", "example.com") && !names("|1|a|b", "example.com"));
    }
}
