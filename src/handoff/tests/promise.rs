use std::{thread, time::Instant};

use super::super::promise::{Answer, Promise};

#[test]
fn a_promise_is_answered_once_also_by_being_dropped() {
    let (promise, awaited) = Promise::new();
    assert_eq!(awaited.wait(Some(Instant::now())), None);
    promise.fulfil();
    assert_eq!(awaited.wait(None), Some(Answer::Fulfilled));
    let (promise, awaited) = Promise::new();
    let waiting = thread::spawn(move || awaited.wait(None));
    drop(promise);
    assert_eq!(waiting.join().unwrap(), Some(Answer::Broken));
}
