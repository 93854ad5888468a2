use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    super::snapshot::{Published, Snapshot},
    AGES,
};

#[test]
fn a_wait_ends_with_the_next_version() {
    let published = Arc::new(Published::new());
    assert_eq!(published.version(), 0);
    let waiting = {
        let published = Arc::clone(&published);
        thread::spawn(move || published.wait(0, Some(Instant::now() + AGES)))
    };
    published.publish(Snapshot { last_error: Some("x".into()), ..Snapshot::default() });
    assert!(waiting.join().unwrap());
    assert_eq!((published.version(), published.current().version), (1, 1));
    assert_eq!(published.current().last_error.as_deref(), Some("x"));
    assert!(published.wait(0, None), "a version already there is not waited for");
    assert!(!published.wait(1, Some(Instant::now() + Duration::from_millis(1))));
}

#[test]
fn the_end_ends_every_wait() {
    let published = Arc::new(Published::new());
    let waiting = {
        let published = Arc::clone(&published);
        thread::spawn(move || published.wait(0, None))
    };
    published.end();
    assert!(!waiting.join().unwrap());
    assert!(!published.wait(0, None));
}
