//! Recognises addresses as other programs write them, and names the right form, or how to reach the destination at all.

use std::path::Path;

use crate::{
    redact::{self, CUT},
    registry,
};

/// An address that is understood, but not spoken: why, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    pub(super) reason: String,
    pub(super) advice: String,
}

fn foreign(reason: impl Into<String>, advice: impl Into<String>) -> Foreign {
    Foreign { reason: reason.into(), advice: advice.into() }
}

const MOUNT: &str = "mount the share on this machine, then give the directory where it is mounted";
/// Services that are reached through rclone only.
const THROUGH_RCLONE: &[&str] = &[
    "onedrive",
    "dropbox",
    "pcloud",
    "box",
    "mega",
    "icloud",
    "protondrive",
    "koofr",
    "jottacloud",
    "yandex",
    "rclone",
];
/// Endings and beginnings of hosts that speak S3.
const S3_HOSTS: &[&str] = &[
    "amazonaws.com",
    "backblazeb2.com",
    "wasabisys.com",
    "digitaloceanspaces.com",
    "r2.cloudflarestorage.com",
    "scw.cloud",
    "your-objectstorage.com",
    "idrivee2.com",
];

/// The meaning of `SCHEME://REST` with an unknown scheme. `None`: no program uses it.
pub(super) fn scheme(scheme: &str, rest: &str) -> Option<Foreign> {
    let no_kind = |name: &str| format!("Haul does not support {name} addresses");
    Some(match scheme {
        "https" | "http" => web(scheme, rest),
        "smb" | "cifs" | "nfs" | "afp" => foreign(format!("Haul does not support {}", scheme.to_uppercase()), MOUNT),
        "ftp" | "ftps" => foreign(
            "Haul does not support FTP",
            "use sftp://USER@HOST/PATH or webdavs://HOST/PATH if the server offers one, or mount it and give the \
             directory",
        ),
        "ssh" | "scp" => {
            foreign(no_kind(&format!("{scheme}://")), format!("over SSH, write sftp://{}", or(rest, "USER@HOST/PATH")))
        }
        "rsync" => foreign("Haul does not support rsync", "over SSH, write sftp://USER@HOST/PATH"),
        "dav" | "davs" => foreign(
            no_kind(&format!("{scheme}://")),
            format!("for WebDAV, write web{scheme}://{}", or(rest, "HOST/PATH")),
        ),
        "owncloud" | "ownclouds" => foreign(
            no_kind(&format!("{scheme}://")),
            format!("write nextcloud{}://{rest}", scheme.trim_start_matches("owncloud")),
        ),
        "b2" | "backblaze" => foreign(
            "Backblaze B2 is reached through S3",
            s3_advice(or(rest, "BUCKET/PREFIX"), "https://s3.REGION.backblazeb2.com"),
        ),
        "r2" => foreign(
            "Cloudflare R2 is reached through S3",
            s3_advice(or(rest, "BUCKET/PREFIX"), "https://ACCOUNT.r2.cloudflarestorage.com"),
        ),
        "minio" | "wasabi" | "s3a" | "s3n" | "spaces" => {
            foreign(no_kind(&format!("{scheme}://")), s3_advice(or(rest, "BUCKET/PREFIX"), "https://HOST of the store"))
        }
        "gcs" => {
            foreign(no_kind("gcs://"), format!("for Google Cloud Storage, write gs://{}", or(rest, "BUCKET/PREFIX")))
        }
        "az" | "azure" | "abs" | "wasb" | "wasbs" | "abfs" | "abfss" => foreign(
            no_kind(&format!("{scheme}://")),
            "for Azure Blob Storage, write azblob://CONTAINER/PREFIX and set account in haul.toml",
        ),
        "drive" | "googledrive" | "gd" => foreign(
            no_kind(&format!("{scheme}://")),
            format!("for Google Drive, write gdrive://{}", or(rest, "FOLDER")),
        ),
        other if THROUGH_RCLONE.contains(&other) => through_rclone(other),
        _ => return None,
    })
}

fn or<'a>(rest: &'a str, example: &'a str) -> &'a str {
    if rest.trim_matches('/').is_empty() { example } else { rest }
}

fn s3_advice(bucket: &str, endpoint: &str) -> String {
    format!("write s3://{} and set endpoint = \"{endpoint}\" for it in haul.toml", bucket.trim_matches('/'))
}

fn through_rclone(name: &str) -> Foreign {
    let advice = "let rclone serve it (`rclone serve webdav REMOTE:`, then webdav://localhost:8080/), or mount it \
        (`rclone mount --vfs-cache-mode writes`) and give \
                  the directory";
    foreign(format!("Haul does not support {name}"), advice)
}

/// A page's address: WebDAV, Nextcloud, or the endpoint of a bucket.
fn web(scheme: &str, rest: &str) -> Foreign {
    let secure = if scheme == "https" { "s" } else { "" };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let name = host.split(':').next().unwrap_or_default().to_lowercase();
    let what = format!("{scheme}:// does not say what kind of destination this is");
    if let Some((before, dav)) = path.split_once("remote.php/") {
        // `dav/files/USER/FOLDER`, or the older `webdav/FOLDER`.
        let (user, folder) = match dav.strip_prefix("dav/files/") {
            Some(files) => files.split_once('/').map_or((files, ""), |(user, folder)| (user, folder)),
            None => ("", dav.strip_prefix("webdav").unwrap_or_default()),
        };
        let user = if user.is_empty() { "USER" } else { user };
        let steps = [before, folder].map(|step| step.trim_matches('/'));
        let path: String = steps.into_iter().filter(|step| !step.is_empty()).flat_map(|step| ["/", step]).collect();
        return foreign(
            what,
            format!("this is a Nextcloud or ownCloud: write nextcloud{secure}://{user}@{host}{}", or(&path, "/FOLDER")),
        );
    }
    if S3_HOSTS.iter().any(|known| name.ends_with(known))
        || name.starts_with("s3.")
        || name.contains(".s3.")
        || name.starts_with("minio")
    {
        let is_path_style =
            name.starts_with("s3") || name.starts_with("minio") || name.ends_with("r2.cloudflarestorage.com");
        let (bucket, endpoint) = match name.split_once('.') {
            Some((bucket, endpoint)) if !is_path_style => (format!("{bucket}/{path}"), endpoint.to_owned()),
            _ => (path.to_owned(), host.to_owned()),
        };
        return foreign(
            what,
            format!(
                "this looks like S3: {}",
                s3_advice(or(&bucket, "BUCKET/PREFIX"), &format!("{scheme}://{endpoint}"))
            ),
        );
    }
    if name.ends_with("blob.core.windows.net") {
        let account = name.split('.').next().unwrap_or_default();
        return foreign(
            what,
            format!(
                "this is Azure Blob Storage: write azblob://{} and set account = \"{account}\" in haul.toml",
                or(path, "CONTAINER/PREFIX")
            ),
        );
    }
    match name.as_str() {
        "drive.google.com" => return foreign(what, "for Google Drive, write gdrive://FOLDER"),
        "onedrive.live.com" | "1drv.ms" => return through_rclone("onedrive"),
        "www.dropbox.com" | "dropbox.com" => return through_rclone("dropbox"),
        _ => {}
    }
    foreign(
        what,
        format!(
            "for WebDAV, write webdav{secure}://{rest}; for a bucket, s3://BUCKET/PREFIX with endpoint \
             = \"{scheme}://{host}\" in haul.toml"
        ),
    )
}

/// The meaning of text without `://` that looks like an address. A file or directory of that name comes first, which
/// [`is_here`] checks. `shown` is the text without secrets; messages use only that.
pub(super) fn without_scheme(text: &str, shown: &str) -> Option<Foreign> {
    if text.starts_with(r"\\") || text.starts_with("//") {
        return if is_here(text) {
            None
        } else {
            Some(foreign(format!("{shown} looks like a share on the network"), MOUNT))
        };
    }
    let bare = shown.trim_end_matches(CUT);
    let (before, rest) = bare.split_once(':').filter(|(before, _)| !before.is_empty() && !before.contains('/'))?;
    if Path::new(text).exists() {
        return None;
    }
    let as_file = format!("for a file or directory of that name, write ./{shown}");
    let known = before.to_lowercase();
    if let Some((inner, _)) = rest.split_once("://").filter(|(inner, _)| matches!(*inner, "http" | "https")) {
        // As restic writes it: s3:https://HOST/BUCKET, rest:https://…
        let rest = &rest[inner.len() + 3..];
        let advice = match known.as_str() {
            "s3" => {
                let (host, bucket) = rest.split_once('/').unwrap_or((rest, ""));
                s3_advice(or(bucket, "BUCKET/PREFIX"), &format!("{inner}://{host}"))
            }
            _ => web(inner, rest).advice,
        };
        return Some(foreign(format!("{shown} is not an address that Haul knows"), advice));
    }
    if registry::names().any(|name| name == known) {
        let rest = match known.as_str() {
            // As sftp and restic write it: USER@HOST:/PATH.
            "sftp" => ssh_address(rest).unwrap_or_else(|| rest.trim_start_matches('/').to_owned()),
            "file" => format!("/{}", rest.trim_start_matches('/')),
            _ => rest.trim_start_matches('/').to_owned(),
        };
        return Some(foreign(
            format!("{shown} is not an address that Haul knows"),
            format!("did you mean {known}://{rest}? {as_file}"),
        ));
    }
    if let Some(meant) = scheme(&known, rest.trim_start_matches('/')) {
        return Some(meant);
    }
    let reason = format!("there is no file or directory {shown}, and it is not an address that Haul knows");
    Some(match ssh_address(bare) {
        Some(address) => foreign(reason, format!("for a host reached by SSH, write sftp://{address}; {as_file}")),
        None => foreign(reason, as_file),
    })
}

/// `[USER@]HOST:PATH` of scp as SFTP has it: a path that is not absolute begins in the home directory.
fn ssh_address(text: &str) -> Option<String> {
    let (host, path) = text.split_once(':')?;
    let is_host = |c: char| c.is_alphanumeric() || "@.-_".contains(c);
    if host.is_empty() || !host.chars().all(is_host) {
        return None;
    }
    Some(match path.strip_prefix('/') {
        Some(path) => format!("{host}/{path}"),
        None if path.is_empty() => format!("{host}/~"),
        None => format!("{host}/~/{}", path.trim_start_matches("~/")),
    })
}

/// There is such a thing, or an archive could be made in a directory that is there.
fn is_here(text: &str) -> bool {
    let path = Path::new(text);
    let is_archive = path.extension().is_some_and(|extension| extension == "tar");
    path.exists() || (is_archive && path.parent().is_some_and(Path::is_dir))
}

/// An address as it may be shown: without what may be a password, and without what follows the first ? or #, which may
/// be a key or a signature.
pub fn shown(text: &str) -> String {
    // A scheme, as far as there is one; `s3:https://` is one, too.
    let slashes = redact::behind_slashes(text);
    redact::text(text, if slashes > 0 { slashes } else { behind_colon(text) })
}

/// Behind a scheme that is followed by no more than a colon.
fn behind_colon(text: &str) -> usize {
    let Some((before, rest)) = text.split_once(':') else { return 0 };
    let known = before.to_lowercase();
    if registry::names().any(|name| name == known) || scheme(&known, rest).is_some() { before.len() + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::shown;
    use crate::Address;

    fn advice_for(text: &str) -> String {
        let error = Address::parse(text).unwrap_err();
        let crate::StoreError::Remote(remote) = &error else { panic!("{error}") };
        format!("{error}; {}", remote.advice.as_deref().unwrap_or_default())
    }

    /// What people paste or guess, and what it has to lead them to.
    #[test]
    fn every_address_of_others_leads_to_ours() {
        let cases = [
            ("https://cloud.example.org/remote.php/dav/files/me/ha", "write nextclouds://me@cloud.example.org/ha"),
            ("https://cloud.example.org/nc/remote.php/dav/files/me/", "write nextclouds://me@cloud.example.org/nc"),
            ("http://cloud.lan/remote.php/webdav/ha/", "write nextcloud://USER@cloud.lan/ha"),
            ("http://nas:5005/ha", "write webdav://nas:5005/ha"),
            ("https://x/y", "write webdavs://x/y"),
            (
                "https://s3.eu-central-1.amazonaws.com/bucket/ha",
                "write s3://bucket/ha and set endpoint = \"https://s3.eu-central-1.amazonaws.com\"",
            ),
            (
                "https://bucket.s3.us-west-004.backblazeb2.com/ha",
                "write s3://bucket/ha and set endpoint = \"https://s3.us-west-004.backblazeb2.com\"",
            ),
            ("https://acc.blob.core.windows.net/box/ha", "write azblob://box/ha and set account = \"acc\""),
            ("https://drive.google.com/drive/folders/1", "write gdrive://FOLDER"),
            ("smb://nas/ha", "mount the share"),
            ("cifs://nas/ha", "mount the share"),
            ("nfs://nas/ha", "mount the share"),
            ("//nas/ha", "mount the share"),
            (r"\\nas\ha", "mount the share"),
            ("ftp://nas/x", "use sftp://"),
            ("ssh://me@nas/x", "write sftp://me@nas/x"),
            ("b2://b/x", "write s3://b/x and set endpoint = \"https://s3.REGION.backblazeb2.com\""),
            ("s3:b/x", "did you mean s3://b/x?"),
            ("s3:https://minio.lan:9000/b/x", "write s3://b/x and set endpoint = \"https://minio.lan:9000\""),
            ("gdrive:x", "did you mean gdrive://x?"),
            ("sftp:me@nas:/x", "did you mean sftp://me@nas/x?"),
            ("user@nas:/x", "write sftp://user@nas/x"),
            ("user@nas:x.tar", "write sftp://user@nas/~/x.tar"),
            ("remote:dir", "write sftp://remote/~/dir"),
            ("dav://nas/x", "write webdav://nas/x"),
            ("davs://nas/x", "write webdavs://nas/x"),
            ("gcs://b/x", "write gs://b/x"),
            ("az://c/x", "write azblob://"),
            ("onedrive:x", "rclone serve webdav"),
            ("dropbox://x", "rclone serve webdav"),
            ("pcloud:x", "rclone serve webdav"),
        ];
        for (text, advice) in cases {
            let advice_for = advice_for(text);
            assert!(advice_for.contains(advice), "{text}: {advice_for}");
            assert!(!advice_for.contains("mkdir"), "{text}: {advice_for}");
        }
    }

    #[test]
    fn a_path_with_such_a_name_that_is_there_is_a_path() {
        let directory = tempfile::tempdir().unwrap();
        let there = format!("/{}", directory.path().display());
        assert_eq!(Address::parse(&there).unwrap(), Address::Local(there.clone().into()));
        assert_eq!(
            Address::parse(&format!("{there}/new.tar")).unwrap(),
            Address::Local(format!("{there}/new.tar").into())
        );
        assert_eq!(Address::parse("./a:b").unwrap(), Address::Local("./a:b".into()));
        assert_eq!(Address::parse("/x/a:b").unwrap(), Address::Local("/x/a:b".into()));
        assert_eq!(Address::parse("S3://bucket/a").unwrap(), Address::parse("s3://bucket/a").unwrap());
    }

    #[test]
    fn a_password_is_never_shown() {
        for text in [
            "azure://cont/x?sig=hunter2",
            "https://acc.blob.core.windows.net/cont/x?sig=hunter2",
            "https://nas/x#hunter2",
            "https://s3.eu.amazonaws.com/b/x?X-Amz-Signature=hunter2",
            "https://cloud/remote.php/dav/files/me/x?token=hunter2",
            "s3:https://minio.lan/b/x?key=hunter2",
            "s3:https://id:hunter2@minio.lan/b/x",
            "rest:https://me:hunter2@nas/x?token=hunter2",
            "sftp:me:hunter2@nas:/x",
            "me:hunter2@nas:/x",
            "webdav:x?password=hunter2",
            "//nas/x?password=hunter2",
            "stfp://nas/x?password=hunter2",
            "s3://?key=hunter2",
            "file://x?hunter2",
            "sftp://[nas/x?hunter2",
            "https://me:hunter2@cloud/remote.php/dav/files/me/",
            "sftp://me:hunter2@[nas/x",
            "sftp://me:a/hunter2@nas/x",
            "stfp://me:hunter2@nas/",
            "webdavs://me:hunter2@host/",
        ] {
            assert!(!advice_for(text).contains("hunter2"), "{}", advice_for(text));
        }
        assert_eq!(Address::parse("webdav://nas/x?password=hunter2").unwrap().to_string(), "webdav://nas/x?…");
        assert_eq!(shown("azure://cont/x?sig=hunter2"), "azure://cont/x?…");
        for text in ["sftp://me@nas:22/x", "haul://nas:8443", "sftp:me@nas:/x", "me@nas:x", "s3://bucket/a@b:c"] {
            assert_eq!(shown(text), text);
        }
    }
}
