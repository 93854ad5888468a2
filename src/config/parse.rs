//! One value: from the text of a property to what it says, by Java's rules.
//!
//! Knows no setting by its name. A value that is refused is told what would have been right; the name and the value
//! are put in front by whoever reports it.

use std::num::IntErrorKind;

use super::keys::{Key, Kind, Status, java_trim};

/// What a value says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Number(i64),
    Double(f64),
    /// For a choice, the word as the table spells it.
    Text(String),
    List(Vec<String>),
}

/// Checks what a user gave for this setting.
pub(super) fn check(key: &Key, raw: &str) -> Result<Value, String> {
    let value = parse(&key.kind, raw)?;
    match key.status {
        // An empty list says the same as a list that is not there.
        Status::NotHere(_) if value == Value::List(Vec::new()) => Ok(value),
        Status::NotHere(instead) => Err(instead.to_owned()),
        _ => Ok(value),
    }
}

/// Reads a value of this kind.
pub(super) fn parse(kind: &Kind, raw: &str) -> Result<Value, String> {
    let text = java_trim(raw);
    match *kind {
        Kind::Bool if text.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
        Kind::Bool if text.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
        Kind::Bool => Err("must be true or false".to_owned()),
        Kind::Number { .. } => number(kind, text),
        Kind::Double { min, max } => match text.parse::<f64>() {
            Ok(value) if (min..=max).contains(&value) => Ok(Value::Double(value)),
            _ => Err(format!("must be {}", range(kind).unwrap_or_else(|| "a number".to_owned()))),
        },
        Kind::Text { may_be_empty: false } if text.is_empty() => Err("must not be empty".to_owned()),
        Kind::Text { .. } | Kind::Secret => Ok(Value::Text(text.to_owned())),
        Kind::Choice { of, any_case } => of
            .iter()
            .find(|word| **word == text || any_case && word.eq_ignore_ascii_case(text))
            .map(|word| Value::Text((*word).to_owned()))
            .ok_or_else(|| {
                let case = if of.iter().any(|word| word.eq_ignore_ascii_case(text)) {
                    ", in this spelling"
                } else {
                    ""
                };
                format!("must be {}{case}", one_of(of))
            }),
        Kind::List => list(text).map(Value::List),
        Kind::Class(known) if !known.is_empty() && !known.contains(&text) => {
            Err(format!("must be {}: other Java classes cannot be loaded here", one_of(known)))
        }
        Kind::Class(_) => Ok(Value::Text(text.to_owned())),
    }
}

/// What values are legal, in words; `None` if every value of the type is.
pub(super) fn range(kind: &Kind) -> Option<String> {
    match *kind {
        Kind::Number { min, max, also, .. } => {
            let range = match (min, max) {
                (Some(min), Some(max)) => format!("from {min} to {max}"),
                (Some(min), None) => format!("at least {min}"),
                (None, Some(max)) => format!("at most {max}"),
                (None, None) => return None,
            };
            Some(also.map_or(range.clone(), |also| format!("{range}, or {also}")))
        }
        Kind::Double { min, max } => (min > f64::MIN).then(|| format!("from {min:?} to {max:?}")),
        Kind::Choice { of, .. } | Kind::Class(of @ [_, ..]) => Some(one_of(of)),
        Kind::Text { may_be_empty: false } => Some("not empty".to_owned()),
        Kind::Bool | Kind::Text { .. } | Kind::List | Kind::Class(_) | Kind::Secret => None,
    }
}

fn number(kind: &Kind, text: &str) -> Result<Value, String> {
    let Kind::Number { width, min, max, also, unit } = *kind else {
        unreachable!("the caller matched a number")
    };
    let (low, high) = width.bounds();
    let value = text.parse::<i64>();
    if let Ok(value) = value
        && ((min.unwrap_or(low)..=max.unwrap_or(high)).contains(&value) || also == Some(value))
    {
        return Ok(Value::Number(value));
    }
    let (is_number, is_too_large) = match &value {
        Ok(value) => (true, *value > max.unwrap_or(high)),
        Err(error) => match error.kind() {
            IntErrorKind::PosOverflow => (true, true),
            IntErrorKind::NegOverflow => (true, false),
            _ => (false, false),
        },
    };
    if !is_number {
        let of = if unit.is_empty() { String::new() } else { format!(" of {unit}") };
        let legal = range(kind).map(|legal| format!(", {legal}")).unwrap_or_default();
        return Err(format!("must be a whole number{of}{legal}"));
    }
    let space = if unit.is_empty() { "" } else { " " };
    let legal = match range(kind) {
        _ if is_too_large && max.is_none() => format!("at most {high}"),
        Some(legal) => legal,
        None => format!("at least {low}"),
    };
    Err(format!("must be {legal}{space}{unit}"))
}

fn list(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(|entry| match java_trim(entry) {
            "" => Err("must not have an empty entry: entries are separated by single commas".to_owned()),
            entry => Ok(entry.to_owned()),
        })
        .collect()
}

fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{all, find};

    fn check_named(name: &str, raw: &str) -> Result<Value, String> {
        check(find(name).expect("a setting").1, raw)
    }

    #[test]
    fn values_read_as_in_java() {
        let text = |text: &str| Value::Text(text.to_owned());
        let list = |entries: &[&str]| Value::List(entries.iter().map(|e| (*e).to_owned()).collect());
        for (name, raw, want) in [
            ("enable.idempotence", " True ", Value::Bool(true)),
            ("enable.idempotence", "FALSE", Value::Bool(false)),
            ("linger.ms", " 7\t", Value::Number(7)),
            ("linger.ms", "+7", Value::Number(7)),
            ("linger.ms", "9223372036854775807", Value::Number(i64::MAX)),
            ("retries", "2147483647", Value::Number(2_147_483_647)),
            ("send.buffer.bytes", "-1", Value::Number(-1)),
            ("connections.max.idle.ms", "-9223372036854775808", Value::Number(i64::MIN)),
            ("compression.gzip.level", "-1", Value::Number(-1)),
            ("compression.gzip.level", "9", Value::Number(9)),
            ("compression.zstd.level", "-131072", Value::Number(-131_072)),
            ("sasl.login.refresh.window.factor", "0.5", Value::Double(0.5)),
            ("sasl.login.refresh.window.jitter", "2.5e-1", Value::Double(0.25)),
            ("client.id", "  bars ", text("bars")),
            ("client.id", "", text("")),
            ("acks", " all ", text("all")),
            ("acks", "-1", text("-1")),
            ("security.protocol", "sasl_ssl", text("SASL_SSL")),
            ("metadata.recovery.strategy", "None", text("none")),
            ("buffer.memory.allocation.strategy", "FULL", text("full")),
            ("ssl.enabled.protocols", "TLSv1.3 , TLSv1.2", list(&["TLSv1.3", "TLSv1.2"])),
            ("ssl.cipher.suites", "", list(&[])),
            ("interceptor.classes", " ", list(&[])),
            ("ssl.key.password", " a b ", text("a b")),
        ] {
            assert_eq!(check_named(name, raw), Ok(want), "{name}={raw}");
        }
    }

    #[test]
    fn refusals_say_what_is_allowed() {
        for (name, raw, want) in [
            ("enable.idempotence", "yes", "must be true or false"),
            ("enable.idempotence", "1", "must be true or false"),
            ("acks", "7", "must be all, -1, 0 or 1"),
            ("acks", "ALL", "must be all, -1, 0 or 1, in this spelling"),
            ("acks", "", "must be all, -1, 0 or 1"),
            ("linger.ms", "-1", "must be at least 0 milliseconds"),
            ("linger.ms", "soon", "must be a whole number of milliseconds, at least 0"),
            ("linger.ms", "5.0", "must be a whole number of milliseconds, at least 0"),
            ("linger.ms", "1_000", "must be a whole number of milliseconds, at least 0"),
            ("linger.ms", "", "must be a whole number of milliseconds, at least 0"),
            ("linger.ms", "9223372036854775808", "must be at most 9223372036854775807 milliseconds"),
            ("linger.ms", "-9223372036854775809", "must be at least 0 milliseconds"),
            ("batch.size", "-5", "must be at least 0 bytes"),
            ("batch.size", "2147483648", "must be at most 2147483647 bytes"),
            ("buffer.memory", "-1", "must be at least 0 bytes"),
            ("max.in.flight.requests.per.connection", "0", "must be at least 1"),
            ("retries", "-1", "must be from 0 to 2147483647"),
            ("retries", "2147483648", "must be from 0 to 2147483647"),
            ("max.request.size", "-1", "must be at least 0 bytes"),
            ("delivery.timeout.ms", "-1", "must be at least 0 milliseconds"),
            ("delivery.timeout.ms", "2147483648", "must be at most 2147483647 milliseconds"),
            ("metadata.max.idle.ms", "10", "must be at least 5000 milliseconds"),
            ("send.buffer.bytes", "-2", "must be at least -1 bytes"),
            ("transaction.timeout.ms", "-2147483649", "must be at least -2147483648 milliseconds"),
            ("transaction.timeout.ms", "2147483648", "must be at most 2147483647 milliseconds"),
            ("connections.max.idle.ms", "never", "must be a whole number of milliseconds"),
            ("metrics.num.samples", "0", "must be at least 1"),
            ("metrics.recording.level", "info", "must be INFO, DEBUG or TRACE, in this spelling"),
            ("compression.type", "brotli", "must be none, gzip, snappy, lz4 or zstd"),
            ("compression.type", "GZIP", "must be none, gzip, snappy, lz4 or zstd, in this spelling"),
            ("compression.gzip.level", "11", "must be from 1 to 9, or -1"),
            ("compression.gzip.level", "0", "must be from 1 to 9, or -1"),
            ("compression.lz4.level", "18", "must be from 1 to 17"),
            ("compression.zstd.level", "23", "must be from -131072 to 22"),
            ("security.protocol", "FOO", "must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"),
            ("metadata.recovery.strategy", "perhaps", "must be none or rebootstrap"),
            (
                "client.dns.lookup",
                "all",
                "must be use_all_dns_ips or resolve_canonical_bootstrap_servers_only",
            ),
            ("sasl.login.refresh.window.factor", "0.4", "must be from 0.5 to 1.0"),
            ("sasl.login.refresh.window.factor", "NaN", "must be from 0.5 to 1.0"),
            ("sasl.login.refresh.min.period.seconds", "901", "must be from 0 to 900 seconds"),
            ("sasl.login.refresh.buffer.seconds", "32768", "must be from 0 to 3600 seconds"),
            ("sasl.oauthbearer.sub.claim.name", " ", "must not be empty"),
            (
                "ssl.enabled.protocols",
                "TLSv1.3,,TLSv1.2",
                "must not have an empty entry: entries are separated by single commas",
            ),
            (
                "sasl.oauthbearer.jwt.validator.class",
                "com.example.Mine",
                "must be org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator or \
                 org.apache.kafka.common.security.oauthbearer.ClientJwtValidator: other Java classes cannot be \
                 loaded here",
            ),
        ] {
            assert_eq!(check_named(name, raw), Err(want.to_owned()), "{name}={raw}");
        }
    }

    #[test]
    fn what_only_java_can_do_says_what_to_do_instead() {
        for (name, raw, instead) in [
            ("key.serializer", "org.apache.kafka.common.serialization.StringSerializer", "with_serializers"),
            (
                "value.serializer",
                "org.apache.kafka.common.serialization.StringSerializer",
                "with_serializers",
            ),
            ("value.serializer.encoding", "UTF-16", "with_serializers"),
            ("interceptor.classes", "com.example.Audit", "ProducerConfig::interceptor(..)"),
            (
                "partitioner.class",
                "org.apache.kafka.clients.producer.RoundRobinPartitioner",
                "ProducerConfig::partitioner(..)",
            ),
            ("metric.reporters", "org.apache.kafka.common.metrics.JmxReporter", "leave it out"),
            ("config.providers", "file", "before they are handed over"),
            ("security.providers", "com.example.Provider", "leave it out"),
            ("ssl.engine.factory.class", "com.example.Factory", "the other ssl.* settings"),
            ("ssl.provider", "BC", "leave it out"),
            ("sasl.login.class", "com.example.Login", "sasl.jaas.config"),
            ("sasl.client.callback.handler.class", "com.example.Handler", "sasl.jaas.config"),
            ("sasl.login.callback.handler.class", "com.example.Handler", "sasl.jaas.config"),
            ("sasl.kerberos.service.name", "kafka", "SCRAM-SHA-256"),
        ] {
            let problem = check_named(name, raw).expect_err(name);
            assert!(problem.contains(instead), "{name}: {problem}");
        }
    }

    #[test]
    fn every_default_is_a_legal_value() {
        for key in all() {
            if let Some(default) = key.default {
                assert!(parse(&key.kind, default).is_ok(), "{}={default}", key.name);
            }
        }
    }
}
