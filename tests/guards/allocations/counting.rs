//! An allocator that counts: what the calling thread allocates while it asks for that, and what sender threads do.
//!
//! `unsafe` because an allocator cannot be written without; it counts and leaves the rest to the system's.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
};

/// How often `what` allocates, or enlarges what it has. What other threads do meanwhile does not count.
pub(super) fn here(what: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    WHOSE.set(Whose::This);
    what();
    WHOSE.set(Whose::Nobodys);
    COUNT.get() - before
}

/// How often the threads of all producers have allocated so far, since they connected.
pub(super) fn on_the_sender_thread() -> u64 {
    SENDER.load(Ordering::Relaxed)
}

/// From now on a sender thread is known by what it logs when it has connected: no other code of a test runs there.
pub(super) fn know_the_sender_thread() {
    struct Listener;

    impl log::Log for Listener {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, _: &log::Record<'_>) {
            let thread = std::thread::current();
            if thread.name().is_some_and(|name| name.starts_with("kafka-producer-network-thread")) {
                WHOSE.set(Whose::SenderThread);
            }
        }

        fn flush(&self) {}
    }

    // Another test may have done it before.
    let _ = log::set_logger(&Listener);
    log::set_max_level(log::LevelFilter::Info);
}

#[derive(Clone, Copy, PartialEq)]
enum Whose {
    Nobodys,
    This,
    SenderThread,
}

// Neither needs to be made or dropped, so that both can be used at any time of a thread's life.
thread_local! {
    static WHOSE: Cell<Whose> = const { Cell::new(Whose::Nobodys) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

static SENDER: AtomicU64 = AtomicU64::new(0);

struct Counting;

impl Counting {
    fn count() {
        match WHOSE.get() {
            Whose::Nobodys => {}
            Whose::This => COUNT.set(COUNT.get() + 1),
            Whose::SenderThread => {
                SENDER.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

// SAFETY: every call goes to the system's allocator as it is; counting allocates nothing and does not panic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's promise is the one needed.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's promise is the one needed.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's promise is the one needed, and `old` comes from the system's allocator.
        unsafe { System.realloc(old, layout, new_size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the one needed, and `old` comes from the system's allocator.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;
