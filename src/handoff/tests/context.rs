use std::{process, thread, time::Duration};

use super::super::context::{CallbackScope, End, Patience, forked, inside_callback};

#[test]
fn a_callback_is_a_matter_of_its_thread() {
    assert!(!inside_callback());
    let outer = CallbackScope::enter();
    let inner = CallbackScope::enter();
    drop(inner);
    assert!(inside_callback());
    assert!(!thread::spawn(inside_callback).join().unwrap());
    drop(outer);
    assert!(!inside_callback());
}

#[test]
fn a_fork_has_another_number() {
    assert!(!forked(process::id()));
    assert!(forked(process::id() + 1));
}

#[test]
fn all_waits_of_a_call_share_one_deadline() {
    assert_eq!(Patience::never().begin(), None);
    let mut patience = Patience::new(Duration::from_secs(5));
    let first = patience.begin();
    thread::yield_now();
    assert_eq!(patience.begin(), first);
    let endless = Patience::new(Duration::MAX).begin();
    assert_eq!(endless, Some((Duration::MAX, None)), "a limit too far away is none");
}

#[test]
fn an_end_is_told_in_the_words_of_each_caller() {
    let died: End = "a panic".into();
    assert_eq!(died.cause().map(|cause| &**cause), Some("a panic"));
    assert_eq!(died.send_error().to_string(), "the producer has failed and cannot send any more: a panic");
    assert_eq!(died.flush_error().to_string(), "the producer has failed: a panic");
    assert_eq!(End::Closed.cause(), None);
    assert_eq!(End::Closed.send_error().to_string(), "the producer is closed");
}
