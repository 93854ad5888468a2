//! How fast codecs compress batches of records, and how small: those that kafka-producer uses, others in Rust, and the C
//! libraries. Prints tables in Markdown.
//!
//! ```sh
//! cargo run --release --manifest-path benches/codecs/Cargo.toml
//! ```
//!
//! All codecs of a table are measured in turns, and a figure is the median over the rounds: machines are shared. Each
//! keeps what it can keep from batch to batch. Framing that Kafka adds is left out, as it costs next to nothing.

use std::{hint::black_box, time::Instant};

use flate2::{Compress, Compression, FlushCompress};
use lz4_flex::block::CompressTable;
use structured_zstd::encoding::{CompressionLevel, FrameCompressor};

/// Replaces the buffer's content with what the batch becomes.
type Codec = Box<dyn FnMut(&[u8], &mut Vec<u8>)>;

struct Row {
    name: &'static str,
    /// What the producer uses.
    ours: bool,
    /// What ratios are taken of.
    is_c: bool,
    codec: Codec,
}

fn main() {
    let batches = [
        ("100 B records, 16 KiB", batch(16 << 10, |i, out| plain(100, i, out))),
        ("1 KiB records, 1 MiB", batch(1 << 20, |i, out| plain(1024, i, out))),
        ("JSON, 16 KiB", batch(16 << 10, json)),
        ("JSON, 1 MiB", batch(1 << 20, json)),
    ];
    type Family = fn() -> Vec<Row>;
    let families: [(&str, Family); 7] = [
        ("gzip, level 1", || gzip(1)),
        ("gzip, level 6 (the default)", || gzip(6)),
        ("snappy", snappy),
        ("lz4, level 9 (the default: fast)", lz4),
        ("zstd, level -1", || zstd(-1)),
        ("zstd, level 1", || zstd(1)),
        ("zstd, level 3 (the default)", || zstd(3)),
    ];
    for (title, family) in families {
        println!("\n## {title}\n");
        println!("| | {} |", batches.each_ref().map(|(name, _)| *name).join(" | "));
        println!("|---|{}", "---|".repeat(batches.len()));
        let mut rows = family();
        let measured: Vec<Vec<(f64, f64)>> =
            batches.iter().map(|(_, batch)| measure(&mut rows, batch)).collect();
        for (i, row) in rows.iter().enumerate() {
            let cells: Vec<String> = measured
                .iter()
                .map(|of_batch| {
                    let (speed, size) = of_batch[i];
                    let c = rows.iter().position(|row| row.is_c);
                    let ratio = c.map_or(String::new(), |c| format!(" ({:.2} of C)", speed / of_batch[c].0));
                    format!("{speed:.0} MB/s{ratio}, to {:.1} %", 100.0 * size)
                })
                .collect();
            let name = if row.ours { format!("**{}**", row.name) } else { row.name.to_owned() };
            println!("| {name} | {} |", cells.join(" | "));
        }
    }
}

/// For each codec the median of megabytes a second, and the size as a part of what it was.
fn measure(rows: &mut [Row], batch: &[u8]) -> Vec<(f64, f64)> {
    let repeats = (BYTES_A_ROUND / batch.len()).max(1);
    let mut speeds = vec![Vec::new(); rows.len()];
    let mut sizes = vec![0.0; rows.len()];
    let mut out = Vec::with_capacity(2 * batch.len());
    for _ in 0..ROUNDS {
        for (i, row) in rows.iter_mut().enumerate() {
            (row.codec)(batch, &mut out);
            sizes[i] = out.len() as f64 / batch.len() as f64;
            let began = Instant::now();
            for _ in 0..repeats {
                (row.codec)(black_box(batch), &mut out);
                black_box(&out);
            }
            speeds[i].push((repeats * batch.len()) as f64 / began.elapsed().as_secs_f64() / 1e6);
        }
    }
    let median = |mut speeds: Vec<f64>| {
        speeds.sort_by(f64::total_cmp);
        speeds[speeds.len() / 2]
    };
    speeds.into_iter().map(median).zip(sizes).collect()
}

// ---- codecs

fn row(name: &'static str, codec: impl FnMut(&[u8], &mut Vec<u8>) + 'static) -> Row {
    Row { name, ours: false, is_c: false, codec: Box::new(codec) }
}

fn ours(row: Row) -> Row {
    Row { ours: true, ..row }
}

fn c(row: Row) -> Row {
    Row { is_c: true, ..row }
}

fn gzip(level: u32) -> Vec<Row> {
    let mut zlib_rs = Compress::new_gzip(Compression::new(level), 15);
    let level_of_miniz = u8::try_from(level).expect("levels are small");
    vec![
        ours(row("flate2 with zlib-rs", move |batch, out| {
            zlib_rs.reset();
            out.clear();
            out.reserve(batch.len() + 1024);
            zlib_rs.compress_vec(batch, out, FlushCompress::Finish).expect("there is room");
        })),
        row("miniz_oxide", move |batch, out| {
            *out = miniz_oxide::deflate::compress_to_vec(batch, level_of_miniz);
        }),
        c(row("zlib-ng (C)", move |batch, out| zlib_ng(level, batch, out))),
    ]
}

fn zlib_ng(level: u32, batch: &[u8], out: &mut Vec<u8>) {
    use libz_ng_sys as z;

    out.clear();
    out.resize(batch.len() + 1024, 0);
    // SAFETY: a stream of zeros is what deflateInit2_ wants; the pointers are those of live slices with their lengths,
    // and the stream is ended before either goes away.
    unsafe {
        let mut stream = std::mem::MaybeUninit::<z::z_stream>::zeroed();
        let stream = stream.as_mut_ptr();
        let size = i32::try_from(size_of::<z::z_stream>()).expect("small");
        let level = i32::try_from(level).expect("small");
        assert_eq!(z::deflateInit2_(stream, level, 8, 31, 8, 0, z::zlibVersion(), size), z::Z_OK);
        (*stream).next_in = batch.as_ptr().cast_mut();
        (*stream).avail_in = u32::try_from(batch.len()).expect("batches are small");
        (*stream).next_out = out.as_mut_ptr();
        (*stream).avail_out = u32::try_from(out.len()).expect("batches are small");
        assert_eq!(z::deflate(stream, z::Z_FINISH), z::Z_STREAM_END);
        let len = usize::try_from((*stream).total_out).expect("batches are small");
        z::deflateEnd(stream);
        out.truncate(len);
    }
}

fn snappy() -> Vec<Row> {
    let mut snap = snap::raw::Encoder::new();
    vec![ours(row("snap", move |batch, out| {
        in_blocks(batch, 32 << 10, out, snap::raw::max_compress_len, |block, room| {
            snap.compress(block, room).expect("there is room")
        });
    }))]
}

fn lz4() -> Vec<Row> {
    let room_for = lz4_flex::block::get_maximum_output_size;
    let mut table = CompressTable::default();
    vec![
        ours(row("lz4_flex", move |batch, out| {
            in_blocks(batch, 64 << 10, out, room_for, |block, room| {
                lz4_flex::block::compress_into_with_table(block, room, &mut table).expect("there is room")
            });
        })),
        row("lz4rip", move |batch, out| {
            in_blocks(batch, 64 << 10, out, room_for, |block, room| {
                lz4rip::block::compress_into(block, room).expect("there is room")
            });
        }),
        c(row("lz4 (C)", move |batch, out| {
            in_blocks(batch, 64 << 10, out, room_for, |block, room| {
                lz4::block::compress_to_buffer(block, None, false, room).expect("there is room")
            });
        })),
    ]
}

fn zstd(level: i32) -> Vec<Row> {
    let mut structured: FrameCompressor = FrameCompressor::new(CompressionLevel::from_level(level));
    structured.set_content_checksum(false);
    let mut in_c = zstd::bulk::Compressor::new(level).expect("a legal level");
    vec![
        ours(row("structured-zstd", move |batch, out| {
            structured.compress_independent_frame_into(batch, out);
        })),
        row("rusty_zstd", move |batch, out| {
            *out = rusty_zstd::compress(batch, level).expect("a legal level");
        }),
        c(row("zstd (C)", move |batch, out| {
            out.clear();
            out.reserve(zstd::zstd_safe::compress_bound(batch.len()));
            in_c.compress_to_buffer(batch, out).expect("there is room");
        })),
    ]
}

fn in_blocks(
    batch: &[u8],
    block_len: usize,
    out: &mut Vec<u8>,
    room_for: impl Fn(usize) -> usize,
    mut compress: impl FnMut(&[u8], &mut [u8]) -> usize,
) {
    out.clear();
    for block in batch.chunks(block_len) {
        let start = out.len();
        out.resize(start + room_for(block.len()), 0);
        let len = compress(block, &mut out[start..]);
        out.truncate(start + len);
    }
}

// ---- batches

/// Records as a batch has them, one behind the other.
fn batch(len: usize, value: impl Fn(usize, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut i = 0;
    while out.len() < len {
        // Length, attributes, timestamp and offset deltas, no key: near enough to what stands there.
        out.extend_from_slice(&[0xd6, 0x01, 0, (i / 7) as u8 & 0x7f, (2 * i) as u8, 0x01, 0xc8, 0x01]);
        value(i, &mut out);
        out.push(0);
        i += 1;
    }
    out.truncate(len);
    out
}

/// The value that benches/peers sends.
fn plain(size: usize, _: usize, out: &mut Vec<u8>) {
    out.extend((0..size).map(|i| (i.wrapping_mul(31).wrapping_add(7) % 256) as u8));
}

/// An order as an application would send it.
fn json(i: usize, out: &mut Vec<u8>) {
    let customer = (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let note = ["to be delivered before noon", "by the back door", "ring twice"][i * 31 % 3];
    let order = format!(
        "{{\"customer\":\"{customer:x}\",\"item\":\"apples and pears\",\"count\":{},\"price\":{}.{},\"note\":\"{note}\"}}",
        i % 17,
        i * 7 % 1000,
        i % 100
    );
    out.extend_from_slice(order.as_bytes());
}

const ROUNDS: usize = 7;

const BYTES_A_ROUND: usize = 16 << 20;
