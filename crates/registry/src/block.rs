//! The bridge between blocking callers and the runtime that drives connections.
//!
//! A caller's thread parks until its future, spawned on our runtime, is done. Nothing here calls
//! `block_on`, which panics inside another runtime; a caller may live anywhere.
use crate::error::seconds;
use crate::{Error, ErrorKind};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls a future on this thread, which sleeps in between. The future must be woken by others: a
/// channel, a task of a runtime.
pub(crate) fn park_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// A runtime with two threads, and the switch that cancels all that runs on it.
#[derive(Debug)]
pub(crate) struct Driver {
    runtime: Option<Runtime>,
    handle: Handle,
    cancelled: watch::Sender<bool>,
}

fn cancelled_error() -> Error {
    Error::new(ErrorKind::Cancelled, "cancelled")
}

impl Driver {
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("registry-io").enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime), cancelled: watch::Sender::new(false) })
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    /// Runs a future to its end, or until everything is cancelled.
    pub(crate) fn run<T, F>(&self, future: F) -> Result<T, Error>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        self.start(future).wait()
    }

    /// Starts a future; it is dropped when everything is cancelled.
    pub(crate) fn start<T, F>(&self, future: F) -> Running<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let mut cancelled = self.cancelled.subscribe();
        Running(self.handle.spawn(async move {
            tokio::select! {
                output = future => Ok(output),
                _ = cancelled.wait_for(|c| *c) => Err(cancelled_error()),
            }
        }))
    }

    /// Waits on this thread for a future that some task of the runtime, or a timer, completes.
    pub(crate) fn wait<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, Error> {
        // Timers register with the runtime that the thread has entered.
        let _entered = self.handle.enter();
        let mut cancelled = self.cancelled.subscribe();
        park_on(async {
            tokio::select! {
                output = tokio::time::timeout(limit, future) => {
                    output.map_err(|_| Error::new(ErrorKind::Timeout, format!("no progress for {}", seconds(limit))))
                }
                _ = cancelled.wait_for(|c| *c) => Err(cancelled_error()),
            }
        })
    }

    pub(crate) fn sleep(&self, pause: Duration) -> Result<(), Error> {
        // The timer is made inside the runtime: it registers there.
        self.run(async move { tokio::time::sleep(pause).await })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // An ordinary drop waits, and panics inside another runtime.
            runtime.shutdown_background();
        }
    }
}

/// A future on its way; dropping this aborts it.
#[derive(Debug)]
pub(crate) struct Running<T>(tokio::task::JoinHandle<Result<T, Error>>);

impl<T> Running<T> {
    /// Waits for the end.
    pub(crate) fn wait(self) -> Result<T, Error> {
        park_on(self.finish())
    }

    /// The end as a future, for a wait with a time limit.
    pub(crate) async fn finish(mut self) -> Result<T, Error> {
        match (&mut self.0).await {
            Ok(output) => output,
            Err(join) => match join.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(cancelled_error()),
            },
        }
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_inside_another_runtime_and_stops_when_cancelled() {
        let other = Builder::new_current_thread().enable_all().build().unwrap();
        other.block_on(async {
            let driver = Driver::new().unwrap();
            assert_eq!(driver.run(async { 7 }).unwrap(), 7);
            assert_eq!(driver.wait(Duration::from_secs(5), async { 8 }).unwrap(), 8);
            let waiting = driver.start(std::future::pending::<()>());
            driver.cancel();
            assert_eq!(waiting.wait().unwrap_err().kind(), ErrorKind::Cancelled);
            assert_eq!(driver.run(std::future::pending::<()>()).unwrap_err().kind(), ErrorKind::Cancelled);
        });
    }

    #[test]
    fn a_wait_without_progress_ends() {
        let driver = Driver::new().unwrap();
        let error = driver.wait(Duration::from_millis(1), std::future::pending::<()>()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
}
