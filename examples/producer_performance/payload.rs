//! What the records say: random letters, the entries of a file, or numbers. All but numbers are made before anything is
//! measured.

use std::{fs, io::Write, path::Path};

use crate::shared::Failure;

/// Gives out one value after the other.
pub(crate) struct Payloads {
    text: Vec<u8>,
    /// Where the values lie in `text`: every place for random letters, else begin and end of each entry.
    entries: Vec<(usize, usize)>,
    size: usize,
    next: usize,
    /// The next number, if `text` is to hold that.
    number: Option<u64>,
    random: Random,
}

impl Payloads {
    /// Values of `size` letters from A to Z, the same ones in every run.
    pub(crate) fn random(size: usize) -> Self {
        let mut random = Random(0);
        let letters = size.max(VARIETY) + size;
        let text = (0..letters).map(|_| b'A' + random.below(26) as u8).collect();
        Self { text, entries: Vec::new(), size, next: 0, number: None, random }
    }

    /// The numbers from 0 on.
    pub(crate) fn monotonic() -> Self {
        Self { text: Vec::new(), entries: Vec::new(), size: 0, next: 0, number: Some(0), random: Random(0) }
    }

    /// The entries of a file, chosen at random.
    pub(crate) fn from_file(file: &Path, delimiter: &str) -> Result<Self, Failure> {
        let explain = |why: &str| format!("--payload-file {}: {why}", file.display());
        let text = fs::read(file).map_err(|error| explain(&error.to_string()))?;
        let delimiter = unescape(delimiter);
        if delimiter.is_empty() {
            return Err("--payload-delimiter may not be empty".into());
        }
        let mut entries = Vec::new();
        let mut begin = 0;
        while begin < text.len() {
            let found =
                text[begin..].windows(delimiter.len()).position(|window| window == delimiter.as_bytes());
            let end = found.map_or(text.len(), |at| begin + at);
            entries.push((begin, end));
            begin = end + delimiter.len();
        }
        if entries.is_empty() {
            return Err(explain("the file is empty").into());
        }
        Ok(Self { text, entries, size: 0, next: 0, number: None, random: Random(0) })
    }

    /// How many entries the file had.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn next(&mut self) -> &[u8] {
        if let Some(number) = &mut self.number {
            self.text.clear();
            write!(self.text, "{number}").expect("a Vec takes everything");
            *number += 1;
            return &self.text;
        }
        if self.entries.is_empty() {
            let begin = if self.next + self.size <= self.text.len() { self.next } else { 0 };
            self.next = begin + self.size;
            return &self.text[begin..self.next];
        }
        let (begin, end) = self.entries[self.random.below(self.entries.len())];
        &self.text[begin..end]
    }
}

/// SplitMix64: quick, and the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        ((u128::from(bits) * bound as u128) >> 64) as usize
    }
}

/// A delimiter as a shell passes it: `\n`, `\r`, `\t` and `\\` are written with a backslash.
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, rest.clone().next()) {
            ('\\', Some(escaped @ ('n' | 'r' | 't' | '\\'))) => {
                rest.next();
                plain.push(match escaped {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    other => other,
                });
            }
            _ => plain.push(c),
        }
    }
    plain
}

/// Letters before they repeat: no batch of an ordinary size holds the same ones twice, so that none compresses better
/// than random letters do.
const VARIETY: usize = 1 << 20;
