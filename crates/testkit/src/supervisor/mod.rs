//! Home Assistant's Supervisor as an app sees it, in this process: it answers as the source of 2026.08 says, checks what
//! that checks and refuses in its words. Tests decide whether a mount succeeds and what a backup writes, and can change
//! everything between two requests.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "for tests only: what fails here fails a test")]

mod answer;
mod backups;
mod core_proxy;
mod jobs;
mod mounts;
mod restore;
mod schema;
mod serve;
mod world;
pub mod writer;

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::runtime::Runtime;

pub use self::world::{
    Asked, Fault, Inner, Job, Looking, Mounting, Order, Restoration, Restoring, Role, TOKEN, World, Writing, mount,
};
use self::world::{Shared, lock};

/// One that runs; ends when dropped.
pub struct Supervisor {
    address: SocketAddr,
    world: Shared,
    runtime: Mutex<Option<Runtime>>,
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.unplug();
    }
}

impl Supervisor {
    /// Starts one, which mounts what it has.
    pub fn start(world: World) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let supervisor = Self {
            address: listener.local_addr().unwrap(),
            world: Arc::new(Mutex::new(world)),
            runtime: Mutex::new(None),
        };
        supervisor.listen(listener);
        supervisor
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes it.
    pub fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut lock(&self.world))
    }

    /// What it is asked next on this path, once, goes wrong. A path that ends in `*` stands for all that begin so.
    pub fn fault(&self, method: &str, path: &str, fault: Fault) {
        self.change(|world| world.inner.faults.push((method.to_owned(), path.to_owned(), fault)));
    }

    /// Whether something is still to go wrong.
    pub fn faults_wait(&self) -> bool {
        self.change(|world| !world.inner.faults.is_empty())
    }

    /// What it was asked, from the first.
    pub fn asked(&self) -> Vec<Asked> {
        self.change(|world| world.inner.asked.clone())
    }

    /// The methods and paths of what it was asked to change, from the first.
    pub fn told(&self) -> Vec<String> {
        let asked = self.asked();
        let told = asked.iter().filter(|asked| asked.method != "GET");
        told.map(|asked| format!("{} {}", asked.method, asked.path)).collect()
    }

    /// Ends it, as for an update: every connection breaks, and none is accepted.
    pub fn unplug(&self) {
        if let Some(runtime) = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // On a thread of its own: a runtime can't wait for another one. What is open has to be closed afterwards.
            let ended = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5)));
            let _ = ended.join();
            self.change(World::stop);
        }
    }

    /// Starts it again at the same address. It has forgotten every job, and mounts what it has.
    pub fn plug(&self) {
        self.listen(crate::wait::found("the port is free again", || TcpListener::bind(self.address).ok()));
    }

    fn listen(&self, listener: TcpListener) {
        mounts::mount_all(&self.world);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        listener.set_nonblocking(true).unwrap();
        let router = serve::router(Arc::clone(&self.world));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await
        });
        *self.runtime.lock().unwrap() = Some(runtime);
    }
}
