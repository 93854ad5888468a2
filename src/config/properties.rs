//! Java's `.properties` format, as `java.util.Properties` reads it.
//!
//! One deviation: Java takes every file for ISO 8859-1. Here a file that is valid UTF-8 is read as such, since that is
//! what editors write, and any other one as ISO 8859-1. Knows nothing of settings.

use std::fmt;

/// A line that is no property.
#[derive(Debug, PartialEq)]
pub(crate) struct Malformed {
    /// Counted from 1; where the property begins.
    pub(crate) line: usize,
    pub(crate) what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Malformed {}

/// The names and values in a file, in order; a name may occur more than once.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    };
    let mut pairs = Vec::new();
    let mut logical = String::new();
    let mut begin = 1;
    let mut emit = |logical: &str, line| -> Result<(), Malformed> {
        let (name, value) = split(logical);
        let text = |part| unescape(part).map_err(|what| Malformed { line, what });
        pairs.push((text(name)?, text(value)?));
        Ok(())
    };
    for (i, line) in natural_lines(&text).enumerate() {
        let line = line.trim_start_matches(BLANKS);
        if logical.is_empty() {
            begin = i + 1;
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
        }
        let backslashes = line.len() - line.trim_end_matches('\\').len();
        if backslashes % 2 == 1 {
            logical.push_str(&line[..line.len() - 1]);
            continue;
        }
        logical.push_str(line);
        emit(&logical, begin)?;
        logical.clear();
    }
    if !logical.is_empty() {
        emit(&logical, begin)?;
    }
    Ok(pairs)
}

/// Lines end with `\n`, `\r` or both.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// Cuts at the first `=`, `:` or blank that no backslash protects, and drops the blanks around it.
fn split(logical: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = logical
        .find(|c: char| {
            let ends = !escaped && (BLANKS.contains(&c) || c == '=' || c == ':');
            escaped = c == '\\' && !escaped;
            ends
        })
        .unwrap_or(logical.len());
    let (name, rest) = logical.split_at(end);
    let rest = rest.trim_start_matches(BLANKS);
    (name, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(BLANKS))
}

fn unescape(text: &str) -> Result<String, &'static str> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    // UTF-16, because a character beyond U+FFFF is written as two escapes, one for each half.
    let mut units = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let c = match c {
            '\\' => match rest.next() {
                Some('u') => {
                    let digits = rest.as_str().get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
                    let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
                    units.push(unit.ok_or("\\u must be followed by four hexadecimal digits")?);
                    rest = rest.as_str()[4..].chars();
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some(other) => other,
                None => break,
            },
            c => c,
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).map_err(|_| "\\u gives half of a character; the other half is missing")
}

const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_read_as_in_java() {
        for (file, want) in [
            ("", &[][..]),
            ("# a comment\n  ! another\n\n \t\n", &[]),
            ("acks=all", &[("acks", "all")]),
            (
                "acks = all\r\nretries:3\rlinger.ms 5\n",
                &[("acks", "all"), ("retries", "3"), ("linger.ms", "5")],
            ),
            ("  a\t:\u{c} b c ", &[("a", "b c ")]),
            ("a==b", &[("a", "=b")]),
            ("a = :b", &[("a", ":b")]),
            ("a", &[("a", "")]),
            ("a=", &[("a", "")]),
            ("=a", &[("", "a")]),
            ("a\\ b\\:c\\=d=e", &[("a b:c=d", "e")]),
            ("bootstrap.servers=a:1,\\\n    b:2,\\\r\n\tc:3\n", &[("bootstrap.servers", "a:1,b:2,c:3")]),
            ("a=b\\\n# no comment\n", &[("a", "b# no comment")]),
            ("a=b\\\n\nc=d", &[("a", "b"), ("c", "d")]),
            ("a=b\\\\\nc=d", &[("a", "b\\"), ("c", "d")]),
            ("a=b\\\\\\\nc=d", &[("a", "b\\c=d")]),
            ("a=b\\", &[("a", "b")]),
            ("\\\n# a comment\na=b", &[("a", "b")]),
            ("# no continuation \\\na=b", &[("a", "b")]),
            ("a=\\t\\n\\r\\f\\\\\\x", &[("a", "\t\n\r\u{c}\\x")]),
            ("file=C:\\keys\\new", &[("file", "C:keys\new")]),
            ("a=\\u00fc\\u20AC\\ud83d\\ude00", &[("a", "\u{fc}\u{20ac}\u{1f600}")]),
            ("\\u0061=b", &[("a", "b")]),
            ("\u{feff}a=\u{fc}", &[("a", "\u{fc}")]),
            ("a=1\na=2", &[("a", "1"), ("a", "2")]),
            ("a\\\n  b:c", &[("ab", "c")]),
            ("k\\:1 = v\\\\\\\n   \\ w \n", &[("k:1", "v\\ w ")]),
            ("x:  =y", &[("x", "=y")]),
            ("\\ttab\\u0020z q\\\n", &[("\ttab z", "q")]),
        ] {
            let got = parse(file.as_bytes()).expect(file);
            let got: Vec<_> = got.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(got, want, "{file:?}");
        }
    }

    #[test]
    fn what_is_not_utf_8_is_iso_8859_1() {
        assert_eq!(parse(b"a=gr\xfc\xdfe"), Ok(vec![("a".to_owned(), "gr\u{fc}\u{df}e".to_owned())]));
    }

    #[test]
    fn a_bad_escape_names_its_line() {
        for (file, line) in [
            ("a=\\u12", 1),
            ("# x\n\na=\\u12g4", 3),
            ("a=b\\\n\\u", 1),
            ("a=\\u+123", 1),
            ("\\ud83d=b", 1),
            ("a=\\u12\u{fc}", 1),
        ] {
            assert_eq!(parse(file.as_bytes()).map_err(|malformed| malformed.line), Err(line), "{file:?}");
        }
    }
}
