//! A real WebDAV server with partial writes: Apache with mod_dav.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::process::{Server, free_port};

/// The user it knows.
pub const USER: &str = "haul";
/// That user's password.
pub const PASSWORD: &str = "secret";

const PROGRAM: &str = "/usr/sbin/apache2";
const MODULES: &str = "/usr/lib/apache2/modules";

/// A running Apache over a directory of its own, below `/dav/`. Ends when dropped.
pub struct Apache {
    port: u16,
    directory: TempDir,
    _server: Server,
}

impl Apache {
    /// `None`: it is not installed; standard error says so.
    pub fn start() -> Option<Self> {
        if !Path::new(PROGRAM).exists() || !Path::new(MODULES).join("mod_dav_fs.so").exists() {
            return crate::process::missing("apache2 with mod_dav");
        }
        let directory = TempDir::new().ok()?;
        let root = directory.path();
        fs::create_dir(root.join("files")).ok()?;
        // When root starts it, it runs as www-data, which needs access.
        for (path, mode) in [(root.to_owned(), 0o777), (root.join("files"), 0o777)] {
            fs::set_permissions(path, Permissions::from_mode(mode)).ok()?;
        }
        let port = free_port()?;
        fs::write(root.join("users"), format!("{USER}:{{SHA}}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")).ok()?;
        fs::write(root.join("apache.conf"), configuration(root, port)).ok()?;
        let mut command = Command::new(PROGRAM);
        // One process, so that ending it ends all of it.
        command.arg("-X").arg("-f").arg(root.join("apache.conf"));
        let server = Server::start(command, port, &root.join("output"))?;
        Some(Self { port, directory, _server: server })
    }

    /// `127.0.0.1:PORT`
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where its files lie.
    pub fn files(&self) -> PathBuf {
        self.directory.path().join("files")
    }

    /// Its log of requests and errors.
    pub fn log(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
        read("access.log") + &read("error.log")
    }
}

fn configuration(root: &Path, port: u16) -> String {
    let modules =
        ["mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_basic", "dav", "dav_fs", "alias"];
    let modules = modules.map(|name| format!("LoadModule {name}_module {MODULES}/mod_{name}.so")).join("\n");
    let root = root.display();
    format!(
        r#"{modules}
ServerName localhost
ServerRoot "{root}"
Listen 127.0.0.1:{port}
PidFile "{root}/pid"
Mutex file:{root}
User www-data
Group www-data
ErrorLog "{root}/error.log"
LogFormat "%m %U %>s" plain
CustomLog "{root}/access.log" plain
DavLockDB "{root}/locks"
DocumentRoot "{root}/files"
Alias /dav "{root}/files"
<Directory "{root}/files">
  Dav On
  AuthType Basic
  AuthName files
  AuthUserFile "{root}/users"
  Require valid-user
</Directory>
"#
    )
}
