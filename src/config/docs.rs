//! `docs/configuration.md`, made from the table; a test keeps the two alike.

use std::{env, fmt::Write as _, fs, path::Path};

use super::{
    keys::{FEATURES, GROUPS, Key, Kind, Status},
    parse::range,
};

fn page() -> String {
    let mut page = HEAD.to_owned();
    for group in GROUPS {
        writeln!(page, "- [{}](#{})", group.title, group.title.to_lowercase().replace(' ', "-"))
            .expect("a String takes everything");
    }
    for group in GROUPS {
        write!(page, "\n## {}\n", group.title).expect("a String takes everything");
        for key in group.keys {
            write!(page, "\n### `{}`\n\n{}\n\n{}\n", key.name, key.doc, facts(key))
                .expect("a String takes everything");
        }
    }
    page
}

fn facts(key: &Key) -> String {
    let mut facts = format!("- {}", kind(key));
    if !matches!(key.status, Status::NotHere(_)) {
        match key.default {
            _ if key.name == "client.id" => facts.push_str("; default `producer-N`"),
            _ if key.name == "bootstrap.servers" => {}
            Some("") => facts.push_str("; default empty"),
            Some(default) => write!(facts, "; default `{default}`").expect("a String takes everything"),
            None => facts.push_str("; not set by default"),
        }
        if let Some(range) = range(&key.kind) {
            write!(facts, "; {range}").expect("a String takes everything");
        }
    }
    let since = key.since.map_or("this crate's own".to_owned(), |since| format!("Kafka {since}"));
    write!(facts, "; {since}").expect("a String takes everything");
    if let Some(setter) = key.setter() {
        write!(facts, "; `ProducerConfig::{setter}`").expect("a String takes everything");
    }
    let status = match key.status {
        Status::Used => return facts,
        Status::NoEffect(why) => format!("Accepted without effect: {why}."),
        Status::Needs(feature) => {
            let written = FEATURES.iter().any(|f| f.name == feature && f.written);
            let yet = if written { "" } else { ", which has no code in this version yet" };
            let otherwise = match feature {
                _ if key.name.starts_with("compression.") => "with other codecs",
                "oauth-http" => "where no issuer is asked for tokens",
                _ => "with `PLAINTEXT`",
            };
            format!("Needs the feature `{feature}`{yet}; checked, and without effect {otherwise}.")
        }
        Status::NotHere(instead) => format!("Refused: {instead}."),
    };
    format!("{facts}\n- {status}")
}

fn kind(key: &Key) -> String {
    match key.kind {
        Kind::Bool => "boolean".to_owned(),
        Kind::Number { width, unit: "", .. } => width.java().to_owned(),
        Kind::Number { width, unit, .. } => format!("{} ({unit})", width.java()),
        Kind::Double { .. } => "double".to_owned(),
        Kind::Text { .. } | Kind::Choice { any_case: false, .. } => "string".to_owned(),
        Kind::Choice { any_case: true, .. } => "string (capitals or not)".to_owned(),
        Kind::List => "list".to_owned(),
        Kind::Class(_) => "class".to_owned(),
        Kind::Secret => "password".to_owned(),
    }
}

/// Run the tests with `UPDATE_DOCS=1` in the environment to write the page anew.
#[test]
fn the_page_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, page()).expect("the docs folder can be written to");
    }
    let found = fs::read_to_string(&path).expect("docs/configuration.md exists").replace("\r\n", "\n");
    assert!(
        found == page(),
        "docs/configuration.md is not what the table says: run UPDATE_DOCS=1 cargo test --lib"
    );
}

#[test]
fn every_setter_named_on_the_page_exists() {
    let source = include_str!("../config.rs");
    for key in super::keys::all() {
        if let Some(setter) = key.setter() {
            assert!(source.contains(&format!("pub fn {setter}(")), "{}: no setter {setter}", key.name);
            assert!(source.contains(&format!("`{}`", key.name)), "{}: {setter} does not name it", key.name);
        }
    }
}

#[test]
fn every_setting_that_can_do_something_has_a_setter() {
    let without: Vec<&str> = super::keys::all()
        .filter(|key| matches!(key.status, Status::Used | Status::Needs(_)) && key.setter().is_none())
        .map(|key| key.name)
        .collect();
    let excused = [
        // Has one value that works.
        "client.dns.lookup",
        // Setters for each mechanism write both, so that they agree.
        "sasl.mechanism",
        "sasl.jaas.config",
        // A callback is the typed way to tokens; an issuer's address and what it wants to know belong together.
        "sasl.login.connect.timeout.ms",
        "sasl.login.read.timeout.ms",
        "sasl.login.retry.backoff.ms",
        "sasl.login.retry.backoff.max.ms",
        "sasl.oauthbearer.token.endpoint.url",
        "sasl.oauthbearer.client.credentials.client.id",
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.scope",
        "sasl.oauthbearer.header.urlencode",
    ];
    assert_eq!(without, excused);
}

const HEAD: &str = "\
# Settings

<!-- Made from the table in src/config/keys.rs. Change that, then run: UPDATE_DOCS=1 cargo test --lib config -->

Every setting of the producer: the names are those of Apache Kafka's Java producer (version 4.4, and one of our own).
Each can be given as text, by `ProducerConfig::set`, `from_properties`, `from_file` or `from_env`; most have a typed setter, too,
which is named below. Text is read as in Java: blanks around a value are dropped, `true` and `false` may be in capitals,
other words may not unless it says so, a list is separated by commas.

Whatever is wrong is reported when the producer is built, all of it at once. A name that is not listed here is an error,
except under `metrics.context.`, where Java puts labels for its metrics reporters; those are taken without effect.

From the environment a setting is read by `KAFKA_PRODUCER_` and its name in capitals with a `_` for each dot:
`KAFKA_PRODUCER_LINGER_MS` is `linger.ms`. Another prefix goes to `from_env_with_prefix`.

`ProducerConfig::preset` sets several at once; what is set later counts. No preset weakens a guarantee.

| preset | sets | price |
|---|---|---|
| `Preset::LowestLatency` | `linger.ms=0`, `compression.type=none` | more and smaller requests; a thread that blocks in `get` does not need it |
| `Preset::HighestThroughput` | `linger.ms=20`, `batch.size=131072`, `buffer.memory=134217728` | four times the memory; records of quiet partitions wait 15 ms longer |
| `Preset::StrictestDelivery` | `acks=all`, `enable.idempotence=true`, `retries=2147483647`, `delivery.timeout.ms=2147483647`, `drop.timeout.ms=60000` | `flush` and `close` take as long as the trouble lasts; meanwhile memory fills up |

Values of the type password are never shown, neither in errors nor in the log.

";
