//! AES in CBC mode (FIPS 197, SP 800-38A), backwards only: what a password-protected key file needs.
//!
//! For a file that is read once when a producer is built. It looks up tables by secret bytes, which a neighbour on the same
//! processor could observe in a loop of many: nothing that is on the wire may ever go through here.

use zeroize::Zeroizing;

/// Undoes CBC and its padding (PKCS #7). `None`: the key is the wrong one, or the data is no such thing.
///
/// A key has 16, 24 or 32 bytes.
pub(super) fn decrypt_cbc(key: &[u8], iv: &[u8; BLOCK], data: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if data.is_empty() || !data.len().is_multiple_of(BLOCK) {
        return None;
    }
    let (round_keys, inverse) = (expand(key), inverse(&SBOX));
    let mut plain = Zeroizing::new(Vec::with_capacity(data.len()));
    let mut previous = iv.as_slice();
    for block in data.chunks_exact(BLOCK) {
        let mut state = Zeroizing::new([0; BLOCK]);
        state.copy_from_slice(block);
        decrypt_block(&round_keys, &inverse, &mut state);
        plain.extend(state.iter().zip(previous).map(|(byte, mask)| byte ^ mask));
        previous = block;
    }
    let padding = usize::from(*plain.last()?);
    let body = plain.len().checked_sub(padding)?;
    if !(1..=BLOCK).contains(&padding) || plain[body..].iter().any(|byte| usize::from(*byte) != padding) {
        return None;
    }
    plain.truncate(body);
    Some(plain)
}

/// The key of each round, one after the other.
fn expand(key: &[u8]) -> Zeroizing<Vec<u8>> {
    let words = key.len() / 4;
    let mut keys = Zeroizing::new(Vec::with_capacity((words + 7) * BLOCK));
    keys.extend_from_slice(key);
    let mut constant = 1;
    for word in words..(words + 7) * 4 {
        let at = keys.len();
        let mut last = [keys[at - 4], keys[at - 3], keys[at - 2], keys[at - 1]];
        if word.is_multiple_of(words) {
            last.rotate_left(1);
            last = last.map(|byte| SBOX[usize::from(byte)]);
            last[0] ^= constant;
            constant = double(constant);
        } else if words > 6 && word % words == 4 {
            last = last.map(|byte| SBOX[usize::from(byte)]);
        }
        for byte in last {
            let before = keys[keys.len() - key.len()];
            keys.push(before ^ byte);
        }
    }
    keys
}

fn decrypt_block(round_keys: &[u8], inverse: &[u8; 256], state: &mut [u8; BLOCK]) {
    let mut rounds = round_keys.chunks_exact(BLOCK).rev();
    add(state, rounds.next().expect("there are at least eleven"));
    while let Some(key) = rounds.next() {
        let before = *state;
        for (place, byte) in state.iter_mut().enumerate() {
            // Row r of the column-wise square was shifted by r columns.
            let (row, column) = (place % 4, place / 4);
            *byte = inverse[usize::from(before[(column + 4 - row) % 4 * 4 + row])];
        }
        add(state, key);
        if rounds.len() > 0 {
            state.chunks_exact_mut(4).for_each(unmix);
        }
    }
}

fn add(state: &mut [u8; BLOCK], key: &[u8]) {
    state.iter_mut().zip(key).for_each(|(byte, mask)| *byte ^= mask);
}

fn unmix(column: &mut [u8]) {
    let before: [u8; 4] = column.try_into().expect("a column has four bytes");
    for (row, byte) in column.iter_mut().enumerate() {
        *byte = (0..4).fold(0, |sum, i| sum ^ times(before[(row + i) % 4], [14, 11, 13, 9][i]));
    }
}

fn double(byte: u8) -> u8 {
    byte << 1 ^ if byte & 0x80 == 0 { 0 } else { 0x1b }
}

fn times(byte: u8, mut factor: u8) -> u8 {
    let (mut power, mut product) = (byte, 0);
    while factor > 0 {
        if factor & 1 == 1 {
            product ^= power;
        }
        power = double(power);
        factor >>= 1;
    }
    product
}

/// Made rather than listed: inverses in the field, each sent through the affine map of the standard.
const SBOX: [u8; 256] = {
    let mut table = [0; 256];
    let (mut p, mut q) = (1u8, 1u8);
    loop {
        p = p ^ p << 1 ^ if p & 0x80 == 0 { 0 } else { 0x1b };
        q ^= q << 1;
        q ^= q << 2;
        q ^= q << 4;
        if q & 0x80 != 0 {
            q ^= 0x09;
        }
        table[p as usize] =
            q ^ q.rotate_left(1) ^ q.rotate_left(2) ^ q.rotate_left(3) ^ q.rotate_left(4) ^ 0x63;
        if p == 1 {
            break;
        }
    }
    table[0] = 0x63;
    table
};

fn inverse(table: &[u8; 256]) -> [u8; 256] {
    let mut inverse = [0; 256];
    for (from, to) in (0..=u8::MAX).zip(table) {
        inverse[usize::from(*to)] = from;
    }
    inverse
}

pub(super) const BLOCK: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn blocks_of_the_standard() {
        let plain = hex("00112233445566778899aabbccddeeff");
        for (key, cipher) in [
            ("000102030405060708090a0b0c0d0e0f", "69c4e0d86a7b0430d8cdb78070b4c55a"),
            ("000102030405060708090a0b0c0d0e0f1011121314151617", "dda97ca4864cdfe06eaf70a0ec0d7191"),
            (
                "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
                "8ea2b7ca516745bfeafc49904b496089",
            ),
        ] {
            let mut state: [u8; BLOCK] = hex(cipher).try_into().unwrap();
            decrypt_block(&expand(&hex(key)), &inverse(&SBOX), &mut state);
            assert_eq!(state.as_slice(), plain, "{key}");
        }
    }

    #[test]
    fn what_is_not_padded_as_it_should_be_is_refused() {
        let (key, iv) = ([7; 16], [0; BLOCK]);
        for length in [0, 1, 15, 17, 31] {
            assert!(decrypt_cbc(&key, &iv, &vec![0; length]).is_none(), "{length}");
        }
        assert!(decrypt_cbc(&key, &iv, &[0; 32]).is_none());
    }
}
