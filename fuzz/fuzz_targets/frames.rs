//! See `kafka_producer::fuzzing::frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kafka_producer::fuzzing::frames(data));
