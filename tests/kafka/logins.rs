//! How often the producers of this process were let in, by what they log of it: a connection that is opened is authenticated
//! once, and each renewal of its session is logged as such.

use std::sync::atomic::{AtomicUsize, Ordering};

use log::{LevelFilter, Log, Metadata, Record};

/// Logs what `logger` would, and counts from [`watch`] on.
pub(crate) fn count_and_log(logger: env_logger::Logger) {
    log::set_max_level(logger.filter());
    log::set_boxed_logger(Box::new(Counting(logger))).expect("nobody else has set one");
}

/// Until what is returned is dropped, logins are counted.
pub(crate) fn watch() -> Watch {
    let before = log::max_level();
    log::set_max_level(before.max(LevelFilter::Debug));
    Watch(before)
}

pub(crate) struct Watch(LevelFilter);

impl Watch {
    /// Connections that were opened so far, and renewals of their sessions.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (OPENED.load(Ordering::SeqCst), RENEWED.load(Ordering::SeqCst))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        log::set_max_level(self.0);
    }
}

struct Counting(env_logger::Logger);

impl Log for Counting {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == LOGIN || self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if record.target() == LOGIN {
            let text = record.args().to_string();
            let counter = if text.starts_with("authenticated again") { &RENEWED } else { &OPENED };
            counter.fetch_add(usize::from(text.starts_with("authenticated")), Ordering::SeqCst);
        }
        self.0.log(record);
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// The module that logs them.
const LOGIN: &str = "kafka_producer::engine::login";

static OPENED: AtomicUsize = AtomicUsize::new(0);
static RENEWED: AtomicUsize = AtomicUsize::new(0);
