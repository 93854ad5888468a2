//! `sasl.jaas.config`: one entry of a JAAS configuration, `MODULE FLAG name="value" ... ;`, as Java writes it (KIP-85).
//!
//! What is wrong is said without a word of the text, which holds a password.

use zeroize::Zeroizing;

use super::secret::Secret;

pub(crate) struct Jaas {
    /// The module's name without its package.
    pub(crate) module: String,
    pub(crate) options: Vec<(String, Secret)>,
}

impl Jaas {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text.trim();
        let module = word(&mut rest).ok_or("must begin with the name of a login module")?;
        let flag = word(&mut rest).unwrap_or_default();
        let flags = ["required", "requisite", "sufficient", "optional"];
        if !flags.iter().any(|known| flag.eq_ignore_ascii_case(known)) {
            return Err("must have required behind the name of its login module".to_owned());
        }
        let mut options = Vec::new();
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix(';') {
                if !after.trim().is_empty() {
                    return Err("must have a single entry, and has something behind its semicolon".to_owned());
                }
                let module = module.rsplit('.').next().unwrap_or_default().to_owned();
                return Ok(Self { module, options });
            }
            let name = word(&mut rest).ok_or("must end in a semicolon")?;
            rest = rest
                .trim_start()
                .strip_prefix('=')
                .ok_or_else(|| format!("has the option {name} without a value: {name}=\"...\""))?;
            let value =
                value(&mut rest).ok_or_else(|| format!("has a value of {name} whose quotes do not end"))?;
            options.push((name, Secret::new(&value)));
        }
    }

    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(known, _)| known == name).map(|(_, value)| value.text())
    }
}

/// The entry for a user and a password.
pub(crate) fn entry(module: &str, user: &str, password: &str) -> Zeroizing<String> {
    let escape = |text: &str| Zeroizing::new(text.replace('\\', "\\\\").replace('"', "\\\""));
    let (user, password) = (escape(user), escape(password));
    Zeroizing::new(format!("{module} required username=\"{}\" password=\"{}\";", *user, *password))
}

fn word(rest: &mut &str) -> Option<String> {
    let text = rest.trim_start();
    let end =
        text.find(|c: char| c.is_whitespace() || matches!(c, '=' | ';' | '"' | '\'')).unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    *rest = after;
    (!word.is_empty()).then(|| word.to_owned())
}

fn value(rest: &mut &str) -> Option<Zeroizing<String>> {
    let text = rest.trim_start();
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        *rest = text;
        return word(rest).map(Zeroizing::new);
    };
    // Reserved once: what grows leaves copies behind.
    let mut value = Zeroizing::new(String::with_capacity(text.len()));
    let mut chars = text[1..].char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => {
                *rest = &text[at + 2..];
                return Some(value);
            }
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                c => c,
            }),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_as_in_java() {
        for (text, module, options) in [
            (
                "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"alice\" password=\"s;e=c'r\\\"et\\\\\";",
                "PlainLoginModule",
                &[("username", "alice"), ("password", "s;e=c'r\"et\\")][..],
            ),
            ("  M\n  REQUIRED\n  a = 'x\"y'  b=plain ;  ", "M", &[("a", "x\"y"), ("b", "plain")]),
            ("M required;", "M", &[]),
            ("M required a=\"\";", "M", &[("a", "")]),
            ("M required a=\"\u{e9}\u{1f600}\";", "M", &[("a", "\u{e9}\u{1f600}")]),
        ] {
            let jaas = Jaas::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(jaas.module, module);
            let found: Vec<_> = jaas.options.iter().map(|(name, value)| (&**name, value.text())).collect();
            assert_eq!(found, options, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_a_secret() {
        for (text, says) in [
            ("", "begin with the name"),
            ("M", "required"),
            ("M password=\"canary\";", "required"),
            ("M required password=\"canary", "quotes do not end"),
            ("M required password=\"canary\"", "semicolon"),
            ("M required password;", "without a value"),
            ("M required a=b; N required password=\"canary\";", "single entry"),
        ] {
            let why = Jaas::parse(text).err().expect(text);
            assert!(why.contains(says) && !why.contains("canary"), "{text}: {why}");
        }
    }

    #[test]
    fn an_entry_that_is_written_is_read_back() {
        for password in ["simple", "with \"quotes\"", "\\back\\", "a=b;c,d'e", "\u{e9}"] {
            let jaas = Jaas::parse(&entry("M", "alice", password)).unwrap();
            assert_eq!(jaas.option("password"), Some(password));
            assert_eq!(jaas.option("username"), Some("alice"));
        }
    }
}
