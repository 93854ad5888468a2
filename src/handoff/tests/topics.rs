use std::{sync::Arc, thread};

use super::super::topics::{TopicId, Topics};

#[test]
fn names_and_numbers_belong_together() {
    let topics = Topics::new();
    for number in 0..1000_u32 {
        assert_eq!(topics.intern(&format!("topic-{number}")), TopicId(number));
    }
    for number in 0..1000_u32 {
        assert_eq!(topics.intern(&format!("topic-{number}")), TopicId(number));
        assert_eq!(**topics.name(TopicId(number)), format!("topic-{number}"));
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
                    assert_eq!(**topics.name(topics.intern(&name)), name);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
