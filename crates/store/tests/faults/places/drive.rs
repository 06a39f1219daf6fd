//! Google Drive, as the fake has it.

use std::net::SocketAddr;

use store::{
    Secret,
    gdrive::auth::{Client, Grant, TokenFile},
};
use testkit::{
    drive::{CLIENT_ID, CLIENT_SECRET, Drive as Fake},
    proxy::{Answer, Head},
};

use crate::bench::{Connection, NAME, Place, Step};

pub struct Drive {
    server: Fake,
    state: tempfile::TempDir,
}

impl Drive {
    pub fn start() -> Self {
        Self { server: Fake::start(), state: tempfile::tempdir().unwrap() }
    }

    fn with_token(&self, authority: &str, kind: &str, refresh_token: String) -> Connection {
        let state = self.state.path().join(kind);
        std::fs::create_dir_all(&state).unwrap();
        let path = state.join("gdrive-token.json");
        if !path.exists() {
            let client = Client { id: CLIENT_ID.to_owned(), secret: Secret::new(CLIENT_SECRET) };
            TokenFile::new(&path)
                .save(&Grant { client, refresh_token: Secret::new(refresh_token), signed_in: None })
                .unwrap();
        }
        let mut connection = Connection::new("gdrive://Backups")
            .with("api_url", format!("http://{authority}/drive/v3"))
            .with("upload_url", format!("http://{authority}/upload/drive/v3"))
            .with("oauth_url", format!("http://{authority}/oauth"));
        connection.state = state;
        connection
    }
}

fn refusal(status: u16, reason: &str) -> Answer {
    let body = format!(
        r#"{{"error":{{"code":{status},"message":"As told.","errors":[{{"domain":"global","reason":"{reason}","message":"As told."}}]}}}}"#
    );
    Answer::new(status).header("content-type", "application/json; charset=UTF-8").body(&body)
}

fn classify(head: &Head) -> Step {
    match head.method.as_str() {
        "POST" if head.target.contains("uploadType=resumable") => Step::Create,
        // Without bytes it only asks how much has arrived.
        "PUT" if head.header("content-length") != Some("0") => Step::Put,
        "PATCH" => Step::Commit,
        _ => Step::Other,
    }
}

impl Place for Drive {
    fn upstream(&self) -> SocketAddr {
        self.server.address()
    }

    fn connection(&self, authority: &str) -> Connection {
        self.with_token(authority, "right", self.server.sign_in())
    }

    fn with_wrong_credentials(&self, authority: &str) -> Option<Connection> {
        Some(self.with_token(authority, "wrong", "1//revoked".to_owned()))
    }

    fn object(&self, name: &str) -> Option<Vec<u8>> {
        let file = self.server.files().into_iter().find(|file| file.name == name)?;
        self.server.content(&file.id)
    }

    fn leftovers(&self) -> Vec<String> {
        let mut archives = 0;
        let mut odd = |name: &str| {
            archives += u32::from(name == NAME);
            name != NAME || archives > 1
        };
        self.server
            .files()
            .into_iter()
            .filter(|file| !file.is_folder)
            .map(|file| file.name)
            .filter(|name| odd(name))
            .collect()
    }

    fn unfinished(&self) -> usize {
        self.server.open_sessions()
    }

    fn ends_what_others_began(&self) -> bool {
        // Nobody can list sessions; they end by themselves after a week.
        false
    }

    fn classify(&self) -> Option<fn(&Head) -> Step> {
        Some(classify)
    }

    fn denied(&self) -> Answer {
        refusal(403, "insufficientFilePermissions")
    }

    fn full(&self) -> Answer {
        refusal(403, "storageQuotaExceeded")
    }

    fn vanished(&self) -> Option<Answer> {
        Some(refusal(404, "notFound"))
    }
}
