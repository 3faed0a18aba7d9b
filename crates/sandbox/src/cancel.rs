//! Cancelling running steps from another thread or a signal handler's thread.
//!
//! A token holds callbacks; each running step registers one that ends it and takes it back when it is done. A token
//! that was cancelled stays so: what registers later is called at once.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Callback = Box<dyn Fn() + Send>;

#[derive(Default)]
struct Inner {
    cancelled: bool,
    next: u64,
    callbacks: Vec<(u64, Callback)>,
}

/// A handle that cancels every step that was started with it, or with a clone of it.
#[derive(Clone, Default)]
pub struct CancelToken(Arc<Mutex<Inner>>);

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends all steps that run with this token, and refuses later ones. Returns at once; each run returns when the
    /// last of its processes is gone.
    pub fn cancel(&self) {
        let mut inner = self.lock();
        inner.cancelled = true;
        for (_, callback) in &inner.callbacks {
            callback();
        }
    }

    /// Whether [`CancelToken::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Calls `callback` when the token is cancelled (at once when it already is), until the registration is dropped.
    /// The callback runs under the token's lock: it must be short and must not use the token.
    pub fn on_cancel(&self, callback: impl Fn() + Send + 'static) -> Registration {
        let mut inner = self.lock();
        if inner.cancelled {
            callback();
        }
        let id = inner.next;
        inner.next += 1;
        inner.callbacks.push((id, Box::new(callback)));
        Registration { token: self.clone(), id }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("cancelled", &self.is_cancelled()).finish()
    }
}

/// Keeps a callback registered; dropping it takes the callback back.
#[derive(Debug)]
pub struct Registration {
    token: CancelToken,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.token.lock().callbacks.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn callbacks_run_once_registered_and_never_after_the_registration_is_gone() {
        let count = Arc::new(AtomicUsize::new(0));
        let token = CancelToken::new();
        let bump = |count: &Arc<AtomicUsize>| {
            let count = Arc::clone(count);
            move || {
                let _ = count.fetch_add(1, Ordering::SeqCst);
            }
        };
        let kept = token.on_cancel(bump(&count));
        drop(token.on_cancel(bump(&count)));
        token.clone().cancel();
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert!(token.is_cancelled());
        drop(kept);
        let _late = token.on_cancel(bump(&count));
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }
}
