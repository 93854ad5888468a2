//! Metrics as OpenTelemetry writes them: `MetricsData` of OTLP's metrics, version 1, in the wire form of protocol buffers.
//!
//! Written by hand, since a client says little of what could be said: one resource, numbers in doubles, no histograms.
//!
//! ```text
//! MetricsData
//!   1 ResourceMetrics
//!       1 Resource          1 KeyValue: what is the same for all metrics
//!       2 ScopeMetrics
//!           2 Metric        1 name
//!               5 Gauge     1 NumberDataPoint
//!               7 Sum       1 NumberDataPoint   2 temporality   3 monotonic
//!
//! NumberDataPoint           2 since   3 time   4 value   7 KeyValue
//! KeyValue                  1 key     2 AnyValue: 1 a string
//! ```

use super::primitives::{put_base128, put_u64_le};

/// Pairs of a name and a text.
pub(crate) type Attributes = Vec<(String, String)>;

/// One number with its name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Metric {
    pub(crate) name: String,
    pub(crate) attributes: Attributes,
    pub(crate) value: Value,
    /// When it was read, in nanoseconds since 1970.
    pub(crate) time: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    /// What something is at that time.
    Gauge(f64),
    /// What something has grown by since then, in nanoseconds since 1970, and never shrinks. `is_delta`: the time before
    /// was told before.
    Sum { value: f64, since: u64, is_delta: bool },
}

/// Appends everything as one `MetricsData`. `resource`: what is the same for all metrics.
pub(crate) fn encode(resource: &[(&str, &str)], metrics: &[Metric], out: &mut Vec<u8>) {
    message(out, RESOURCE_METRICS, |out| {
        message(out, RESOURCE, |out| {
            for (key, value) in resource {
                attribute(out, RESOURCE_ATTRIBUTES, key, value);
            }
        });
        message(out, SCOPE_METRICS, |out| {
            for metric in metrics {
                message(out, METRICS, |out| put_metric(out, metric));
            }
        });
    });
}

fn put_metric(out: &mut Vec<u8>, metric: &Metric) {
    text(out, NAME, &metric.name);
    match metric.value {
        Value::Gauge(value) => message(out, GAUGE, |out| put_point(out, metric, None, value)),
        Value::Sum { value, since, is_delta } => message(out, SUM, |out| {
            put_point(out, metric, Some(since), value);
            number(out, TEMPORALITY, if is_delta { DELTA } else { CUMULATIVE });
            number(out, IS_MONOTONIC, 1);
        }),
    }
}

fn put_point(out: &mut Vec<u8>, metric: &Metric, since: Option<u64>, value: f64) {
    message(out, DATA_POINTS, |out| {
        if let Some(since) = since {
            fixed(out, SINCE, since);
        }
        fixed(out, TIME, metric.time);
        fixed(out, AS_DOUBLE, value.to_bits());
        for (key, value) in &metric.attributes {
            attribute(out, POINT_ATTRIBUTES, key, value);
        }
    });
}

fn attribute(out: &mut Vec<u8>, field: u64, key: &str, value: &str) {
    message(out, field, |out| {
        text(out, KEY, key);
        message(out, VALUE, |out| text(out, STRING_VALUE, value));
    });
}

/// A message inside the present one. Its length stands in front of it and is known behind it.
fn message(out: &mut Vec<u8>, field: u64, body: impl FnOnce(&mut Vec<u8>)) {
    put_base128(out, field << 3 | LENGTH_DELIMITED);
    let begin = out.len();
    body(out);
    let mut length = Vec::with_capacity(MOST_LENGTH_BYTES);
    put_base128(&mut length, (out.len() - begin) as u64);
    out.splice(begin..begin, length);
}

fn text(out: &mut Vec<u8>, field: u64, text: &str) {
    put_base128(out, field << 3 | LENGTH_DELIMITED);
    put_base128(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    put_base128(out, field << 3 | VARINT);
    put_base128(out, value);
}

fn fixed(out: &mut Vec<u8>, field: u64, value: u64) {
    put_base128(out, field << 3 | FIXED64);
    put_u64_le(out, value);
}

// How a field is written.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;

// Fields, in the order of the picture above.
const RESOURCE_METRICS: u64 = 1;
const RESOURCE: u64 = 1;
const RESOURCE_ATTRIBUTES: u64 = 1;
const SCOPE_METRICS: u64 = 2;
const METRICS: u64 = 2;
const NAME: u64 = 1;
const GAUGE: u64 = 5;
const SUM: u64 = 7;
const DATA_POINTS: u64 = 1;
const TEMPORALITY: u64 = 2;
const IS_MONOTONIC: u64 = 3;
const SINCE: u64 = 2;
const TIME: u64 = 3;
const AS_DOUBLE: u64 = 4;
const POINT_ATTRIBUTES: u64 = 7;
const KEY: u64 = 1;
const VALUE: u64 = 2;
const STRING_VALUE: u64 = 1;

// What a sum's value is counted from.
const DELTA: u64 = 1;
const CUMULATIVE: u64 = 2;

/// A push is far below 2 GiB.
const MOST_LENGTH_BYTES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(resource: &[(&str, &str)], metrics: &[Metric]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(resource, metrics, &mut out);
        out
    }

    /// Put together by hand from the fields' numbers in OTLP's `metrics.proto`, `common.proto` and `resource.proto`.
    #[test]
    fn a_gauge_and_two_sums_byte_by_byte() {
        let point = [
            &b"\x19\x02\0\0\0\0\0\0\0"[..],        // time 2
            b"\x21\0\0\0\0\0\0\xf8\x3f",           // 1.5
            b"\x3a\x08\x0a\x01k\x12\x03\x0a\x01v", // k=v
        ]
        .concat();
        let gauge = [&b"\x0a\x01g\x2a\x1e\x0a\x1c"[..], &point].concat();
        let sum = |temporality: &[u8]| {
            let since = b"\x11\x01\0\0\0\0\0\0\0";
            [&b"\x0a\x01s\x3a\x2b\x0a\x25"[..], since, &point, b"\x10", temporality, b"\x18\x01"].concat()
        };
        let metric = |name: &str, value| Metric {
            name: name.into(),
            attributes: vec![("k".into(), "v".into())],
            value,
            time: 2,
        };
        let sums = [true, false].map(|is_delta| metric("s", Value::Sum { value: 1.5, since: 1, is_delta }));
        let metrics = [&[metric("g", Value::Gauge(1.5))][..], &sums].concat();
        let parts = [gauge, sum(b"\x01"), sum(b"\x02")];
        let scope: Vec<u8> =
            parts.iter().flat_map(|part| [&[0x12, part.len() as u8][..], part].concat()).collect();
        let resource = b"\x0a\x09\x0a\x07\x0a\x01r\x12\x02\x0a\0";
        // From 128 to 255 a length has its highest bit set already, and goes on in a second byte.
        assert_eq!(scope.len(), 0x89);
        let scope = [&b"\x12\x89\x01"[..], &scope].concat();
        let want = [&b"\x0a\x97\x01"[..], resource, &scope].concat();
        assert_eq!(encoded(&[("r", "")], &metrics), want);
    }

    #[test]
    fn nothing_is_an_empty_list_of_an_unnamed_resource() {
        assert_eq!(encoded(&[], &[]), b"\x0a\x04\x0a\0\x12\0");
    }
}
