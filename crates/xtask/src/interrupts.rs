//! Ctrl-C and SIGTERM while a program runs: its process group is not the terminal's, so xtask has to end it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// What the signal handlers see. Handlers belong to the whole process, and so does this.
static STATE: LazyLock<State> = LazyLock::new(State::register);

struct State {
    /// No program runs: the signal does what it does by default.
    idle: Arc<AtomicBool>,
    interrupted: Arc<AtomicBool>,
}

impl State {
    fn register() -> Self {
        let state = Self { idle: Arc::new(AtomicBool::new(true)), interrupted: Arc::default() };
        for signal in [SIGINT, SIGTERM] {
            // Where a handler cannot be registered the signal ends xtask alone, as it would without this module.
            let _ = flag::register_conditional_default(signal, Arc::clone(&state.idle));
            let _ = flag::register(signal, Arc::clone(&state.interrupted));
        }
        state
    }
}

/// While it lives, a signal only sets a flag. One at a time is enough for a program that runs others in turn.
pub(crate) struct Watch(());

impl Watch {
    /// Takes the signals over.
    pub(crate) fn start() -> Self {
        STATE.idle.store(false, Ordering::SeqCst);
        Self(())
    }

    /// Whether a signal has come.
    pub(crate) fn is_interrupted(&self) -> bool {
        STATE.interrupted.load(Ordering::SeqCst)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        STATE.idle.store(true, Ordering::SeqCst);
    }
}
