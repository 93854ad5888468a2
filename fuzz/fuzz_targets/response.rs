//! See `kafka_producer::fuzzing::response`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kafka_producer::fuzzing::response(data));
