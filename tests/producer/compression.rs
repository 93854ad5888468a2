//! Codecs: what arrives is what was sent, batches are compressed on the wire, and their size is what was asked for.

use kafka_producer::{Compression, ErrorCode, Producer, ProducerRecord, testing::Api};

use crate::harness::{World, arrived, send};

const CODECS: [(Compression, &str, i8); 4] = [
    (Compression::Gzip, "gzip", 1),
    (Compression::Snappy, "snappy", 2),
    (Compression::Lz4, "lz4", 3),
    (Compression::Zstd, "zstd", 4),
];

/// A text that compresses about as well as the records of an application do.
fn text(n: usize) -> String {
    format!(
        "{{\"customer\":\"customer-{}\",\"item\":\"apples and pears\",\"count\":{}}}",
        n % 7,
        n * 31 % 1000
    )
}

fn send_texts(producer: &Producer, count: usize) -> Vec<String> {
    let texts: Vec<String> = (0..count).map(text).collect();
    let handles: Vec<_> = texts.iter().map(|text| send(producer, text)).collect();
    producer.flush().unwrap();
    arrived(&handles);
    texts
}

#[test]
fn every_codec_delivers_what_was_sent() {
    for (compression, name, codec) in CODECS {
        let world = World::with_partitions(1);
        let producer = Producer::new(world.config().compression(compression)).unwrap();
        let texts = send_texts(&producer, 2_000);
        assert_eq!(world.values("t"), texts, "{name}");
        let batches = world.batches("t");
        assert!(batches.iter().all(|batch| batch.codec == codec), "{name}: {batches:?}");
        let sent: usize = texts.iter().map(String::len).sum();
        let on_the_wire: usize = batches.iter().map(|batch| batch.bytes).sum();
        assert!(on_the_wire < sent / 2, "{name}: {sent} bytes became {on_the_wire}");
    }
}

#[test]
fn a_level_is_taken() {
    let size = |settings: &[(&str, &str)]| {
        let world = World::with_partitions(1);
        // One batch, whose size says how hard the codec tried.
        let producer =
            world.producer(&[settings, &[("linger.ms", "60000"), ("batch.size", "1000000")]].concat());
        let texts = send_texts(&producer, 3_000);
        assert_eq!(world.values("t"), texts, "{settings:?}");
        let batches = world.batches("t");
        assert_eq!(batches.len(), 1, "{settings:?}");
        batches[0].bytes
    };
    for (codec, fast, small) in [("gzip", "1", "9"), ("lz4", "9", "17"), ("zstd", "-100", "19")] {
        let level = format!("compression.{codec}.level");
        let of = |value| size(&[("compression.type", codec), (&level, value)]);
        assert!(of(small) < of(fast), "{codec}");
    }
}

/// `batch.size` is about bytes on the wire. How far records shrink is learnt from batch to batch, as in Java.
#[test]
fn batches_take_more_records_as_it_is_learnt_how_far_they_shrink() {
    let world = World::with_partitions(1);
    let producer =
        world.producer(&[("compression.type", "zstd"), ("batch.size", "2000"), ("linger.ms", "60000")]);
    send_texts(&producer, 20_000);
    let batches = world.batches("t");
    let (first, best) = (batches[0].records, batches.iter().map(|batch| batch.records).max().unwrap());
    assert!(best > 2 * first, "{best} records in a batch, {first} in the first");
    assert!(batches.iter().all(|batch| batch.bytes <= 2_000), "{batches:?}");
}

#[test]
fn what_cannot_be_compressed_stays_within_the_size_of_a_batch() {
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:016x}", state ^ (state >> 29))
    };
    for (_, name, _) in CODECS {
        let world = World::with_partitions(1);
        let producer = world.producer(&[("compression.type", name), ("batch.size", "4000")]);
        let hard: Vec<Vec<u8>> =
            (0..500).map(|_| (0..5).flat_map(|_| noise().into_bytes()).collect()).collect();
        for value in &hard {
            producer.send(ProducerRecord::new("t", value)).unwrap();
        }
        producer.close().unwrap();
        let batches = world.batches("t");
        assert!(batches.iter().all(|batch| batch.bytes <= 4_000), "{name}: {batches:?}");
        assert_eq!(world.record_count("t"), 500, "{name}");
    }
}

/// The broker's limit is on compressed batches, and smaller than the producer expects.
#[test]
fn a_compressed_batch_that_is_too_large_is_split() {
    for (_, name, codec) in CODECS {
        let world = World::with_partitions(1);
        world.set_max_message_bytes("t", 2_000);
        let producer =
            world.producer(&[("compression.type", name), ("linger.ms", "60000"), ("batch.size", "100000")]);
        let texts = send_texts(&producer, 2_000);
        assert_eq!(world.values("t"), texts, "{name}");
        let batches = world.batches("t");
        assert!(batches.len() > 2, "{name}: {batches:?}");
        assert!(
            batches.iter().all(|batch| batch.codec == codec && batch.bytes <= 2_000),
            "{name}: {batches:?}"
        );
    }
}

/// The bytes of a retry are those of the first attempt, and what is renumbered is not compressed twice.
#[test]
fn retries_and_new_numbers_change_nothing() {
    for (_, name, _) in CODECS {
        let world = World::with_partitions(1);
        let producer = world.producer(&[("compression.type", name), ("batch.size", "1000")]);
        world.fail_next(ErrorCode::NOT_LEADER_OR_FOLLOWER, 3);
        let mut texts = send_texts(&producer, 300);
        // What is in flight then is numbered anew.
        world.fail_next(ErrorCode::UNKNOWN_PRODUCER_ID, 1);
        texts.extend(send_texts(&producer, 300));
        assert_eq!(world.values("t"), texts, "{name}");
    }
}

/// To leave the bad record out, the batch has to be opened.
#[test]
fn of_a_compressed_batch_only_the_bad_record_fails() {
    for (_, name, _) in CODECS {
        let world = World::with_partitions(1);
        world.set_compacted("t", true);
        let producer = world.producer(&[("compression.type", name), ("linger.ms", "60000")]);
        let send = |key: Option<&[u8]>, value: &str| {
            producer.send(ProducerRecord::new("t", value).with_key(key)).unwrap()
        };
        let (first, bad, last) = (send(Some(b"k"), "first"), send(None, "bad"), send(Some(b"k"), "last"));
        producer.flush().unwrap();
        first.get().unwrap();
        last.get().unwrap();
        assert_eq!(bad.get().unwrap_err().code(), Some(ErrorCode::INVALID_RECORD), "{name}");
        assert_eq!(world.values("t"), ["first", "last"], "{name}");
    }
}

#[test]
fn a_broker_without_zstd_is_told_nothing() {
    let world = World::with_partitions(1);
    world.set_versions(Api::Produce, 3..=6);
    let producer = world.producer(&[("compression.type", "zstd")]);
    let error = send(&producer, "x").get().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE), "{error}");
    assert!(!error.may_have_been_written(), "{error}");
    for named in ["compression.type=zstd", "Kafka 2.1", "v6"] {
        assert!(error.to_string().contains(named), "{error} does not name {named}");
    }
    assert_eq!(world.request_count(Api::Produce), 0);
    // The others need nothing.
    let producer = world.producer(&[("compression.type", "lz4")]);
    send(&producer, "y").get().unwrap();
    assert_eq!(world.values("t"), ["y"]);
}

#[test]
fn a_compressed_transaction_is_committed_or_not_at_all() {
    for (_, name, codec) in CODECS {
        let world = World::with_partitions(1);
        let producer = world.producer(&[("compression.type", name), ("transactional.id", "t")]);
        producer.init_transactions().unwrap();
        let mut committed = Vec::new();
        for round in 0..4 {
            producer.begin_transaction().unwrap();
            let texts = send_texts(&producer, 200);
            if round % 2 == 0 {
                producer.commit_transaction().unwrap();
                committed.extend(texts);
            } else {
                producer.abort_transaction().unwrap();
            }
        }
        let seen = world.committed_records("t");
        let seen: Vec<&str> = seen.iter().map(|record| record.value_str().expect("a text")).collect();
        assert_eq!(seen, committed, "{name}");
        assert!(world.batches("t").iter().all(|batch| batch.codec == codec), "{name}");
    }
}
