//! The names that users can write, with everything the compiler would hold them to: `tests/public_api.txt`.
//!
//! A name that is not in that file is not promised, and one that is changes with a line in the changelog. The list is
//! made from the source, so no other toolchain is needed. It has what is re-exported at the crate's root and in
//! `testing`, under the features that show it.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use crate::source::{
    Item, Token, Visibility, items, line, parts, position, take_attributes, take_visibility, tokens,
};

#[test]
fn public_names_change_only_on_purpose() {
    let now = list(&public_api(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/public_api.txt");
    if std::env::var_os("UPDATE_API").is_some() {
        fs::write(&path, &now).unwrap();
        return;
    }
    let promised = fs::read_to_string(&path).unwrap_or_default();
    let changes = changes(&promised, &now);
    assert!(
        changes.is_empty(),
        "what users can write has changed:\n{changes}\nIf it should: UPDATE_API=1 cargo test --test guards api, and a line \
         in CHANGELOG.md"
    );
}

#[test]
fn a_change_is_shown_where_it_is() {
    let before = "// head\na::B\n    x\n    y\n\na::C\n    x\n";
    assert_eq!(changes(before, before), "");
    let after = "// other head\na::B\n    x\n    z\n\na::D\n    x\n";
    assert_eq!(changes(before, after), "a::B\n-   y\n+   z\na::C\n-   x\na::D\n+   x\n");
}

/// What is said of each name, by its path.
type Api = BTreeMap<String, Vec<String>>;

fn public_api(root: PathBuf) -> Api {
    let mut api = Api::new();
    Module { file: root.join("lib.rs"), folder: root }.export("kafka_producer", &mut api);
    assert!(api.len() > 30, "hardly a public name was found: {:?}", api.keys());
    api
}

/// A module that is a file of its own.
struct Module {
    file: PathBuf,
    /// Where the modules inside it have their files.
    folder: PathBuf,
}

impl Module {
    /// Notes everything that can be named by way of this module.
    fn export(&self, path: &str, api: &mut Api) {
        let text = self.text();
        let tokens = tokens(&text);
        for item in
            items(&tokens).iter().filter(|item| item.visibility == Visibility::Public && !is_for_tests(item))
        {
            match item.kind {
                "use" => {
                    for mut way in ways(&item.head[1..]) {
                        let name = way.pop().expect("a path has a name");
                        let mut lines = conditions(item);
                        lines.extend(self.inside(&way).describe(&name));
                        // The re-export often has the condition of what it names.
                        lines.dedup();
                        api.insert(format!("{path}::{name}"), lines);
                    }
                }
                "mod" => {
                    let inner = self.inside(&[item.name.to_owned()]);
                    let inner_path = format!("{path}::{}", item.name);
                    api.insert(
                        inner_path.clone(),
                        [conditions(item), vec![format!("pub mod {}", item.name)]].concat(),
                    );
                    inner.export(&inner_path, api);
                }
                _ => {
                    api.insert(format!("{path}::{}", item.name), self.describe(item.name));
                }
            }
        }
    }

    /// The definition of a name, with what is implemented for it in this module and those inside it.
    fn describe(&self, name: &str) -> Vec<String> {
        let text = self.text();
        let tokens = tokens(&text);
        let items = items(&tokens);
        let Some(definition) = items.iter().find(|item| item.name == name && item.kind != "mod") else {
            let way = items
                .iter()
                .filter(|item| item.kind == "use")
                .flat_map(|item| ways(&item.head[1..]))
                .find(|way| way.last().is_some_and(|last| last == name));
            let mut way = way.unwrap_or_else(|| panic!("{name} is not in {}", self.file.display()));
            way.pop();
            return self.inside(&way).describe(name);
        };
        let mut lines = definition_of(definition);
        let mut traits = Vec::new();
        self.implementations(name, &mut lines, &mut traits);
        traits.sort();
        lines.extend(traits.concat());
        lines
    }

    fn implementations(&self, name: &str, own: &mut Vec<String>, traits: &mut Vec<Vec<String>>) {
        let text = self.text();
        let tokens = tokens(&text);
        for item in items(&tokens).iter().filter(|item| !is_for_tests(item)) {
            match item.kind {
                "impl" if self_type(item.head) == Some(name) => {
                    let mut lines = conditions(item);
                    lines.push(line(item.head));
                    let is_trait = position(&item.head[1..], "for") + 1 < item.head.len();
                    let inside = items(item.body.expect("an impl has a body"));
                    let inside = inside.iter().filter(|inner| match is_trait {
                        true => inner.kind == "type",
                        false => inner.visibility == Visibility::Public,
                    });
                    let before = lines.len();
                    lines.extend(inside.flat_map(|inner| indented(definition_of(inner))));
                    if is_trait {
                        traits.push(lines);
                    } else if lines.len() > before {
                        own.extend(lines);
                    }
                }
                "mod" if item.body.is_none() => {
                    self.inside(&[item.name.to_owned()]).implementations(name, own, traits);
                }
                // What a macro makes of a table cannot be seen here, but the table can.
                kind if line(item.head) == format!("{kind}!") && text.contains(&format!("impl {name}")) => {
                    let rows = parts(item.body.unwrap_or_default());
                    own.push(format!("{kind}!"));
                    own.extend(rows.into_iter().map(|row| format!("    {}", row_of(row))));
                }
                _ => {}
            }
        }
    }

    fn inside(&self, way: &[String]) -> Self {
        let mut module = Self { file: self.file.clone(), folder: self.folder.clone() };
        for name in way {
            module = match &**name {
                "crate" | "self" => continue,
                name => {
                    let folder = module.folder.join(name);
                    let file = folder.with_extension("rs");
                    Self { file: if file.exists() { file } else { folder.join("mod.rs") }, folder }
                }
            };
        }
        module
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap_or_else(|error| panic!("{}: {error}", self.file.display()))
    }
}

/// The item as its user sees it.
fn definition_of(item: &Item<'_>) -> Vec<String> {
    let mut lines = conditions(item);
    let public = if item.visibility == Visibility::Public { "pub " } else { "" };
    let head = match item.kind {
        "const" | "static" => &item.head[..position(item.head, "=")],
        _ => item.head,
    };
    // Whether a method changes the value that it takes is its own affair.
    let head = format!("{public}{}", line(head)).replace("(mut self", "(self");
    let body = item.body.unwrap_or_default();
    match item.kind {
        "fn" if item.body.is_some() && public.is_empty() => lines.push(format!("{head} {{ .. }}")),
        "struct" if body.is_empty() => {
            let paren = position(item.head, "(");
            let fields = item.head.get(paren + 1..item.head.len() - 1).unwrap_or_default();
            let fields =
                parts(fields).into_iter().map(member).map(|(_, visibility, text)| match visibility {
                    Visibility::Public => format!("pub {text}"),
                    _ => "_".into(),
                });
            let fields: Vec<String> = fields.collect();
            let fields = if fields.is_empty() { String::new() } else { format!("({})", fields.join(", ")) };
            lines.push(format!("{public}{}{fields}", line(&item.head[..paren])));
        }
        "struct" => {
            lines.push(head);
            let fields = parts(body).into_iter().map(member);
            let (shown, hidden): (Vec<_>, Vec<_>) =
                fields.partition(|(_, visibility, _)| *visibility == Visibility::Public);
            lines.extend(indented(shown.into_iter().map(|(_, _, text)| format!("pub {text}")).collect()));
            if !hidden.is_empty() {
                lines.push("    ..".into());
            }
        }
        "enum" => {
            lines.push(head);
            lines.extend(indented(parts(body).into_iter().map(variant).collect()));
        }
        "trait" => {
            lines.push(head);
            lines.extend(indented(items(body).iter().flat_map(definition_of).collect()));
        }
        _ => lines.push(head),
    }
    lines
}

/// A field or a variant without the attributes that only the inside needs.
fn member<'a>(mut tokens: &'a [Token<'a>]) -> (Vec<String>, Visibility, String) {
    let attributes = take_attributes(&mut tokens);
    let visibility = take_visibility(&mut tokens);
    (attributes, visibility, line(tokens))
}

fn variant<'a>(mut tokens: &'a [Token<'a>]) -> String {
    let attributes = take_attributes(&mut tokens);
    let default = if attributes.iter().any(|attribute| attribute == "default") { " (default)" } else { "" };
    let brace = position(tokens, "{");
    if brace == tokens.len() {
        return line(tokens) + default;
    }
    let fields = &tokens[brace + 1..tokens.len() - 1];
    let fields: Vec<_> = parts(fields).into_iter().map(|field| member(field).2).collect();
    format!("{} {{ {} }}{default}", line(&tokens[..brace]), fields.join(", "))
}

/// Without the texts: those are told, not promised.
fn row_of(row: &[Token<'_>]) -> String {
    let row: Vec<_> = row.iter().filter(|token| !token.text.starts_with('"')).copied().collect();
    line(&row)
}

/// The attributes that a user meets.
fn conditions(item: &Item<'_>) -> Vec<String> {
    const MET: [&str; 5] = ["cfg(", "derive(", "deprecated", "must_use", "non_exhaustive"];
    let met = item.attributes.iter().filter(|attribute| MET.iter().any(|met| attribute.starts_with(met)));
    met.map(|attribute| format!("#[{attribute}]")).collect()
}

/// Not promised to anybody.
fn is_for_tests(item: &Item<'_>) -> bool {
    item.attributes.iter().any(|attribute| attribute == "cfg(test)" || attribute == "doc(hidden)")
}

/// The name of the type that something is implemented for, without what it is a form of.
fn self_type<'a>(head: &'a [Token<'a>]) -> Option<&'a str> {
    let mut rest = &head[1..];
    if rest.first()?.text == "<" {
        rest = &rest[1 + position(&rest[1..], ">")..];
    }
    let after_for = position(rest, "for") + 1;
    let own = if after_for < rest.len() { &rest[after_for..] } else { rest };
    let end = position(own, "where").min(position(own, "<"));
    own[..end].iter().map(|token| token.text).rfind(|text| text.starts_with(char::is_alphabetic))
}

/// The paths that a `use` brings in.
fn ways(tokens: &[Token<'_>]) -> Vec<Vec<String>> {
    let brace = position(tokens, "{");
    let front: Vec<String> =
        tokens[..brace].iter().map(|token| token.text.to_owned()).filter(|text| text != "::").collect();
    assert!(
        !front.iter().any(|word| word == "as" || word == "*"),
        "{}: write out what it names",
        line(tokens)
    );
    if brace == tokens.len() {
        return vec![front];
    }
    let inside = parts(&tokens[brace + 1..tokens.len() - 1]).into_iter().flat_map(ways);
    inside.map(|way| front.iter().cloned().chain(way).collect()).collect()
}

fn indented(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().map(|line| format!("    {line}")).collect()
}

fn list(api: &Api) -> String {
    let mut text = HEAD.to_owned();
    for (path, lines) in api {
        write!(text, "\n{path}\n{}\n", indented(lines.clone()).join("\n")).unwrap();
    }
    text
}

/// The lines that one list has and the other has not, under the names they belong to.
fn changes(promised: &str, now: &str) -> String {
    let (promised, now) = (sections(promised), sections(now));
    let mut changes = String::new();
    let mut names: Vec<_> = promised.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let (before, after) = (&promised.get(name), &now.get(name));
        if before == after {
            continue;
        }
        let (before, after) = (before.map_or(&[][..], |lines| lines), after.map_or(&[][..], |lines| lines));
        let gone =
            before.iter().filter(|line| !after.contains(line)).map(|line| format!("-{}\n", &line[1..]));
        let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+{}\n", &line[1..]));
        let lines: String = gone.chain(new).collect();
        let lines = if lines.is_empty() { "the order or number of its lines\n".to_owned() } else { lines };
        write!(changes, "{name}\n{lines}").unwrap();
    }
    changes
}

fn sections(list: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut sections: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut name = "";
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with("//")) {
        if line.starts_with(' ') {
            sections.entry(name).or_default().push(line);
        } else {
            name = line;
        }
    }
    sections
}

const HEAD: &str = "\
// What users can write, and so what may not change without a line in CHANGELOG.md.
// Written by: UPDATE_API=1 cargo test --test guards
";
