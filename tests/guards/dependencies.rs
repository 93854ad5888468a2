//! What everybody who uses this crate compiles and trusts: few crates, and known ones.

use std::{collections::BTreeSet, process::Command};

#[test]
fn the_default_features_need_few_crates() {
    let crates = crates("normal", &[]);
    println!("{} crates: {crates:?}", crates.len());
    assert!(crates.len() <= MOST, "{} crates, more than {MOST}: {crates:?}", crates.len());
    for name in ["byteorder", "crc32c", "crossbeam-channel", "log", "thiserror"] {
        assert!(crates.contains(name), "{name} is not among {crates:?}");
    }
    // What this crate promises to do without.
    for name in
        ["tokio", "async-std", "smol", "futures", "rdkafka", "rdkafka-sys", "openssl-sys", "kafka-protocol"]
    {
        assert!(!crates.contains(name), "{name} is among {crates:?}");
    }
}

#[test]
fn all_features_together_need_a_reasonable_number_and_no_compiler_but_rusts() {
    let full = ["--features", "full"];
    let count = crates("normal", &full).len();
    let crates = crates("normal,build", &full);
    println!("{count} crates, and with what builds them: {crates:?}");
    assert!(count <= MOST_IN_FULL, "{count} crates, more than {MOST_IN_FULL}: {crates:?}");
    for name in ["cc", "cmake", "bindgen", "pkg-config", "ring", "aws-lc-sys", "openssl-sys", "zstd-sys"] {
        assert!(!crates.contains(name), "{name} is among {crates:?}");
    }
}

/// The names of all crates in a build with these features, on the platform of this test, except our own.
fn crates(edges: &str, features: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--locked", "--edges", edges, "--prefix", "none", "--format", "{p}"])
        .args(features)
        .output()
        .expect("cargo runs this test, so there is one");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names of crates are ASCII");
    let names = text.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty());
    names.filter(|name| *name != env!("CARGO_PKG_NAME")).map(str::to_owned).collect()
}

/// Seven that we name, and what they need; half of them build `thiserror`'s macro and are in no program.
const MOST: usize = 15;

/// A third of them are for TLS, which is worth its weight.
const MOST_IN_FULL: usize = 40;
