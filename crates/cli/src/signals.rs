//! Ctrl-C and SIGTERM: the first one cancels the build, a second one ends the process at once.
use std::sync::atomic::{AtomicBool, Ordering};

use sandbox::CancelToken;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether a signal came.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Listens on a thread of its own.
pub(crate) fn listen(cancel: &CancelToken) {
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
    let cancel = cancel.clone();
    let _ = std::thread::Builder::new().name("signals".into()).spawn(move || {
        for _ in signals.forever() {
            if INTERRUPTED.swap(true, Ordering::SeqCst) {
                crate::progress::restore_terminal();
                std::process::exit(130);
            }
            cancel.cancel();
        }
    });
}
