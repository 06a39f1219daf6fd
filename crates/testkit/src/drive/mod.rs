//! Google Drive as a program sees it: sign-in for devices, folders and files with properties, resumable uploads. As
//! strict as the real one or stricter: it refuses a chunk that is not a multiple of 256 KiB, overlaps, leaves a gap or
//! contradicts an earlier length.
//!
//! [`Drive::start`] serves on its own port until it is dropped. Tests script faults per kind of call
//! ([`Drive::script`]), and read afterwards what arrived ([`Drive::requests`], [`Drive::files`],
//! [`Drive::open_sessions`]).

mod files;
mod oauth;
mod query;
mod reply;
mod script;
mod serve;
mod upload;
mod world;

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use tokio::sync::oneshot;

pub use script::{Call, Fault};
use world::{Node, World};
pub use world::{Seen, Stored, Ways};

/// The client id that the fake knows.
pub const CLIENT_ID: &str = "4711-haultest.apps.googleusercontent.com";
/// Its secret.
pub const CLIENT_SECRET: &str = "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er-show";
/// Every chunk but the last is a multiple of this.
pub const MULTIPLE: u64 = 256 << 10;

type Shared = Arc<Mutex<World>>;

/// A running fake.
pub struct Drive {
    address: SocketAddr,
    world: Shared,
    _stop: oneshot::Sender<()>,
}

impl Drive {
    /// Serves on a free port of 127.0.0.1, on a thread of its own, until dropped.
    ///
    /// # Panics
    /// When the machine gives no port or no thread.
    pub fn start() -> Self {
        let listener =
            TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("no port for the fake Drive: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("no port for the fake Drive: {error}"));
        let world = Shared::default();
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&world);
        thread::spawn(move || serve::serve(listener, &served, stopped));
        Self { address, world, _stop: stop }
    }

    /// Its address; a proxy that breaks connections can be put in front of it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address below which files are managed, when it is reached through `address`.
    pub fn api_url(address: SocketAddr) -> String {
        format!("http://{address}/drive/v3")
    }

    /// The address below which uploads begin.
    pub fn upload_url(address: SocketAddr) -> String {
        format!("http://{address}/upload/drive/v3")
    }

    /// The address below which tokens are given.
    pub fn oauth_url(address: SocketAddr) -> String {
        format!("http://{address}/oauth")
    }

    /// The next calls of this kind fail this way, one after the other; then they work again.
    pub fn script(&self, call: Call, faults: impl IntoIterator<Item = Fault>) {
        self.world().script.entry(call).or_default().extend(faults);
    }

    /// Faults that have not happened yet.
    pub fn faults_left(&self) -> usize {
        self.world().script.values().map(std::collections::VecDeque::len).sum()
    }

    /// A refresh token, as if somebody had signed in.
    pub fn sign_in(&self) -> String {
        self.world().new_refresh_token()
    }

    /// The user types the code and agrees.
    pub fn approve(&self, user_code: &str) {
        self.world().decide(user_code, true);
    }

    /// The user types the code and refuses.
    pub fn deny(&self, user_code: &str) {
        self.world().decide(user_code, false);
    }

    /// All codes that were given out have died.
    pub fn expire_codes(&self) {
        self.world().codes.values_mut().for_each(|code| code.expired = true);
    }

    /// All access tokens that were given out have died.
    pub fn expire_tokens(&self) {
        self.world().access.clear();
    }

    /// All refresh tokens are worth nothing any more.
    pub fn revoke(&self) {
        let mut world = self.world();
        world.refresh.clear();
        world.access.clear();
    }

    /// How long access tokens live from now on.
    pub fn set_token_life(&self, life: Duration) {
        self.world().token_life = life;
    }

    /// The account's space: `None` is unlimited. `used` is what other files take up.
    pub fn set_quota(&self, limit: Option<u64>, used: u64) {
        let mut world = self.world();
        (world.limit, world.used) = (limit, used);
    }

    /// Lists have no more entries per page than this, whatever the request says.
    pub fn set_page_limit(&self, most: usize) {
        self.world().page_limit = most;
    }

    /// How it behaves from now on.
    pub fn behave(&self, ways: Ways) {
        self.world().ways = ways;
    }

    /// All files and folders that the program made, oldest first.
    pub fn files(&self) -> Vec<Stored> {
        let world = self.world();
        let mut files: Vec<Stored> =
            world.nodes.values().filter(|node| !node.foreign).map(|node| world.shown(node)).collect();
        files.sort_by_key(|file| file.created);
        files
    }

    /// A file's bytes.
    pub fn content(&self, id: &str) -> Option<Vec<u8>> {
        self.world().nodes.get(id).map(|node| node.data.clone())
    }

    /// Uploads under way.
    pub fn open_sessions(&self) -> usize {
        self.world().sessions.values().filter(|session| session.finished.is_none()).count()
    }

    /// All sessions are gone, as after a week.
    pub fn forget_sessions(&self) {
        self.world().sessions.clear();
    }

    /// Puts a folder or file into the trash, and with a folder what is in it.
    pub fn trash(&self, id: &str) {
        if let Some(node) = self.world().nodes.get_mut(id) {
            node.trashed = true;
        }
    }

    /// Takes it out again.
    pub fn untrash(&self, id: &str) {
        if let Some(node) = self.world().nodes.get_mut(id) {
            node.trashed = false;
        }
    }

    /// Removes a folder or file for good, and with a folder what is in it.
    pub fn remove(&self, id: &str) {
        self.world().remove(id);
    }

    /// Gives it another name, as a user would in the browser.
    pub fn rename(&self, id: &str, name: &str) {
        if let Some(node) = self.world().nodes.get_mut(id) {
            name.clone_into(&mut node.name);
        }
    }

    /// Renames it as a program does, so that searches lag behind.
    pub fn give_name(&self, id: &str, name: &str) {
        self.world().give_name(id, name);
    }

    /// Moves it into another folder.
    pub fn move_to(&self, id: &str, folder: &str) {
        if let Some(node) = self.world().nodes.get_mut(id) {
            node.parents = vec![folder.to_owned()];
        }
    }

    /// Puts a file into a folder. A foreign one was made by another program: this one can't see it. `age`: how long ago
    /// it was made and changed.
    pub fn insert(&self, folder: &str, name: &str, data: &[u8], age: Duration, foreign: bool) -> String {
        let at = SystemTime::now() - age;
        let node = Node {
            name: name.to_owned(),
            parents: vec![folder.to_owned()],
            data: data.to_vec(),
            foreign,
            ..Node::file(at)
        };
        self.world().insert(node)
    }

    /// Gives a file a property.
    pub fn mark(&self, id: &str, key: &str, value: &str) {
        if let Some(node) = self.world().nodes.get_mut(id) {
            node.properties.insert(key.to_owned(), value.to_owned());
        }
    }

    /// Makes a folder with properties, as this program would; `age` as above.
    pub fn insert_folder(&self, name: &str, properties: &[(&str, &str)], age: Duration) -> String {
        let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let node = Node {
            name: name.to_owned(),
            mime: world::FOLDER.to_owned(),
            parents: vec![world::ROOT.to_owned()],
            properties,
            ..Node::file(SystemTime::now() - age)
        };
        self.world().insert(node)
    }

    /// Everything that came in so far, in order.
    pub fn requests(&self) -> Vec<Seen> {
        self.world().seen.clone()
    }

    /// How many calls of this kind came in.
    pub fn count(&self, call: Call) -> usize {
        self.world().seen.iter().filter(|seen| seen.call == call).count()
    }

    /// Bytes of archives that came in, those sent twice counted twice.
    pub fn received(&self) -> u64 {
        self.world().seen.iter().filter(|seen| seen.call == Call::Chunk).map(|seen| seen.bytes).sum()
    }

    /// Every token and session id that was ever given out: none may be shown anywhere.
    pub fn secrets(&self) -> Vec<String> {
        self.world().secrets.clone()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }
}

fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}
