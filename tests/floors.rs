//! The floors of `src/`: imports go down, siblings of the engine do not know each other, and nothing goes in circles.
//!
//! Reads the source as text: paths that begin with `crate`, `super`, `self` or a name that these brought in, in `use` and
//! in the middle of code. A re-export is followed to the file that defines what it names, so that nothing climbs under
//! another's name. What is compiled for tests alone is not looked at, nor are `testing/` and `fuzzing/`, which stand beside the house.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt, fs,
    path::Path,
};

#[test]
fn imports_go_down_and_never_in_circles() {
    let mut sources = Sources::new();
    read_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "src", &mut sources);
    let house = House::new(&sources);
    assert!(house.imports.len() > sources.len(), "{} files, and hardly an import found", sources.len());
    let wrong = house.violations();
    assert!(wrong.is_empty(), "{} imports break the rules of the floors:\n{}", wrong.len(), wrong.join("\n"));
}

/// Paths from the crate's root, with `/`, and what is in the files.
type Sources = BTreeMap<String, String>;

/// A path of module names; the crate's root is the empty one.
type Module = Vec<String>;

/// From the lowest. A file may import its own floor and those below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Floor {
    Errors,
    Encoding,
    VocabularyAndHandoff,
    Wire,
    Engine,
    Net,
    Producer,
    Testing,
}

impl Floor {
    /// `None` for the crate's root, which names everything, and for a file that nobody has given a floor.
    fn of(path: &str) -> Option<Self> {
        let inside = path.strip_prefix("src/")?;
        let room = inside.split('/').next()?.trim_end_matches(".rs");
        Some(match (room, inside) {
            ("error", _) => Self::Errors,
            ("base64" | "kdf", _) => Self::Encoding,
            (_, "wire/primitives.rs" | "wire/record.rs") => Self::Encoding,
            (
                "record" | "config" | "serializer" | "partitioner" | "interceptor" | "delivery" | "metrics"
                | "offsets" | "event" | "telemetry",
                _,
            ) => Self::VocabularyAndHandoff,
            ("handoff" | "sasl", _) => Self::VocabularyAndHandoff,
            ("wire", _) => Self::Wire,
            ("engine", _) => Self::Engine,
            ("net", _) => Self::Net,
            ("producer" | "transaction", _) => Self::Producer,
            ("testing" | "fuzzing", _) => Self::Testing,
            _ => return None,
        })
    }
}

/// One import, where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Import {
    from: String,
    to: String,
    line: usize,
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: imports {}", self.from, self.line, self.to)
    }
}

/// Everything that is known of the files.
struct House {
    files: BTreeSet<String>,
    imports: BTreeSet<Import>,
}

impl House {
    fn new(sources: &Sources) -> Self {
        let files: Vec<SourceFile> =
            sources.iter().map(|(path, text)| SourceFile::read(path, text)).collect();
        let for_tests: BTreeSet<&Module> = files.iter().flat_map(|file| &file.test_modules).collect();
        let is_for_tests =
            |module: &Module| (0..=module.len()).any(|n| for_tests.contains(&module[..n].to_vec()));
        let files: Vec<_> = files.iter().filter(|file| !is_for_tests(&file.module)).collect();

        let mut names = Names::default();
        for file in &files {
            for module in file.modules.iter().chain([&file.module]) {
                names.file_of.insert(module.clone(), file.path.clone());
            }
            for (module, name, path) in &file.bindings {
                names.bindings.entry(module.clone()).or_default().push((name.clone(), path.clone()));
            }
        }
        // Where a file first names another: one line is enough to find the rest.
        let mut imports: BTreeMap<(String, String), usize> = BTreeMap::new();
        for file in files.iter().filter(|file| Floor::of(&file.path) != Some(Floor::Testing)) {
            for (module, path, line) in &file.paths {
                for to in names.resolve(module, path).into_iter().filter(|to| *to != file.path) {
                    let first = imports.entry((file.path.clone(), to)).or_insert(*line);
                    *first = *line.min(first);
                }
            }
        }
        let imports = imports.into_iter().map(|((from, to), line)| Import { from, to, line }).collect();
        Self { files: files.iter().map(|file| file.path.clone()).collect(), imports }
    }

    fn violations(&self) -> Vec<String> {
        let mut wrong: Vec<String> = self
            .files
            .iter()
            .filter(|path| *path != ROOT && Floor::of(path).is_none())
            .map(|path| format!("{path}:1: has no floor; give it one in `Floor::of`"))
            .collect();
        wrong.extend(self.imports.iter().filter_map(climbs));
        wrong.extend(self.imports.iter().filter_map(leans_on_a_sibling));
        wrong.extend(self.circles());
        wrong
    }

    /// For each set of files that can all reach each other, the shortest way round.
    fn circles(&self) -> Vec<String> {
        let mut graph: BTreeMap<&str, BTreeMap<&str, &Import>> = BTreeMap::new();
        for import in self.imports.iter().filter(|import| import.from != ROOT) {
            graph.entry(&import.from).or_default().entry(&import.to).or_insert(import);
        }
        let mut told: BTreeSet<&str> = BTreeSet::new();
        let mut circles = Vec::new();
        // The shortest circles first: they explain the longer ones that they are part of.
        let mut ways: Vec<_> = graph.keys().filter_map(|file| way_round(&graph, file)).collect();
        ways.sort_by_key(Vec::len);
        for way in ways {
            if way.iter().any(|import| told.contains(&*import.from)) {
                continue;
            }
            told.extend(way.iter().map(|import| &*import.from));
            let steps: Vec<_> = way.iter().map(ToString::to_string).collect();
            circles.push(format!("a circle: {}", steps.join(", ")));
        }
        circles
    }
}

/// The imports by which a file comes back to itself, as few as can be.
fn way_round<'a>(
    graph: &BTreeMap<&'a str, BTreeMap<&'a str, &'a Import>>,
    start: &'a str,
) -> Option<Vec<&'a Import>> {
    let mut reached_by: BTreeMap<&str, &Import> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for (&next, &import) in graph.get(file).into_iter().flatten() {
            if reached_by.contains_key(next) {
                continue;
            }
            reached_by.insert(next, import);
            queue.push_back(next);
        }
        let Some(mut import) = reached_by.get(start).copied() else { continue };
        let mut way = vec![import];
        while import.from != start {
            import = reached_by[&*import.from];
            way.push(import);
        }
        way.reverse();
        return Some(way);
    }
    None
}

fn climbs(import: &Import) -> Option<String> {
    let (from, to) = (Floor::of(&import.from)?, Floor::of(&import.to)?);
    (to > from).then(|| format!("{import}: an import that climbs, from the floor {from:?} to {to:?}"))
}

fn leans_on_a_sibling(import: &Import) -> Option<String> {
    let room = |path: &str| {
        let inside = path.strip_prefix("src/engine/")?.split('/').next()?.trim_end_matches(".rs");
        Some(inside.to_string())
    };
    let (from, to) = (room(&import.from)?, room(&import.to)?);
    let composes = ["mod", "produce", "transact", "login", "push"].contains(&&*from);
    (!composes && to != "mod" && from != to).then(|| {
        format!(
            "{import}: siblings in engine/ do not import siblings; mod.rs, produce.rs, transact.rs, login.rs and push.rs compose them"
        )
    })
}

/// Which module is in which file, and what else a module can be asked for by name.
#[derive(Default)]
struct Names {
    file_of: BTreeMap<Module, String>,
    bindings: BTreeMap<Module, Vec<(String, Vec<String>)>>,
}

impl Names {
    /// The files that define what `path`, written in `module`, names; none for other crates.
    fn resolve(&self, module: &Module, path: &[String]) -> BTreeSet<String> {
        let mut files = BTreeSet::new();
        self.resolve_into(module, path, &mut files, 0);
        files
    }

    fn resolve_into(&self, module: &Module, path: &[String], files: &mut BTreeSet<String>, depth: usize) {
        // Re-exports that name each other do not compile; names of other crates may look as if they did.
        if depth > 16 {
            return;
        }
        let mut at = module.clone();
        let mut rest = path;
        let mut rooted = false;
        while let Some((first, others)) = rest.split_first() {
            match &**first {
                "crate" => at.clear(),
                "self" => {}
                "super" => drop(at.pop()),
                _ => break,
            }
            rooted = true;
            rest = others;
        }
        while let Some((first, others)) = rest.split_first() {
            at.push(first.clone());
            if self.file_of.contains_key(&at) {
                rooted = true;
                rest = others;
                continue;
            }
            at.pop();
            let bound: Vec<_> =
                self.bindings.get(&at).into_iter().flatten().filter(|(name, _)| name == first).collect();
            for (_, target) in &bound {
                // `use bytes::Bytes` binds a name to itself as far as this crate is concerned.
                if !(target.first() == Some(first) && at == *module) {
                    let whole: Vec<String> = target.iter().chain(others).cloned().collect();
                    self.resolve_into(&at, &whole, files, depth + 1);
                }
            }
            if !bound.is_empty() {
                return;
            }
            break;
        }
        if rooted {
            files.extend(self.file_of.get(&at).cloned());
        }
    }
}

/// A file as far as names go.
struct SourceFile {
    path: String,
    module: Module,
    /// Modules written inside the file.
    modules: Vec<Module>,
    /// Modules that are compiled for tests alone.
    test_modules: Vec<Module>,
    /// What `use` makes of a name in a module.
    bindings: Vec<(Module, String, Vec<String>)>,
    /// Every path, the module it stands in, and its line.
    paths: Vec<(Module, Vec<String>, usize)>,
}

impl SourceFile {
    fn read(path: &str, text: &str) -> Self {
        let mut file = Self {
            path: path.into(),
            module: module_of(path),
            modules: Vec::new(),
            test_modules: Vec::new(),
            bindings: Vec::new(),
            paths: Vec::new(),
        };
        let tokens = tokens(text);
        // The modules whose braces are open, and how many braces were open before theirs.
        let mut open: Vec<(Module, i32)> = vec![(file.module.clone(), 0)];
        let mut braces = 0_i32;
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let module = open.last().expect("the file's own module is never closed").0.clone();
            let here = at;
            let word = |n: usize| tokens.get(here + n).map_or("", |t| t.text);
            match token.text {
                "#" => {
                    let (end, for_tests) = attribute(&tokens, at);
                    let inner = word(1) == "!";
                    at = end;
                    if for_tests && inner {
                        file.test_modules.push(module);
                        break;
                    } else if for_tests {
                        at = file.skip_item(&tokens, at, &module);
                    }
                    continue;
                }
                "mod" if word(2) == "{" => {
                    let inner: Module = module.iter().cloned().chain([word(1).to_string()]).collect();
                    file.modules.push(inner.clone());
                    open.push((inner, braces));
                    braces += 1;
                    at += 2;
                }
                "{" => braces += 1,
                "}" => {
                    braces -= 1;
                    if open.len() > 1 && open.last().is_some_and(|(_, before)| *before == braces) {
                        open.pop();
                    }
                }
                // `use<'a>` says what a returned type borrows.
                "use" if word(1) != "<" => {
                    at = file.read_use(&tokens, at + 1, &module);
                    continue;
                }
                // `pub(in crate::engine)` names no dependency.
                "in" if at >= 2 && tokens[at - 2].text == "pub" => {
                    while tokens.get(at).is_some_and(|t| t.text != ")") {
                        at += 1;
                    }
                    continue;
                }
                _ if word(1) == "::" && is_name(token.text) && (at == 0 || tokens[at - 1].text != "::") => {
                    let mut path = vec![token.text.to_string()];
                    while tokens.get(at + 1).is_some_and(|t| t.text == "::")
                        && tokens.get(at + 2).is_some_and(|t| is_name(t.text))
                    {
                        path.push(tokens[at + 2].text.into());
                        at += 2;
                    }
                    file.paths.push((module, path, token.line));
                }
                _ => {}
            }
            at += 1;
        }
        file
    }

    /// Reads the tree after `use`; returns where it ends.
    fn read_use(&mut self, tokens: &[Token<'_>], mut at: usize, module: &Module) -> usize {
        // The paths before the braces that are open, and the path being read.
        let mut outer: Vec<Vec<String>> = Vec::new();
        let mut path: Vec<String> = Vec::new();
        let mut alias = None;
        let mut line = 0;
        while let Some(token) = tokens.get(at) {
            match token.text {
                "{" => outer.push(path.clone()),
                "as" => {
                    alias = tokens.get(at + 1).map(|t| t.text.to_string());
                    at += 1;
                }
                "," | "}" | ";" => {
                    let complete = outer.last().map_or(0, Vec::len) < path.len();
                    if complete {
                        self.add_use(module, &path, alias.take(), line);
                    }
                    match token.text {
                        "," => path = outer.last().cloned().unwrap_or_default(),
                        // What stands before the braces is complete with them.
                        "}" => {
                            outer.pop();
                            path = outer.last().cloned().unwrap_or_default();
                        }
                        _ => return at + 1,
                    }
                }
                "*" => {
                    path.push("*".into());
                    line = token.line;
                }
                text if is_name(text) => {
                    path.push(text.into());
                    line = token.line;
                }
                _ => {}
            }
            at += 1;
        }
        at
    }

    fn add_use(&mut self, module: &Module, path: &[String], alias: Option<String>, line: usize) {
        let (last, before) = path.split_last().expect("a complete path has a name");
        let path = if matches!(&**last, "*" | "self") && !before.is_empty() { before } else { path };
        if last != "*" {
            let name = alias.or_else(|| path.last().cloned()).expect("a path has a name");
            self.bindings.push((module.clone(), name, path.to_vec()));
        }
        self.paths.push((module.clone(), path.to_vec(), line));
    }

    /// Passes over an item that is compiled for tests alone; returns where it ends.
    fn skip_item(&mut self, tokens: &[Token<'_>], mut at: usize, module: &Module) -> usize {
        while tokens.get(at).is_some_and(|t| t.text == "#") {
            at = attribute(tokens, at).0;
        }
        // A field, a variant or an argument ends with a comma, an item may hold some.
        let is_item = tokens.get(at).is_some_and(|t| ITEMS.contains(&t.text));
        let mut depth = 0;
        while let Some(token) = tokens.get(at) {
            match token.text {
                "mod" if depth == 0 => {
                    let name = tokens.get(at + 1).map_or("", |t| t.text);
                    self.test_modules.push(module.iter().cloned().chain([name.to_string()]).collect());
                }
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" if depth == 0 => return at,
                ")" | "]" => depth -= 1,
                "}" => {
                    depth -= 1;
                    if depth == 0 {
                        return at + 1;
                    }
                }
                ";" if depth == 0 => return at + 1,
                "," if depth == 0 && !is_item => return at + 1,
                _ => {}
            }
            at += 1;
        }
        at
    }
}

/// Reads the attribute that begins at `at`; returns where it ends and whether it says "for tests alone".
fn attribute(tokens: &[Token<'_>], at: usize) -> (usize, bool) {
    let mut end = at + 1;
    if !tokens.get(end).is_some_and(|t| matches!(t.text, "[" | "!")) {
        return (end, false);
    }
    let mut depth = 0;
    let mut words = Vec::new();
    while let Some(token) = tokens.get(end) {
        match token.text {
            "[" => depth += 1,
            "]" => depth -= 1,
            _ => {}
        }
        words.push(token.text);
        end += 1;
        if depth == 0 && token.text == "]" {
            break;
        }
    }
    let words: Vec<_> = words.into_iter().skip_while(|word| *word != "[").skip(1).collect();
    let for_tests = match &words[..] {
        ["cfg", "(", "test", ")", ..] => true,
        // `all(test, ...)` in any order, as long as nothing inside turns it round.
        ["cfg", "(", "all", "(", inner @ ..] => {
            inner.contains(&"test") && !inner.iter().any(|w| ["not", "any"].contains(w))
        }
        _ => false,
    };
    (end, for_tests)
}

fn module_of(path: &str) -> Module {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    if inside == "lib" { Module::new() } else { inside.split('/').map(Into::into).collect() }
}

/// A name, `::`, or one other character.
struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// What the compiler would read, without comments, strings and characters.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => 1 + quoted(&rest[1..]),
            'r' | 'b' | 'c' if literal(rest).is_some() => literal(rest).expect("it was just found"),
            '\'' => character_or_lifetime(rest),
            'r' if rest.strip_prefix("r#").is_some_and(is_name) => 2,
            _ if is_name_part(first) => rest.find(|c| !is_name_part(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        let is_comment = token.starts_with("//") || token.starts_with("/*");
        // With them goes the mark of a raw name, which the name follows.
        let is_literal = token.ends_with(['"', '#']) && token.len() > 1 || first == '\'';
        if !first.is_whitespace() && !is_comment && !is_literal {
            tokens.push(Token { text: token, line });
        }
        line += token.matches('\n').count();
        rest = after;
    }
    tokens
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        match text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length up to and with the closing quote.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// The length of a string with a prefix, raw or not; `None` if this is a name.
fn literal(text: &str) -> Option<usize> {
    let prefix = text.find(|c| !matches!(c, 'r' | 'b' | 'c'))?;
    let raw = text[..prefix].contains('r');
    let hashes = text[prefix..].chars().take_while(|&c| raw && c == '#').count();
    let start = prefix + hashes;
    if !text[start..].starts_with('"') {
        return None;
    }
    let body = start + 1;
    if !raw {
        return Some(body + quoted(&text[body..]));
    }
    let close = format!("\"{}", "#".repeat(hashes));
    Some(text[body..].find(&close).map_or(text.len(), |at| body + at + close.len()))
}

fn character_or_lifetime(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, c))) => {
            let after = escaped + c.len_utf8();
            after + text[after..].find('\'').map_or(0, |at| at + 1)
        }
        (Some(_), Some((close, '\''))) => close + 1,
        _ => 1 + text[1..].find(|c| !is_name_part(c)).unwrap_or(text.len() - 1),
    }
}

fn is_name_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn read_folder(folder: &Path, name: &str, sources: &mut Sources) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        let name =
            format!("{name}/{}", path.file_name().unwrap().to_str().expect("names of source files are text"));
        if path.is_dir() {
            read_folder(&path, &name, sources);
        } else if name.ends_with(".rs") {
            sources.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

const ROOT: &str = "src/lib.rs";
const ITEMS: [&str; 16] = [
    "async",
    "const",
    "enum",
    "extern",
    "fn",
    "impl",
    "let",
    "macro_rules",
    "mod",
    "pub",
    "static",
    "struct",
    "trait",
    "type",
    "unsafe",
    "use",
];

/// What is wrong with a house of these files.
fn synthetic(files: &[(&str, &str)]) -> Vec<String> {
    let sources = files.iter().map(|(path, text)| (format!("src/{path}"), text.to_string())).collect();
    House::new(&sources).violations()
}

#[test]
fn an_import_that_climbs_is_named() {
    let house = |wire: &str| {
        synthetic(&[
            ("lib.rs", "mod engine; mod error; mod wire; mod producer; pub use crate::producer::Producer;"),
            ("error.rs", "pub struct Error;"),
            ("producer.rs", "use crate::{engine, error::Error};"),
            ("engine/mod.rs", "mod ids; pub(crate) use self::ids::{Id, Other as Renamed};"),
            ("engine/ids.rs", "pub struct Id;"),
            ("wire/mod.rs", "mod frame; mod primitives;"),
            ("wire/frame.rs", wire),
            ("wire/primitives.rs", "use crate::error::Error;"),
        ])
    };
    assert_eq!(house("use crate::error::Error;\nuse std::io;"), [""; 0]);
    for (line, text, to) in [
        (1, "use crate::engine::ids::Id;", "engine/ids.rs"),
        (2, "\nuse crate::{error::{Error}, engine::{self}};", "engine/mod.rs"),
        (3, "\n\nuse crate::{error::Error,engine::{ids::{Id}}};", "engine/ids.rs"),
        // Under the names that the engine and the crate's root give to what others define.
        (1, "use crate::engine::Id as Number;", "engine/ids.rs"),
        (1, "use crate::engine::Renamed;", "engine/ids.rs"),
        (1, "use crate::Producer;", "producer.rs"),
        (1, "use super::super::engine::ids;", "engine/ids.rs"),
        // In the middle of code.
        (
            4,
            "fn f() {\n  let x = 'a';\n let s = \"//\";\n crate::engine::ids::Id::new::<crate::error::Error>() }",
            "engine/ids.rs",
        ),
        (1, "mod inner { fn f(_: super::super::super::engine::ids::Id) {} }", "engine/ids.rs"),
        (2, "mod inner { }\nfn f(_: super::super::engine::ids::Id) {}", "engine/ids.rs"),
        (1, "#[cfg(not(test))] use crate::producer::Producer;", "producer.rs"),
        (1, "#[cfg(test)] mod tests { use crate::engine; } use crate::producer::Producer;", "producer.rs"),
    ] {
        let wrong = house(text);
        let start = format!("src/wire/frame.rs:{line}: imports src/{to}: an import that climbs");
        assert!(wrong.len() == 1 && wrong[0].starts_with(&start), "{text:?}: {wrong:?}");
    }
    for text in [
        "// crate::engine::Id\n/* use crate::engine; /* nested */ use crate::engine; */",
        "/// Like [`Producer`](crate::producer::Producer).\nfn f() {}",
        r##"const S: &str = "crate::engine::Id \" crate::engine::Id"; const R: &str = r#"" use crate::engine; "#;"##,
        "#[cfg(test)]\nmod tests {\n  use crate::engine;\n}",
        "#[cfg(all(test, unix))] use crate::engine::{self, ids};",
        "struct S { #[cfg(test)] a: crate::engine::Id, b: u8 }",
        "pub(in crate::engine) fn f<'a>(x: &'a str) -> impl Iterator + use<'a> { }",
    ] {
        assert_eq!(house(text), [""; 0], "{text}");
    }
    let primitives = synthetic(&[
        ("lib.rs", ""),
        ("record.rs", ""),
        ("wire/mod.rs", ""),
        ("wire/primitives.rs", "use crate::record::Headers;"),
        ("handoff/chunk.rs", "use crate::{record::Headers, wire::{primitives, frame}};"),
        ("wire/frame.rs", ""),
        ("net.rs", "use crate::testing::Cluster;"),
        ("testing/mod.rs", "use crate::net::Loop;"),
    ]);
    let starts = [
        "src/handoff/chunk.rs:1: imports src/wire/frame.rs: an import that climbs",
        "src/net.rs:1: imports src/testing/mod.rs: an import that climbs",
        "src/wire/primitives.rs:1: imports src/record.rs: an import that climbs",
    ];
    assert_eq!(primitives.len(), starts.len(), "{primitives:?}");
    assert!(primitives.iter().zip(starts).all(|(wrong, start)| wrong.starts_with(start)), "{primitives:?}");
}

#[test]
fn a_sibling_in_the_engine_is_named() {
    let wrong = synthetic(&[
        ("lib.rs", "mod engine;"),
        (
            "engine/mod.rs",
            "mod broker; mod metadata; mod produce; mod queue; use metadata::View; use self::queue::Queue;",
        ),
        ("engine/broker.rs", "\nuse super::View;"),
        ("engine/metadata.rs", ""),
        ("engine/produce.rs", "use super::{broker::Broker, metadata};"),
        ("engine/queue/mod.rs", "mod slot; use slot::Slot;"),
        ("engine/queue/slot.rs", "use crate::engine::metadata;"),
    ]);
    let starts = [
        "src/engine/broker.rs:2: imports src/engine/metadata.rs: siblings",
        "src/engine/queue/slot.rs:1: imports src/engine/metadata.rs: siblings",
    ];
    assert_eq!(wrong.len(), starts.len(), "{wrong:?}");
    assert!(wrong.iter().zip(starts).all(|(wrong, start)| wrong.starts_with(start)), "{wrong:?}");
}

#[test]
fn a_circle_is_named_from_end_to_end() {
    let wrong = synthetic(&[
        ("lib.rs", "mod net; pub use net::Loop;"),
        ("net/mod.rs", "mod dial; mod poll; mod stream; pub struct Loop;\nfn f(_: dial::Dialer) {}"),
        ("net/dial.rs", "use super::poll;"),
        ("net/poll.rs", "\n\nuse crate::net::stream::Stream;"),
        ("net/stream.rs", "fn f(_: crate::net::dial::Dialer) {}"),
    ]);
    assert_eq!(
        wrong,
        [
            "a circle: src/net/dial.rs:1: imports src/net/poll.rs, src/net/poll.rs:3: imports src/net/stream.rs, \
          src/net/stream.rs:1: imports src/net/dial.rs"
        ]
    );
    // A part that takes from the whole is one too.
    let wrong = synthetic(&[
        ("lib.rs", "mod net;"),
        ("net/mod.rs", "mod dial; use self::dial::Dialer;"),
        ("net/dial.rs", "use super::token;"),
    ]);
    assert!(
        wrong.len() == 1 && wrong[0].starts_with("a circle: src/net/dial.rs:1: imports src/net/mod.rs"),
        "{wrong:?}"
    );
}

#[test]
fn a_file_without_a_floor_is_named() {
    assert_eq!(
        synthetic(&[("lib.rs", ""), ("cellar.rs", "")]),
        ["src/cellar.rs:1: has no floor; give it one in `Floor::of`"]
    );
}
