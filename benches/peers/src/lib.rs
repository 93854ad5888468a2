//! Kafka producers side by side: what the drivers, the sink and the runner share.
//!
//! A driver is a program that sends so many records of so many bytes through one producer, by the same flags as all the
//! others, and prints what that cost it. The sink is a broker that costs next to nothing, and counts. The runner (the
//! program `peers`) starts one of each, again and again, and compares.

#![forbid(unsafe_code)]

pub mod drive;
pub mod flags;
pub mod measure;
pub mod payload;
pub mod sink;
pub mod wire;
