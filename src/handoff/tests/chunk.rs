use std::{
    sync::{Arc, Mutex, Weak},
    time::Instant,
};

use super::{
    super::{
        callback::PendingCallback,
        cells::{Cells, Outcome, Run, Settling},
        chunk::{Chunk, RecordHead, charge, encode_alone},
        hub::Hub,
        topics::{TopicId, Topics},
    },
    Log,
};
use crate::{
    error::DeliveryError,
    record::{Headers, RecordMetadata},
    wire::record::{body_len, put_body},
};

fn cells() -> Arc<Cells> {
    let topics = Topics::new();
    topics.intern("t").unwrap();
    topics.intern("u").unwrap();
    Cells::new(3, Arc::new(topics), Weak::<Hub>::new())
}

fn head(topic: u32, partition: i32, timestamp: i64) -> RecordHead {
    RecordHead { topic: TopicId(topic), partition, timestamp }
}

fn push(chunk: &mut Chunk, head: RecordHead, value: &[u8]) -> u16 {
    let headers = Headers::new();
    chunk.append(
        head,
        body_len(Some(b"k"), Some(value), headers.entries()),
        Some(b"k"),
        Some(value),
        &headers,
    )
}

fn body(value: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_body(&mut body, Some(b"k"), Some(value), &[]);
    body
}

#[test]
fn what_goes_in_comes_out() {
    let cells = cells();
    let opened = Instant::now();
    let mut chunk = Chunk::new(Vec::with_capacity(256), Arc::clone(&cells), 250, opened);
    let records = [
        (head(0, -1, 0), &b"first"[..]),
        (head(1, 0, i64::MAX), b""),
        (head(u32::MAX, i32::MAX, -1), b"last"),
    ];
    for (number, &(head, value)) in records.iter().enumerate() {
        assert_eq!(push(&mut chunk, head, value), 250 + number as u16);
    }
    assert_eq!((chunk.lane(), chunk.opened()), (3, opened));
    for (number, (head, value)) in records.into_iter().enumerate() {
        let record = chunk.take_next().unwrap();
        assert_eq!(
            (record.topic, record.partition, record.timestamp),
            (head.topic, head.partition, head.timestamp)
        );
        assert_eq!(record.body, body(value));
        assert_eq!(record.cell, 250 + number as u16);
        assert!(Arc::ptr_eq(record.cells, &cells) && record.callback.is_none());
        Settling::new().acknowledge(Run::start(record.cells, record.cell), None, None);
    }
    assert!(chunk.take_next().is_none());
    let buffer = chunk.into_buffer();
    assert_eq!((buffer.len(), buffer.capacity()), (0, 256));
}

#[test]
fn room_ends_with_the_buffer_and_with_the_cells() {
    let cells = cells();
    let mut chunk = Chunk::new(Vec::with_capacity(100), Arc::clone(&cells), 0, Instant::now());
    assert!(chunk.has_room(100) && !chunk.has_room(101));
    push(&mut chunk, head(0, 0, 0), b"x");
    assert!(chunk.has_room(75) && !chunk.has_room(76));
    let mut last = Chunk::new(Vec::with_capacity(100), cells, 255, Instant::now());
    push(&mut last, head(0, 0, 0), b"x");
    assert!(!last.has_room(1));
}

#[test]
fn a_record_of_its_own_reads_like_any_other() {
    let cells = cells();
    let value = vec![7; 5000];
    let headers = Headers::new();
    let alone = encode_alone(
        body_len(Some(b"k"), Some(&value), headers.entries()),
        Some(b"k"),
        Some(&value),
        &headers,
    );
    let mut chunk = Chunk::new(Vec::new(), cells, 17, Instant::now());
    assert_eq!(chunk.adopt(head(1, 5, 8), alone), 17);
    assert!(!chunk.has_room(1));
    let record = chunk.take_next().unwrap();
    assert_eq!((record.topic, record.partition, record.timestamp), (TopicId(1), 5, 8));
    assert_eq!(record.body, body(&value));
    Settling::new().acknowledge(Run::start(record.cells, record.cell), None, None);
}

#[test]
fn both_sides_charge_alike() {
    assert_eq!(charge(0), 64);
    assert_eq!(charge(100), 164);
    assert_eq!(charge(usize::MAX), usize::MAX);
}

type Answer = Result<RecordMetadata, DeliveryError>;

fn logging(cell: u16, log: &Log<(u16, Answer, bool)>, cells: &Arc<Cells>) -> PendingCallback {
    let (log, cells) = (Arc::clone(log), Arc::clone(cells));
    let call = Box::new(move |answer| log.lock().unwrap().push((cell, answer, cells.is_pending(cell))));
    PendingCallback { cell, timestamp: 0, key_size: -1, value_size: 1, call }
}

#[test]
fn callbacks_come_with_their_records() {
    let cells = cells();
    let log = Log::default();
    let mut chunk = Chunk::new(Vec::with_capacity(256), Arc::clone(&cells), 0, Instant::now());
    for cell in 0..4 {
        push(&mut chunk, head(0, 0, 0), b"x");
        if cell % 2 == 1 {
            chunk.add_callback(logging(cell, &log, &cells));
        }
    }
    let mut with_callback = Vec::new();
    while let Some(record) = chunk.take_next() {
        with_callback.extend(record.callback.map(|callback| callback.cell));
        Settling::new().acknowledge(Run::start(record.cells, record.cell), None, None);
    }
    assert_eq!(with_callback, [1, 3]);
}

#[test]
fn a_dropped_chunk_fails_what_was_not_taken_callbacks_first() {
    let cells = cells();
    let log = Log::default();
    let mut chunk = Chunk::new(Vec::with_capacity(256), Arc::clone(&cells), 0, Instant::now());
    for (cell, topic) in [0, 0, 1, 1].into_iter().enumerate() {
        push(&mut chunk, head(topic, 2, 0), b"x");
        chunk.add_callback(logging(cell as u16, &log, &cells));
    }
    let first = chunk.take_next().unwrap();
    let run = Run::start(first.cells, first.cell);
    drop(chunk);
    assert!(cells.is_pending(0), "the first was taken and is not the chunk's any more");
    let mut told = Vec::new();
    for (cell, answer, pending) in log.lock().unwrap().drain(..) {
        assert!(pending, "the handle of {cell} was released before its callback had run");
        told.push((cell, answer.unwrap_err().topic().to_owned()));
    }
    assert_eq!(told, [(1, "t".to_owned()), (2, "u".to_owned()), (3, "u".to_owned())]);
    for cell in 1..4 {
        let Some(Outcome::Failed(error)) = cells.outcome(cell) else { panic!("{cell} was forgotten") };
        assert!(!error.may_have_been_written());
    }
    drop(run);
}

#[test]
fn a_callback_that_panics_harms_nobody() {
    let cells = cells();
    let log = Arc::new(Mutex::new(Vec::new()));
    let mut chunk = Chunk::new(Vec::with_capacity(256), Arc::clone(&cells), 0, Instant::now());
    push(&mut chunk, head(0, 0, 0), b"x");
    push(&mut chunk, head(0, 0, 0), b"x");
    let call = Box::new(|_: Answer| panic!("this callback panics, as the test wants it"));
    chunk.add_callback(PendingCallback { cell: 0, timestamp: 0, key_size: -1, value_size: 1, call });
    chunk.add_callback(logging(1, &log, &cells));
    drop(chunk);
    assert_eq!(log.lock().unwrap().len(), 1);
    assert!(!cells.is_pending(0) && !cells.is_pending(1));
}

#[test]
fn payloads_do_not_show_in_debug_text() {
    let mut chunk = Chunk::new(Vec::with_capacity(256), cells(), 0, Instant::now());
    push(&mut chunk, head(0, 0, 0), b"secret");
    assert_eq!(format!("{chunk:?}"), "Chunk { lane: 3, records: 1, bytes: 30, .. }");
}
