//! The entries of `bootstrap.servers`: their syntax only. Whether a host exists is found out where it is dialled.

use std::net::Ipv6Addr;

/// Splits `host:port`; the host of `[::1]:9092` is `::1`. In front may stand the name of a listener, which means nothing
/// as in Java, unless it promises another `protocol` than there will be.
pub(super) fn parse(entry: &str, protocol: &str) -> Result<(String, u16), String> {
    let address = match entry.split_once("://") {
        Some((listener, address))
            if listener.chars().all(|c| c.is_ascii_alphanumeric() || "-.%_".contains(c)) =>
        {
            let promised = PROTOCOLS.iter().find(|known| known.eq_ignore_ascii_case(listener));
            if let Some(promised) = promised.filter(|promised| **promised != protocol) {
                return Err(format!(
                    "{entry:?} promises {promised}, and security.protocol is {protocol}: that setting alone decides; \
                     correct it, or leave the prefix out"
                ));
            }
            address
        }
        Some(_) => return Err(format!("the prefix of {entry:?} is not the name of a listener")),
        None => entry,
    };
    let (host, port) = if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) =
            rest.split_once(']').ok_or_else(|| format!("{entry:?} lacks the closing bracket"))?;
        let literal = host.split_once('%').map_or(host, |(literal, _zone)| literal);
        if literal.parse::<Ipv6Addr>().is_err() {
            return Err(format!("{entry:?} has something else than an IPv6 address in its brackets"));
        }
        (host, rest.strip_prefix(':').ok_or_else(|| no_port(entry))?)
    } else {
        let (host, port) = address.rsplit_once(':').ok_or_else(|| no_port(entry))?;
        if host.contains(':') {
            return Err(format!(
                "{entry:?} is ambiguous: an IPv6 address stands in brackets, as in [::1]:9092"
            ));
        }
        (host, port)
    };
    if host.is_empty() {
        return Err(format!("{entry:?} has no host: host:port is expected"));
    }
    if let Some(odd) = host.chars().find(|c| !c.is_ascii_alphanumeric() && !"-.%_:".contains(*c)) {
        return Err(format!("the host of {entry:?} contains {odd:?}, which no host name has"));
    }
    if port.is_empty() {
        return Err(no_port(entry));
    }
    match port.parse::<u16>() {
        // `parse` alone would take a plus sign.
        Ok(number @ 1..) if port.bytes().all(|b| b.is_ascii_digit()) => Ok((host.to_owned(), number)),
        _ => Err(format!("the port of {entry:?} must be a number from 1 to 65535")),
    }
}

const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

fn no_port(entry: &str) -> String {
    format!("{entry:?} has no port: host:port is expected, and Kafka's usual port is 9092")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split() {
        for (entry, host, port) in [
            ("localhost:9092", "localhost", 9092),
            ("a-b.example_c.com:1", "a-b.example_c.com", 1),
            ("10.0.0.1:65535", "10.0.0.1", 65_535),
            ("[::1]:9", "::1", 9),
            ("[fe80::1%eth0]:9092", "fe80::1%eth0", 9092),
            ("PLAINTEXT://broker:9092", "broker", 9092),
            ("plaintext://broker:9092", "broker", 9092),
            ("EXTERNAL-1://[2001:db8::2]:9093", "2001:db8::2", 9093),
            ("://broker:09092", "broker", 9092),
        ] {
            assert_eq!(parse(entry, "PLAINTEXT"), Ok((host.to_owned(), port)), "{entry}");
        }
        assert_eq!(parse("ssl://broker:9093", "SSL"), Ok(("broker".to_owned(), 9093)));
    }

    #[test]
    fn a_bad_address_names_the_entry_and_the_fault() {
        for (entry, fault) in [
            ("localhost", "no port"),
            ("localhost:", "no port"),
            ("[::1]", "no port"),
            ("PLAINTEXT://broker", "no port"),
            (":9092", "no host"),
            ("PLAINTEXT://:9092", "no host"),
            ("localhost:0", "1 to 65535"),
            ("localhost:99999", "1 to 65535"),
            ("localhost:+1", "1 to 65535"),
            ("localhost:-1", "1 to 65535"),
            ("localhost:kafka", "1 to 65535"),
            ("localhost:9092/", "1 to 65535"),
            ("local host:9092", "' '"),
            ("user@host:9092", "'@'"),
            ("::1:9092", "brackets"),
            ("[::1:9092", "closing bracket"),
            ("[host]:9092", "IPv6"),
            ("a b://host:9092", "prefix"),
            ("SSL://host:9092", "promises SSL, and security.protocol is PLAINTEXT"),
            ("sasl_ssl://host:9092", "promises SASL_SSL"),
        ] {
            let problem = parse(entry, "PLAINTEXT").expect_err(entry);
            assert!(problem.contains(fault) && problem.contains(entry), "{entry}: {problem}");
        }
    }
}
