use std::{sync::Arc, thread};

use super::super::topics::{TopicId, Topics};

#[test]
fn names_and_numbers_belong_together() {
    let topics = Topics::new();
    for number in 0..1000_u32 {
        assert_eq!(topics.intern(&format!("topic-{number}")).unwrap(), TopicId(number));
    }
    for number in 0..1000_u32 {
        assert_eq!(topics.intern(&format!("topic-{number}")).unwrap(), TopicId(number));
        assert_eq!(**topics.name(TopicId(number)), format!("topic-{number}"));
    }
}

#[test]
fn names_that_no_broker_takes_get_no_number() {
    let topics = Topics::new();
    let (longest, too_long) = ("x".repeat(249), "x".repeat(250));
    for (name, rule) in [
        ("", "empty"),
        (".", "directory"),
        ("..", "directory"),
        ("a/b", "characters"),
        ("a b", "characters"),
        ("ü", "characters"),
        ("a\0", "characters"),
        (&too_long, "longer"),
    ] {
        assert!(topics.intern(name).unwrap_err().contains(rule), "{name:?}");
    }
    for (number, name) in (0..).zip(["a", "...", "_", "-", "A.b_c-9", &longest]) {
        assert_eq!(topics.intern(name), Ok(TopicId(number)));
    }
}

#[test]
fn threads_agree_on_the_numbers() {
    let topics = Arc::new(Topics::new());
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let topics = Arc::clone(&topics);
            thread::spawn(move || {
                for number in 0..200 {
                    let name = format!("topic-{}", (number * (thread + 1)) % 97);
                    assert_eq!(**topics.name(topics.intern(&name).unwrap()), name);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
