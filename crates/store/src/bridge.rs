//! Connects threads and sockets: a small runtime, and a way for a thread to wait for its work.

use std::{future::Future, io, sync::Arc};

use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that move bytes between memory and sockets. Two keep a fast line busy; the cores belong to the compressor.
const THREADS: usize = 2;

/// Runs what waits for sockets. Cheap to clone; the runtime ends with the last clone.
#[derive(Clone)]
pub struct Bridge {
    runtime: Arc<Owned>,
}

/// Ends without waiting: a server that says nothing must not keep the program alive.
struct Owned(Option<Runtime>);

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Bridge {
    /// Starts the runtime's threads.
    pub fn start() -> io::Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(THREADS).thread_name("haul-net").enable_all().build()?;
        Ok(Self { runtime: Arc::new(Owned(Some(runtime))) })
    }

    /// Waits for `work` on the calling thread, which must not be one of the runtime's.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        match self.handle() {
            Some(handle) => handle.block_on(work),
            // Only `drop` takes the runtime away, and that can't happen while `self` is borrowed.
            None => unreachable!("the runtime lives as long as its bridge"),
        }
    }

    /// Starts `work`, which runs on without anybody waiting.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        match self.handle() {
            Some(handle) => handle.spawn(work),
            None => unreachable!("the runtime lives as long as its bridge"),
        }
    }

    fn handle(&self) -> Option<&Handle> {
        self.runtime.0.as_ref().map(Runtime::handle)
    }
}
