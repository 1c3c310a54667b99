//! A thread of its own that runs requests over the network, so that callers need not be
//! asynchronous: the one place of this crate that knows `tokio`'s runtime.

use std::future::Future;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::{io, thread};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Runs requests; dropped, it ends its thread and what is under way.
pub(crate) struct Driver {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Driver {
    /// Starts the thread, under this name.
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            // An error says that the sender is gone: that is the end too.
            drop(runtime.block_on(stopped));
        })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Runs a request to its end.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        request: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.begin(async move {
            // Nobody waits if the caller is gone.
            drop(answer.send(request.await));
        });
        answered.recv().map_err(|_| io::Error::other("the request was given up"))?
    }

    /// Begins a request and does not wait for it.
    pub(crate) fn begin(&self, request: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(request));
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Only a panic of a request could make this an error, and that was reported.
            drop(thread.join());
        }
    }
}
