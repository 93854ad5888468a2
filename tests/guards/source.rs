//! Rust source as far as a list of public names needs it: tokens, and items with their heads and bodies.
//!
//! What a type means and which names a macro makes is not known here. Formatted source is expected: a space stands
//! where `rustfmt` puts one.

use std::{iter::Peekable, ops::Range, str::CharIndices};

/// A word, a literal or a mark. Comments are none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    /// Whether a space or a new line stands in front of it.
    spaced: bool,
}

/// Something that stands in a file, a module, an `impl` or a trait.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    /// Without `#` and the brackets.
    pub(crate) attributes: Vec<String>,
    pub(crate) visibility: Visibility,
    /// `fn`, `struct`, `use` and so on; the name of a macro that is called.
    pub(crate) kind: &'a str,
    /// Empty for an `impl` and a `use`.
    pub(crate) name: &'a str,
    /// Everything before the body and the end, without the visibility.
    pub(crate) head: &'a [Token<'a>],
    /// What stands in braces behind the head.
    pub(crate) body: Option<&'a [Token<'a>]>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Visibility {
    Private,
    /// `pub(crate)` and the like.
    Restricted,
    Public,
}

pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text.char_indices().peekable();
    let mut spaced = false;
    while let Some((start, first)) = rest.next() {
        let next = text[start..].chars().nth(1);
        match first {
            c if c.is_whitespace() => spaced = true,
            '/' if next == Some('/') => while rest.next_if(|&(_, c)| c != '\n').is_some() {},
            _ => {
                let end = end_of_token(text, start, first, &mut rest);
                tokens.push(Token { text: &text[start..end], spaced: std::mem::take(&mut spaced) });
            }
        }
    }
    tokens
}

/// One line of them, as it would be written if lines had no end.
pub(crate) fn line(tokens: &[Token<'_>]) -> String {
    let mut line = String::new();
    for (i, token) in tokens.iter().enumerate() {
        let closes = matches!(token.text, ")" | "]" | ">" | ";");
        if token.text == "," && tokens.get(i + 1).is_none_or(|next| matches!(next.text, ")" | "]" | ">")) {
            continue;
        }
        if token.spaced && !closes && !line.is_empty() && !line.ends_with(['(', '[', '<']) {
            line.push(' ');
        }
        line.push_str(token.text);
    }
    line
}

pub(crate) fn items<'a>(tokens: &'a [Token<'a>]) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    let mut rest = tokens;
    while !rest.is_empty() {
        let attributes = take_attributes(&mut rest);
        let visibility = take_visibility(&mut rest);
        let Some(first) = rest.first() else { break };
        let const_fn = rest.get(1).is_some_and(|next| next.text == "fn");
        let whole = matches!(first.text, "use" | "static" | "type" | "const") && !const_fn;
        let (end, body) = if whole { (position(rest, ";"), None) } else { end_and_body(rest) };
        let head = &rest[..body.as_ref().map_or(end, |body| body.start - 1)];
        let (kind, name) = kind_and_name(head);
        let body = body.map(|body| &rest[body]);
        items.push(Item { attributes, visibility, kind, name, head, body });
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    items
}

/// Fields, variants, arguments: what stands between commas.
pub(crate) fn parts<'a>(tokens: &'a [Token<'a>]) -> Vec<&'a [Token<'a>]> {
    let mut parts = Vec::new();
    let mut rest = tokens;
    while !rest.is_empty() {
        let end = position(rest, ",");
        parts.push(&rest[..end]);
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    parts
}

/// Takes the attributes in front.
pub(crate) fn take_attributes<'a>(tokens: &mut &'a [Token<'a>]) -> Vec<String> {
    let mut attributes = Vec::new();
    while tokens.first().is_some_and(|token| token.text == "#") {
        let open = 1 + position(&tokens[1..], "[");
        let close = closing(tokens, open);
        attributes.push(line(&tokens[open + 1..close]));
        *tokens = &tokens[close + 1..];
    }
    attributes
}

pub(crate) fn take_visibility<'a>(tokens: &mut &'a [Token<'a>]) -> Visibility {
    if tokens.first().is_none_or(|token| token.text != "pub") {
        return Visibility::Private;
    }
    *tokens = &tokens[1..];
    match tokens.first() {
        // `pub (A, B)` would be a field of a tuple; there is none, and formatted it has a space.
        Some(token) if token.text == "(" && !token.spaced => {
            *tokens = &tokens[closing(tokens, 0) + 1..];
            Visibility::Restricted
        }
        _ => Visibility::Public,
    }
}

/// Where `mark` stands outside of all brackets; the end if it does not.
pub(crate) fn position(tokens: &[Token<'_>], mark: &str) -> usize {
    let mut depth = 0_usize;
    tokens
        .iter()
        .position(|token| {
            if depth == 0 && token.text == mark {
                return true;
            }
            match token.text {
                "(" | "[" | "{" | "<" => depth += 1,
                ")" | "]" | "}" | ">" => depth = depth.saturating_sub(1),
                _ => {}
            }
            false
        })
        .unwrap_or(tokens.len())
}

fn kind_and_name<'a>(head: &'a [Token<'a>]) -> (&'a str, &'a str) {
    let is_prefix = |i: usize| match head[i].text {
        "unsafe" | "async" | "default" | "auto" => true,
        "const" => head.get(i + 1).is_some_and(|next| matches!(next.text, "fn" | "unsafe" | "async")),
        _ => false,
    };
    let kind = (0..head.len()).find(|&i| !is_prefix(i)).unwrap_or(0);
    let word = |i: usize| head.get(i).map_or("", |token| token.text);
    match (word(kind), word(kind + 1)) {
        ("impl" | "use", _) => (word(kind), ""),
        ("macro_rules", _) => ("macro_rules", word(kind + 2)),
        (name, "!") => (name, name),
        (kind, name) => (kind, name),
    }
}

/// Where the last token of the item is, and what lies in its braces.
fn end_and_body(tokens: &[Token<'_>]) -> (usize, Option<Range<usize>>) {
    let (semicolon, brace) = (position(tokens, ";"), position(tokens, "{"));
    if semicolon < brace || brace == tokens.len() {
        return (semicolon, None);
    }
    let close = closing(tokens, brace);
    (close, Some(brace + 1..close))
}

/// The bracket that closes the one at `open`.
fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    let close = tokens[open..].iter().position(|token| {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    open + close.expect("what compiles closes its brackets")
}

fn end_of_token(text: &str, start: usize, first: char, rest: &mut Peekable<CharIndices<'_>>) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let ahead = &text[start..];
    let len = if let Some(len) = raw_string(ahead) {
        len
    } else if first == '"' || ahead.starts_with("b\"") {
        quoted(ahead, '"')
    } else if ahead.starts_with("b'") || (first == '\'' && is_char(ahead)) {
        quoted(ahead, '\'')
    } else if is_word(first) || first == '\'' {
        first.len_utf8() + ahead[first.len_utf8()..].find(|c| !is_word(c)).unwrap_or(ahead.len() - 1)
    } else {
        ["->", "=>", "::", "..=", ".."]
            .into_iter()
            .find(|mark| ahead.starts_with(mark))
            .map_or(first.len_utf8(), str::len)
    };
    let end = start + len;
    while rest.next_if(|&(at, _)| at < end).is_some() {}
    end
}

/// `'a'` and `'\n'`, and not the lifetime `'a`.
fn is_char(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    matches!((chars.next(), chars.next()), (Some('\\'), _) | (_, Some('\'')))
}

fn quoted(text: &str, quote: char) -> usize {
    let open = text.find(quote).expect("the caller has seen it");
    let mut escaped = false;
    let inside = &text[open + 1..];
    let close = inside.find(|c| {
        let closes = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    });
    open + 1 + close.expect("what compiles closes its quotes") + 1
}

fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let inside = after[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(text.len() - inside.len() + inside.find(&close)? + close.len())
}

#[test]
fn source_is_read_as_it_is_meant() {
    const SOURCE: &str = r##"
        //! Words.
        use a::{b, c};
        #[derive(Clone)] // why
        pub struct S<'a, T: Fn(u8) -> u8> where T: Copy {
            /// Docs with { and ".
            pub a: &'a str, pub(crate) b: [u8; 2], c: Vec<(T, u8)>,
        }
        pub struct N(pub i16);
        impl<'a, T> S<'a, T> {
            pub const C: char = '{';
            pub const fn f(
                &self,
                a: (u8,),
            ) -> Result<(), Box<dyn Error>> {
                match self { _ => "}\"" , _ => r#"}"# }
            }
        }
        codes! { 1 ONE "one", 2 TWO "two", }
        mod last;
    "##;
    let tokens = tokens(SOURCE);
    let items = items(&tokens);
    let heads: Vec<_> = items.iter().map(|item| (item.kind, item.name, line(item.head))).collect();
    let expected = [
        ("use", "", "use a::{b, c}"),
        ("struct", "S", "struct S<'a, T: Fn(u8) -> u8> where T: Copy"),
        ("struct", "N", "struct N(pub i16)"),
        ("impl", "", "impl<'a, T> S<'a, T>"),
        ("codes", "codes", "codes!"),
        ("mod", "last", "mod last"),
    ];
    assert_eq!(heads, expected.map(|(kind, name, head)| (kind, name, head.to_owned())));
    assert_eq!(
        (items[1].visibility, &items[1].attributes[..]),
        (Visibility::Public, &["derive(Clone)".into()][..])
    );
    let fields = parts(items[1].body.unwrap());
    assert_eq!(
        fields.iter().map(|field| line(field)).collect::<Vec<_>>(),
        ["pub a: &'a str", "pub(crate) b: [u8; 2]", "c: Vec<(T, u8)>"]
    );
    let inside = self::items(items[3].body.unwrap());
    assert_eq!(line(inside[0].head), "const C: char = '{'");
    assert_eq!(line(inside[1].head), "const fn f(&self, a: (u8)) -> Result<(), Box<dyn Error>>");
    assert_eq!((inside[1].kind, inside.len(), parts(items[4].body.unwrap()).len()), ("fn", 2, 2));
}
