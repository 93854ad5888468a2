//! The block compressor of LZ4 that searches: whoever sets a level other than 9 wants smaller blocks for more time.
//!
//! Positions with the same hash of four bytes are chained, the latest first. The level says how many of a chain are
//! looked at, as in the C library that Java uses: twice as many from level to level. A match gives way to a longer one
//! that begins a byte later.

pub(super) struct HighCompression {
    attempts: u32,
    /// By hash: the latest position.
    latest: Vec<u32>,
    /// By position: the one before it with the same hash.
    earlier: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Match {
    at: usize,
    offset: usize,
    len: usize,
}

impl HighCompression {
    /// `level`: at least 1.
    pub(super) fn new(level: i32) -> Self {
        let attempts = 1 << (level - 1).clamp(0, MOST_DOUBLINGS);
        Self { attempts, latest: vec![NOWHERE; 1 << HASH_BITS], earlier: Vec::new() }
    }

    /// Writes a block and says how long it is. `input`: 64 KiB at most. `out` has room for the longest outcome.
    pub(super) fn compress(&mut self, input: &[u8], out: &mut [u8]) -> usize {
        debug_assert!(input.len() <= LONGEST_OFFSET + 1, "every match is in reach");
        self.latest.fill(NOWHERE);
        self.earlier.clear();
        let mut writer = Writer { out, len: 0 };
        let mut literals_from = 0;
        let mut at = 0;
        while let Some(found) = self.next_match(input, at) {
            writer.sequence(&input[literals_from..found.at], Some(found));
            at = found.at + found.len;
            literals_from = at;
        }
        writer.sequence(&input[literals_from..], None);
        writer.len
    }

    /// The first match from `at` on that no match a byte later is longer than.
    fn next_match(&mut self, input: &[u8], mut at: usize) -> Option<Match> {
        // Readers copy in strides, so that a block ends with literals.
        let last_start = input.len().checked_sub(NO_MATCH_STARTS_IN)?;
        let mut best: Option<Match> = None;
        while at <= last_start {
            let found = self.longest_match(input, at);
            match (best, found) {
                (Some(best), Some(found)) if found.len <= best.len => return Some(best),
                (Some(best), None) => return Some(best),
                (_, found) => best = found,
            }
            at += 1;
        }
        best
    }

    fn longest_match(&mut self, input: &[u8], at: usize) -> Option<Match> {
        self.insert_up_to(input, at);
        let end = input.len() - LITERALS_AT_THE_END;
        let mut best = Match { at, offset: 0, len: MIN_MATCH - 1 };
        let mut candidate = self.latest[hash(input, at)];
        for _ in 0..self.attempts {
            if candidate == NOWHERE {
                break;
            }
            let from = candidate as usize;
            // A longer one must go on where the best one ends.
            if input[from + best.len] == input[at + best.len] {
                let len = input[from..].iter().zip(&input[at..end]).take_while(|(a, b)| a == b).count();
                if len > best.len {
                    best = Match { at, offset: at - from, len };
                    if at + len == end {
                        break;
                    }
                }
            }
            candidate = self.earlier[from];
        }
        (best.offset > 0).then_some(best)
    }

    /// Chains every position before `at`.
    fn insert_up_to(&mut self, input: &[u8], at: usize) {
        for position in self.earlier.len()..at {
            let latest = &mut self.latest[hash(input, position)];
            self.earlier.push(*latest);
            *latest = u32::try_from(position).expect("a block is small");
        }
    }
}

/// The next four bytes, spread by Knuth's multiplication.
fn hash(input: &[u8], at: usize) -> usize {
    let bytes: [u8; MIN_MATCH] = input[at..at + MIN_MATCH].try_into().expect("it is as long");
    (u32::from_le_bytes(bytes).wrapping_mul(2_654_435_761) >> (u32::BITS - HASH_BITS)) as usize
}

struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    /// A token with both lengths, as far as they go into four bits; literals; offset; what is left of the lengths
    /// stands behind each.
    fn sequence(&mut self, literals: &[u8], found: Option<Match>) {
        let beyond = found.map_or(0, |found| found.len - MIN_MATCH);
        let nibble = |len: usize| u8::try_from(len.min(NIBBLE)).expect("at most 15");
        self.byte(nibble(literals.len()) << 4 | nibble(beyond));
        self.rest_of(literals.len());
        self.bytes(literals);
        if let Some(found) = found {
            self.bytes(&u16::try_from(found.offset).expect("a block is small").to_le_bytes());
            self.rest_of(beyond);
        }
    }

    fn rest_of(&mut self, len: usize) {
        let Some(mut rest) = len.checked_sub(NIBBLE) else { return };
        while rest >= 255 {
            self.byte(255);
            rest -= 255;
        }
        self.byte(u8::try_from(rest).expect("below 255"));
    }

    fn byte(&mut self, byte: u8) {
        self.out[self.len] = byte;
        self.len += 1;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.out[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

const NOWHERE: u32 = u32::MAX;

const HASH_BITS: u32 = 15;

/// Of attempts; more than there are positions in a block.
const MOST_DOUBLINGS: i32 = 16;

const MIN_MATCH: usize = 4;

const LONGEST_OFFSET: usize = 65_535;

/// What fits into half a token.
const NIBBLE: usize = 15;

/// The format's two rules for the end of a block.
const NO_MATCH_STARTS_IN: usize = 12;
const LITERALS_AT_THE_END: usize = 5;
