//! A line of input as a record, in the format of Kafka's console producer: `headers TAB key TAB value`, each but the
//! value only if asked for. Its settings, defaults and complaints are Java's.
//!
//! Two differences: separators are plain text, where Java takes `headers.separator` for a regular expression; and bytes
//! that are not UTF-8 stay as they are, where Java replaces them.

use std::{
    borrow::Cow,
    io::{self, BufRead},
};

use kafka_producer::Headers;

/// What the parts of a line are, and what stands between them.
#[derive(Debug)]
pub(crate) struct LineFormat {
    parse_key: bool,
    parse_headers: bool,
    ignore_error: bool,
    key_separator: String,
    headers_delimiter: String,
    headers_separator: String,
    headers_key_separator: String,
    null_marker: Option<String>,
}

/// The parts of a line.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Parts<'a> {
    pub(crate) headers: Headers,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
}

impl Default for LineFormat {
    fn default() -> Self {
        Self {
            parse_key: false,
            parse_headers: false,
            ignore_error: false,
            key_separator: "\t".into(),
            headers_delimiter: "\t".into(),
            headers_separator: ",".into(),
            headers_key_separator: ":".into(),
            null_marker: None,
        }
    }
}

impl LineFormat {
    /// From Java's names, such as `parse.key`.
    pub(crate) fn new<'a>(properties: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut format = Self::default();
        for (name, value) in properties {
            format.set(name, value)?;
        }
        format.check()?;
        Ok(format)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "parse.key" => self.parse_key = flag(name, value)?,
            "parse.headers" => self.parse_headers = flag(name, value)?,
            "ignore.error" => self.ignore_error = flag(name, value)?,
            "key.separator" => self.key_separator = separator(name, value)?,
            "headers.delimiter" => self.headers_delimiter = separator(name, value)?,
            "headers.separator" => self.headers_separator = separator(name, value)?,
            "headers.key.separator" => self.headers_key_separator = separator(name, value)?,
            "null.marker" => self.null_marker = Some(value.into()),
            _ => {
                return Err(format!(
                    "{name}={value}: the reader has no such property, only parse.key, key.separator, parse.headers, \
                     headers.delimiter, headers.separator, headers.key.separator, null.marker and ignore.error"
                ));
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let delimiter = ("headers.delimiter", Some(&self.headers_delimiter));
        let separator = ("headers.separator", Some(&self.headers_separator));
        let key_separator = ("headers.key.separator", Some(&self.headers_key_separator));
        let key = ("key.separator", Some(&self.key_separator));
        let null = ("null.marker", self.null_marker.as_ref());
        for (a, b) in [
            (delimiter, separator),
            (delimiter, key_separator),
            (separator, key_separator),
            (null, key),
            (null, separator),
            (null, delimiter),
            (null, key_separator),
        ] {
            if a.1 == b.1 {
                return Err(format!("{} and {} may not be equal", a.0, b.0));
            }
        }
        Ok(())
    }

    /// Takes a line apart. `number` is for complaints.
    pub(crate) fn parse<'a>(&self, line: &'a [u8], number: u64) -> Result<Parts<'a>, String> {
        let complain = |what: &str| format!("No {what} found on line number {number}: '{}'", text(line));
        let mut rest = line;
        let mut headers = Headers::new();
        if self.parse_headers {
            if let Some((before, after)) = split_once(rest, &self.headers_delimiter) {
                rest = after;
                if !self.is_null(before) {
                    headers = self.parse_headers(before, number)?;
                }
            } else if !self.ignore_error {
                return Err(complain("headers delimiter"));
            }
        }
        let mut key = None;
        if self.parse_key {
            if let Some((before, after)) = split_once(rest, &self.key_separator) {
                rest = after;
                key = self.unless_null(before);
            } else if !self.ignore_error {
                return Err(complain("key separator"));
            }
        }
        Ok(Parts { headers, key, value: self.unless_null(rest) })
    }

    fn parse_headers(&self, list: &[u8], number: u64) -> Result<Headers, String> {
        let mut headers = Headers::new();
        for pair in split_list(list, &self.headers_separator) {
            match split_once(pair, &self.headers_key_separator) {
                Some((key, _)) if self.is_null(key) => {
                    return Err(format!(
                        "Header keys should not be equal to the null marker '{}' as they can't be null, on line \
                         number {number}",
                        text(key)
                    ));
                }
                Some((key, value)) => headers.add(&text(key), self.unless_null(value)),
                None if self.ignore_error => headers.add(&text(pair), None),
                None => {
                    return Err(format!(
                        "No header key separator found in pair '{}' on line number {number}",
                        text(pair)
                    ));
                }
            }
        }
        Ok(headers)
    }

    fn is_null(&self, part: &[u8]) -> bool {
        self.null_marker.as_ref().is_some_and(|marker| marker.as_bytes() == part)
    }

    fn unless_null<'a>(&self, part: &'a [u8]) -> Option<&'a [u8]> {
        (!self.is_null(part)).then_some(part)
    }
}

/// Input cut into lines as Java cuts it: at `\n`, `\r` and `\r\n`.
pub(crate) struct Lines<R> {
    input: R,
    /// What was read up to a `\n`, without it.
    buffer: Vec<u8>,
    /// Where the next line begins in `buffer`; `None` if there is none.
    next: Option<usize>,
    /// Of the line last returned, from 1.
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), next: None, number: 0 }
    }

    /// The next line and its number.
    pub(crate) fn next(&mut self) -> io::Result<Option<(&[u8], u64)>> {
        let begin = match self.next {
            Some(begin) => begin,
            None => {
                self.buffer.clear();
                if self.input.read_until(b'\n', &mut self.buffer)? == 0 {
                    return Ok(None);
                }
                if self.buffer.ends_with(b"\n") {
                    self.buffer.pop();
                }
                if self.buffer.ends_with(b"\r") {
                    self.buffer.pop();
                }
                0
            }
        };
        let line = &self.buffer[begin..];
        let line = match line.iter().position(|&byte| byte == b'\r') {
            Some(end) => {
                self.next = Some(begin + end + 1);
                &line[..end]
            }
            None => {
                self.next = None;
                line
            }
        };
        self.number += 1;
        Ok(Some((line, self.number)))
    }
}

fn flag(name: &str, value: &str) -> Result<bool, String> {
    match value.trim() {
        word if word.eq_ignore_ascii_case("true") => Ok(true),
        word if word.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(format!("{name}={value}: must be true or false")),
    }
}

fn separator(name: &str, value: &str) -> Result<String, String> {
    if value.is_empty() { Err(format!("{name} may not be empty")) } else { Ok(value.into()) }
}

/// Separators are never empty.
fn split_once<'a>(bytes: &'a [u8], separator: &str) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(separator.len()).position(|window| window == separator.as_bytes())?;
    Some((&bytes[..at], &bytes[at + separator.len()..]))
}

/// What stands between separators, without the empty ones at the end; nothing at all is one empty entry.
fn split_list<'a>(bytes: &'a [u8], separator: &str) -> Vec<&'a [u8]> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while let Some((entry, after)) = split_once(rest, separator) {
        entries.push(entry);
        rest = after;
    }
    entries.push(rest);
    while entries.len() > 1 && entries.last().is_some_and(|entry| entry.is_empty()) {
        entries.pop();
    }
    if entries.len() == 1 && entries[0].is_empty() && !bytes.is_empty() {
        entries.clear();
    }
    entries
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
