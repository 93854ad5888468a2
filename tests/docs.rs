//! The documents: their links and pictures lead somewhere, the book has every page, `docs/errors.md` knows every error
//! there is and tells the truth about it, `docs/faults.md` names tests that exist, and `docs/tools.md` shows each example.
//! The examples in them are compiled and run as documentation tests (`src/lib.rs`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use kafka_producer::{
    ErrorCode, FlushError, SendError, SendErrorKind, TransactionError, TransactionErrorKind,
};

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    assert!(pages.len() >= 15, "README.md and all below docs/ are looked at, not only {pages:?}");
    let mut broken = Vec::new();
    for page in &pages {
        for (line, link) in links(&read(page)) {
            if let Err(why) = follow(page, &link) {
                broken.push(format!("{}:{line}: {link}: {why}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{} links lead nowhere:\n{}", broken.len(), broken.join("\n"));
}

/// `docs/SUMMARY.md` is what `mdbook` makes the book of: a page that is not in it is not in the book.
#[test]
fn the_book_has_every_page_and_every_picture() {
    let docs = root().join("docs").canonicalize().expect("there is a folder docs");
    let linked = |page: &Path| -> BTreeSet<PathBuf> {
        let folder = page.parent().expect("a page lies in a folder");
        links(&read(page)).into_iter().filter_map(|(_, link)| folder.join(link).canonicalize().ok()).collect()
    };
    let contents = docs.join("SUMMARY.md");
    let listed = linked(&contents);
    let pages: BTreeSet<PathBuf> = below(&docs, "md").into_iter().filter(|page| *page != contents).collect();
    assert_eq!(listed, pages, "docs/SUMMARY.md and the pages below docs/");
    let shown: BTreeSet<PathBuf> = pages.iter().flat_map(|page| linked(page)).collect();
    let pictures: BTreeSet<PathBuf> = below(&docs, "svg").into_iter().collect();
    assert!(pictures.len() >= 5, "only {pictures:?} found");
    let unused: Vec<_> = pictures.difference(&shown).collect();
    assert!(unused.is_empty(), "no page below docs/ shows {unused:?}");
}

#[test]
fn what_pages_show_in_rust_is_compiled() {
    let library = read(&root().join("src/lib.rs"));
    let left_out: Vec<_> = pages()
        .into_iter()
        .filter(|page| read(page).lines().any(|line| line.trim_start().starts_with("```rust")))
        .map(|page| page.strip_prefix(root()).expect("pages lie below the root").display().to_string())
        .filter(|page| !library.contains(&format!("include_str!(\"../{}\")", page.replace('\\', "/"))))
        .collect();
    assert!(left_out.is_empty(), "`mod pages` in src/lib.rs does not include {left_out:?}");
}

#[test]
fn every_kind_of_error_has_its_row() {
    let errors = read(&root().join("docs/errors.md"));
    let source = read(&root().join("src/error.rs"));
    for (kinds, heading) in [
        ("SendErrorKind", "`send` was refused"),
        ("DeliveryCause", "A delivery failed"),
        ("FlushError", "`flush` or `close` could not"),
    ] {
        let wanted = variants(&source, kinds);
        assert!(wanted.len() >= 5, "{kinds}: only {wanted:?} found");
        let found: BTreeSet<String> = rows(&errors, heading).map(|row| unquoted(&row[0])).collect();
        assert_eq!(found, wanted, "{kinds} and the table below {heading:?}");
    }
    let wanted = variants(&read(&root().join("src/error/transaction.rs")), "TransactionErrorKind");
    let page = read(&root().join("docs/transactions.md"));
    let found: BTreeSet<String> = rows(&page, TRANSACTION_TABLE).map(|row| unquoted(&row[0])).collect();
    assert_eq!(found, wanted, "TransactionErrorKind and the table below {TRANSACTION_TABLE:?}");
}

#[test]
fn every_code_that_the_producer_judges_has_its_row() {
    let errors = read(&root().join("docs/errors.md"));
    let table: BTreeMap<i16, Vec<String>> =
        rows(&errors, "A broker's answer").filter_map(|row| Some((row[0].parse().ok()?, row))).collect();
    for (&code, row) in &table {
        assert_eq!(ErrorCode(code).name(), Some(&*row[1]), "the name of code {code}");
        assert_eq!(row[2], yes_or_no(ErrorCode(code).is_retriable()), "whether code {code} is retriable");
    }
    let verdict = read(&root().join("src/engine/verdict.rs"));
    let judged = judged_codes(&verdict);
    assert!(judged.len() > 20, "only {judged:?} found");
    for code in judged.into_iter().filter(|&code| code != 0) {
        match ErrorCode(code).name() {
            Some(name) => assert!(table.contains_key(&code), "{name} ({code}) has no row in docs/errors.md"),
            None => {
                assert!(errors.contains(&format!("({code})")), "the unknown code {code} is not spoken of")
            }
        }
    }
    // What the rest of the producer does about a code is no less worth a word.
    let elsewhere =
        ["src/handoff/append.rs", "src/handoff/lane.rs", "src/engine/mod.rs", "src/engine/produce.rs"];
    for name in elsewhere.iter().flat_map(|file| named_codes(&read(&root().join(file)))) {
        let spoken_of = errors.contains(&name) || ["NONE", "REBOOTSTRAP_REQUIRED"].contains(&&*name);
        assert!(spoken_of, "{name} is not in docs/errors.md");
    }
}

#[test]
fn the_predicates_are_as_the_tables_say() {
    let errors = read(&root().join("docs/errors.md"));
    let table = |heading| -> BTreeMap<String, (String, String)> {
        rows(&errors, heading).map(|row| (unquoted(&row[0]), (row[1].clone(), row[2].clone()))).collect()
    };
    let said = table("`send` was refused");
    let samples = send_errors();
    assert_eq!(samples.len(), said.len(), "a sample of each kind");
    for (name, kind) in samples {
        let error = SendError::from(kind);
        let found = (yes_or_no(error.is_retriable()), yes_or_no(error.is_fatal()));
        assert_eq!(said[name], found, "{name}");
        assert!(!error.may_have_been_written(), "{name}");
    }
    let said = table("`flush` or `close` could not");
    let samples = flush_errors();
    assert_eq!(samples.len(), said.len(), "a sample of each kind");
    for (name, error) in samples {
        let found = (yes_or_no(error.is_retriable()), yes_or_no(error.is_fatal()));
        assert_eq!(said[name], found, "{name}");
        assert!(error.may_have_been_written(), "{name}");
    }
}

#[test]
fn every_example_has_its_session() {
    let page = read(&root().join("docs/tools.md"));
    let entries = fs::read_dir(root().join("examples")).expect("there are examples");
    let names = entries.map(|entry| entry.expect("it can be read").path().with_extension(""));
    let names: BTreeSet<String> = names
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .filter(|name| name != "shared")
        .collect();
    assert!(names.len() >= 10, "only {names:?} found");
    let sections: BTreeSet<String> =
        page.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_owned).collect();
    assert_eq!(sections, names, "the sections of docs/tools.md and the folder examples");
    let unshown = sections.iter().filter(|name| !page.contains(&format!("--example {name}")));
    assert_eq!(unshown.collect::<Vec<_>>(), [""; 0]);
}

/// A row without a test says why: nobody is to believe that it is held when it is not.
#[test]
fn every_fault_has_its_test_or_a_reason() {
    let page = read(&root().join("docs/faults.md"));
    let rows: Vec<Vec<String>> = page
        .lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("| |") && !line.starts_with("|--"))
        .map(cells)
        .collect();
    assert!(rows.len() > 150, "only {} rows found", rows.len());
    let troubles = read(&root().join("src/engine/sim/troubles.rs"));
    let kinds_of_nights = read(&root().join("src/engine/sim/night.rs"));
    let mut wrong = Vec::new();
    for row in &rows {
        let [case, _, _, held] = &row[..] else { panic!("four cells are wanted: {row:?}") };
        let reason = ["does not apply: ", "not held: "].iter().find_map(|why| held.strip_prefix(why));
        let tests: Vec<&str> =
            held.split('`').skip(1).step_by(2).filter(|name| name.contains("::")).collect();
        if reason.is_none_or(str::is_empty) && tests.is_empty() {
            wrong.push(format!("{case}: neither a test nor a reason"));
        }
        wrong.extend(tests.iter().filter_map(|test| Some(format!("{case}: {}", missing(test)?))));
        for name in held.split('"').skip(1).step_by(2).filter(|_| held.contains("::nights`")) {
            let quoted = format!("{name:?}");
            if !troubles.contains(&quoted) && !kinds_of_nights.contains(&quoted) {
                wrong.push(format!("{case}: no night has {quoted}"));
            }
        }
    }
    assert!(wrong.is_empty(), "docs/faults.md:\n{}", wrong.join("\n"));
}

/// What is wrong with the name of a test, `file::function` as the page writes it.
fn missing(test: &str) -> Option<String> {
    let (file, name) = test.split_once("::")?;
    let Ok(source) = fs::read_to_string(root().join(file)) else { return Some(format!("no file {file}")) };
    let Some((before, _)) = source.split_once(&format!("fn {name}(")) else {
        return Some(format!("no test {name} in {file}"));
    };
    // Those against real Kafka have a list of their own instead of an attribute.
    let is_listed = file.starts_with("tests/kafka/");
    let attributes = before.rsplit("\n\n").next().unwrap_or_default();
    (!is_listed && !attributes.contains("#[test]")).then(|| format!("{name} in {file} is no test"))
}

#[test]
fn the_predicates_of_transactions_are_as_the_table_says() {
    let page = read(&root().join("docs/transactions.md"));
    let said: BTreeMap<String, Vec<String>> =
        rows(&page, TRANSACTION_TABLE).map(|row| (unquoted(&row[0]), row)).collect();
    let samples = transaction_errors();
    assert_eq!(samples.len(), said.len(), "a sample of each kind");
    for (name, kind) in samples {
        let error = TransactionError::from(kind);
        let found = [error.is_abortable(), error.is_retriable(), error.is_fatal()].map(yes_or_no);
        assert_eq!(said[name][1..4], found, "{name}");
    }
}

fn transaction_errors() -> Vec<(&'static str, TransactionErrorKind)> {
    use TransactionErrorKind as Kind;
    let (call, cause, code) = ("commit_transaction", String::new, ErrorCode::PRODUCER_FENCED);
    vec![
        ("Abortable", Kind::Abortable { code: None, cause: cause() }),
        ("TimedOut", Kind::TimedOut { call, limit: Duration::ZERO, cause: None }),
        ("Unfinished", Kind::Unfinished { call, earlier: call }),
        ("OutOfPlace", Kind::OutOfPlace { call, reason: "" }),
        ("NotTransactional", Kind::NotTransactional { call }),
        ("Refused", Kind::Refused { code, cause: cause() }),
        ("InsideCallback", Kind::InsideCallback { call }),
        ("Fenced", Kind::Fenced { code, cause: cause() }),
        ("Fatal", Kind::Fatal { code: None, cause: cause(), committing: false }),
        ("Closed", Kind::Closed),
        ("Failed", Kind::Failed { cause: cause() }),
        ("Forked", Kind::Forked { parent: 1 }),
    ]
}

fn send_errors() -> Vec<(&'static str, SendErrorKind)> {
    let topic = || "t".to_owned();
    let waited = Duration::ZERO;
    let source = || "because".into();
    vec![
        ("InvalidTopic", SendErrorKind::InvalidTopic { topic: topic(), reason: "" }),
        ("MetadataTimeout", SendErrorKind::MetadataTimeout { topic: topic(), waited, cause: String::new() }),
        (
            "UnknownPartition",
            SendErrorKind::UnknownPartition { topic: topic(), partition: 1, count: 1, waited },
        ),
        (
            "InvalidPartition",
            SendErrorKind::InvalidPartition { topic: topic(), partition: -1, reason: String::new() },
        ),
        ("InvalidTimestamp", SendErrorKind::InvalidTimestamp { timestamp: -1 }),
        (
            "RecordTooLarge",
            SendErrorKind::RecordTooLarge { topic: topic(), size: 2, limit: 1, setting: "buffer.memory" },
        ),
        ("Serialization", SendErrorKind::Serialization { topic: topic(), part: "key", source: source() }),
        ("Partitioner", SendErrorKind::Partitioner { topic: topic(), source: source() }),
        ("BufferFull", SendErrorKind::BufferFull { needed: 1, limit: 1, waited }),
        ("WouldBlock", SendErrorKind::WouldBlock { topic: topic(), what: "" }),
        ("Refused", SendErrorKind::Refused { topic: topic(), code: ErrorCode::TOPIC_AUTHORIZATION_FAILED }),
        (
            "Transaction",
            SendErrorKind::Transaction(TransactionErrorKind::OutOfPlace { call: "send", reason: "" }.into()),
        ),
        ("Rejected", SendErrorKind::Rejected { topic: topic(), reason: String::new() }),
        ("Closed", SendErrorKind::Closed),
        ("Failed", SendErrorKind::Failed { cause: String::new() }),
        ("Forked", SendErrorKind::Forked { parent: 1 }),
    ]
}

fn flush_errors() -> Vec<(&'static str, FlushError)> {
    vec![
        ("TimedOut", FlushError::TimedOut { what: "flush", limit: Duration::ZERO }),
        ("InsideCallback", FlushError::InsideCallback { what: "flush" }),
        ("Closed", FlushError::Closed),
        ("Failed", FlushError::Failed { cause: String::new() }),
        ("Forked", FlushError::Forked { parent: 1 }),
    ]
}

/// The heading of the table of errors on the page about transactions.
const TRANSACTION_TABLE: &str = "What to do on an error";

// The documents.

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
        .replace("\r\n", "\n")
}

fn pages() -> Vec<PathBuf> {
    let mut pages = below(&root().join("docs"), "md");
    pages.extend(["README.md", "CHANGELOG.md"].map(|page| root().join(page)));
    pages
}

/// The files of a kind in a folder and in those below it.
fn below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("cannot read {}: {e}", folder.display()));
    let mut entries: Vec<_> = entries.map(|entry| entry.expect("an entry can be read").path()).collect();
    entries.sort();
    let of_a_kind = |path: &PathBuf| path.extension().is_some_and(|found| found == extension);
    let (folders, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|path| path.is_dir());
    let deeper = folders.iter().flat_map(|folder| below(folder, extension));
    files.into_iter().filter(of_a_kind).chain(deeper).collect()
}

/// The lines of a page with their numbers, without its blocks of code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// The targets of `[text](target)`, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let targets = |line: &str| -> Vec<String> {
        let ends = line.split("](").skip(1);
        ends.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
    };
    prose(text).flat_map(|(number, line)| targets(line).into_iter().map(move |link| (number, link))).collect()
}

/// Whether a link from `page` leads to a file that exists, and to a heading in it if it names one.
fn follow(page: &Path, link: &str) -> Result<(), &'static str> {
    if link.contains("://") {
        return Ok(());
    }
    let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
    let target = match file {
        "" => page.to_owned(),
        file => page.parent().expect("a page lies in a folder").join(file),
    };
    if !target.exists() {
        return Err("no such file");
    }
    match heading {
        Some(heading) if !anchors(&read(&target)).contains(heading) => Err("no such heading"),
        _ => Ok(()),
    }
}

/// What headings can be linked to by: small letters, digits and hyphens for blanks.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
    let anchor = |line: &str| {
        let kept = line.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .collect::<String>()
            .replace(' ', "-")
    };
    headings.map(|(_, line)| anchor(line)).collect()
}

/// The cells of the rows of the first table below a heading, without the table's own head.
fn rows<'a>(text: &'a str, heading: &'a str) -> impl Iterator<Item = Vec<String>> + 'a {
    let is_row = |line: &&str| line.starts_with('|');
    let mut below = text.lines().skip_while(move |line| line.trim_start_matches('#').trim() != heading);
    assert!(below.next().is_some(), "docs/errors.md has no heading {heading:?}");
    let table = below.skip_while(move |line| !is_row(line)).take_while(is_row).skip(2);
    table.map(cells)
}

fn cells(row: &str) -> Vec<String> {
    row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

fn unquoted(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

// The source.

/// The names of an enum's variants.
fn variants(source: &str, name: &str) -> BTreeSet<String> {
    let (_, body) = source.split_once(&format!("pub enum {name} {{\n")).expect("the enum is there");
    let (body, _) = body.split_once("\n}").expect("the enum ends");
    // Variants stand four blanks deep, their fields eight.
    let names = body.lines().filter_map(|line| line.strip_prefix("    "));
    let names = names.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    names.map(|line| line.chars().take_while(char::is_ascii_alphanumeric).collect()).collect()
}

/// The codes in the table of verdicts, which is that of its test: `(code, idempotent, attempt, verdict)`.
fn judged_codes(source: &str) -> BTreeSet<i16> {
    let tested = source.split_once("fn verdict_by_code").expect("the verdicts have their table").1;
    let rows = tested.lines().filter_map(|line| line.trim().strip_prefix('('));
    rows.filter_map(|row| row.split_once(',')?.0.parse().ok()).collect()
}

/// The constants of `ErrorCode` that a file names.
fn named_codes(source: &str) -> BTreeSet<String> {
    let names = source.split("ErrorCode::").skip(1);
    let names = names.map(|rest| rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect());
    names.filter(|name: &String| name.len() > 1).collect()
}
