#![expect(clippy::disallowed_types, reason = "an issuer for these tests listens")]

use std::{net::TcpListener, sync::mpsc};

use super::*;

/// What a server does with the connections that come, one after the other; the last one for all that follow.
type Answers = Vec<Box<dyn Fn(&mut TcpStream) + Send>>;

/// Where it listens, and the requests that it got. It ends with the process.
fn serve(answers: Answers) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, requests) = mpsc::channel();
    thread::Builder::new()
        .spawn(move || {
            for (n, socket) in listener.incoming().enumerate() {
                let mut socket = socket.unwrap();
                // A test that knows enough does not listen any more.
                let _ = heard.send(request(&mut socket));
                answers[n.min(answers.len() - 1)](&mut socket);
            }
        })
        .unwrap();
    (port, requests)
}

fn request(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let is_whole = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length = head.split("Content-Length: ").nth(1)?.split("\r\n").next()?.parse::<usize>().ok()?;
        (body.len() >= length).then_some(())
    };
    while is_whole(&bytes).is_none() {
        let mut piece = [0; 1000];
        match socket.read(&mut piece).unwrap() {
            0 => break,
            n => bytes.extend_from_slice(&piece[..n]),
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn answers(texts: &[&str]) -> Answers {
    let answer = |text: &&str| -> Box<dyn Fn(&mut TcpStream) + Send> {
        let text = (*text).to_owned();
        // A client that has heard enough may have hung up.
        Box::new(move |socket| drop(socket.write_all(text.as_bytes())))
    };
    texts.iter().map(answer).collect()
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

const LONG: Duration = Duration::from_secs(30);

const PATIENT: Patience = Patience {
    connect: LONG,
    answer: LONG,
    backoff: Duration::from_millis(1),
    budget: Duration::from_millis(40),
};

const CLIENT: Client<'_> =
    Client { id: " id ", secret: "canary secret", scope: Some("a b"), is_url_encoded: false };

fn issuer(port: u16, patience: Patience) -> Issuer {
    let endpoint = Endpoint::parse(&format!("http://127.0.0.1:{port}/token?x=1")).unwrap();
    Issuer::new(endpoint, &CLIENT, None, patience)
}

/// Whether it lasts, and why.
fn trouble(outcome: Result<Secret, Trouble>) -> (bool, String) {
    let (lasts, why) = match outcome.expect_err("there is no token") {
        Trouble::Lasting(why) => (true, why),
        Trouble::Passing(why) => (false, why),
    };
    assert!(why.contains("sasl.oauthbearer.token.endpoint.url") || why.contains("sasl.login"), "{why}");
    assert!(!why.contains("canary") && !why.contains("Y2FuYXJ5"), "{why}");
    (lasts, why)
}

#[test]
fn it_is_asked_as_java_asks_and_its_token_serves_for_a_while() {
    let (port, requests) = serve(answers(&[
        &http("200 OK", r#"{"access_token": " one\n", "expires_in": 3600}"#),
        &http("201 Created", r#"{"id_token": "two"}"#),
        &http("200 OK", r#"{"access_token": "three", "id_token": "x"}"#),
    ]));
    let issuer = issuer(port, PATIENT);
    for _ in 0..2 {
        assert_eq!(issuer.token().unwrap().text(), "one");
    }
    let proof = base64::encode(b"id:canary secret");
    assert_eq!(
        requests.recv().unwrap(),
        format!(
            "POST /token?x=1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: application/json\r\nCache-Control: \
             no-cache\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 39\r\nConnection: \
             close\r\nAuthorization: Basic {proof}\r\n\r\ngrant_type=client_credentials&scope=a b"
        )
    );
    assert!(requests.try_recv().is_err(), "it was asked again");
    // A broker did not take it; of the next ones nobody says how long they are good.
    issuer.forget();
    assert_eq!(issuer.token().unwrap().text(), "two");
    assert_eq!(issuer.token().unwrap().text(), "three");
}

#[test]
fn what_is_encoded_for_urls_is_encoded_as_in_java() {
    let endpoint = Endpoint::parse("https://issuer").unwrap();
    let client = Client { id: "i d", secret: "s+\u{e9}*", scope: Some("a b"), is_url_encoded: true };
    let request = client.request(&endpoint);
    let request = str::from_utf8(&request).unwrap();
    assert!(request.contains(&base64::encode(b"i+d:s%2B%C3%A9*")), "{request}");
    assert!(request.ends_with("scope=a+b") && request.starts_with("POST / HTTP/1.1\r\nHost: issuer\r\n"));
    let client = Client { scope: None, ..client };
    assert!(client.request(&endpoint).ends_with(b"\r\n\r\ngrant_type=client_credentials"));
}

#[test]
fn a_refusal_lasts_and_names_what_to_look_at() {
    for (status, body, says) in [
        (
            "401 Unauthorized",
            r#"{"error":"invalid_client","error_description":"canary secret"}"#,
            "401, invalid_client",
        ),
        ("400 Bad Request", r#"{"error":"canary secret"}"#, "status 400: see"),
        ("403 Forbidden", "canary secret", "client.id"),
        ("302 Found", "", "elsewhere"),
        ("501 Not Implemented", "", "client.secret"),
    ] {
        let (port, requests) = serve(answers(&[&http(status, body)]));
        let (lasts, why) = trouble(issuer(port, PATIENT).token());
        assert!(lasts && why.contains(says) && why.contains(&port.to_string()), "{status}: {why}");
        assert_eq!(requests.try_iter().count(), 1, "{status}");
    }
}

#[test]
fn what_may_pass_is_tried_again() {
    let good = http("200 OK", r#"{"access_token":"good"}"#);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n10;x=y\r\n{\"access_token\":\r\n7\r\n\"good\"}\r\n0\r\n\r\n";
    for first in [
        &http("500 Internal Server Error", "canary secret"),
        &http("408 Request Timeout", ""),
        &http("429 Too Many Requests", ""),
        &http("200 OK", ""),
        &http("200 OK", r#"{"access_token": 7}"#),
        &http("200 OK", r#"{"access_token": "  "}"#),
        &http("200 OK", "[[[canary secret"),
        "SSH-2.0-OpenSSH\r\n",
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"access_token\":\"cut\"}",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        "HTTP/1.1 999 OK\r\n\r\n",
    ] {
        for second in [&*good, chunked, "HTTP/1.0 200 OK\r\n\r\n{\"access_token\":\"good\"}"] {
            let (port, requests) = serve(answers(&[first, second]));
            let patience = Patience { budget: LONG, ..PATIENT };
            assert_eq!(issuer(port, patience).token().unwrap().text(), "good", "{first}");
            assert_eq!(requests.try_iter().count(), 2, "{first}");
        }
    }
}

#[test]
fn the_first_of_many_failures_is_told() {
    let (port, requests) = serve(answers(&[&http("503 Service Unavailable", ""), &http("500 Error", "")]));
    let (lasts, why) = trouble(issuer(port, PATIENT).token());
    assert!(!lasts && why.contains("503"), "{why}");
    assert!(requests.try_iter().count() > 1);
    let (port, requests) = serve(answers(&[&http("503 Service Unavailable", "")]));
    let once = Patience { budget: Duration::ZERO, ..PATIENT };
    assert!(!trouble(issuer(port, once).token()).0);
    assert_eq!(requests.try_iter().count(), 1);
}

#[test]
fn an_answer_that_does_not_end_is_given_up() {
    let endless = |head: &'static str, piece: String| -> Answers {
        vec![Box::new(move |socket| {
            let mut alive = socket.write_all(head.as_bytes());
            while alive.is_ok() {
                alive = socket.write_all(piece.as_bytes());
            }
        })]
    };
    let once = Patience { budget: Duration::ZERO, ..PATIENT };
    for (head, piece, limit) in [
        ("HTTP/1.1 200 OK\r\n\r\n", "x", "1 MiB"),
        ("HTTP/1.1 200 OK\r\nx: ", "x", "64 KiB"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "00000000000400\r\n{}\r\n", "1 MiB"),
    ] {
        let piece = piece.replace("{}", &"x".repeat(0x400)).repeat(64);
        let (port, _requests) = serve(endless(head, piece));
        let (lasts, why) = trouble(issuer(port, once).token());
        assert!(!lasts && why.contains(limit), "{why}");
    }
}

/// One says nothing and keeps the connection; one says a little again and again.
#[test]
fn a_slow_issuer_is_given_up() {
    let hurried = Patience { answer: Duration::from_millis(100), budget: Duration::ZERO, ..PATIENT };
    let waits: Answers = vec![Box::new(|socket| drop(socket.read(&mut [0; 1])))];
    let drips: Answers = vec![Box::new(|socket| {
        let mut alive = socket.write_all(b"HTTP/1.1 200 OK\r\nx: ");
        while alive.is_ok() {
            alive = socket.write_all(b"x");
            sleep(Duration::from_millis(5));
        }
    })];
    for answers in [waits, drips] {
        let (port, _requests) = serve(answers);
        let (lasts, why) = trouble(issuer(port, hurried).token());
        assert!(!lasts && why.contains("sasl.login.read.timeout.ms"), "{why}");
    }
}

#[test]
fn an_issuer_that_is_not_there_passes() {
    // Nobody listens on a port that was just given back.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (lasts, why) = trouble(issuer(port, PATIENT).token());
    assert!(!lasts && why.contains("gives none"), "{why}");
}

#[test]
fn addresses_of_issuers() {
    for (url, is_https, host, port, authority, path) in [
        ("https://a.example.com/oauth/token", true, "a.example.com", 443, "a.example.com", "/oauth/token"),
        ("HTTP://a", false, "a", 80, "a", "/"),
        ("https://a:8443?x=/y#z", true, "a", 8443, "a:8443", "/?x=/y"),
        ("http://[::1]:80/", false, "::1", 80, "[::1]:80", "/"),
        ("http://[::1]", false, "::1", 80, "[::1]", "/"),
    ] {
        let Endpoint { is_https: s, host: h, port: p, authority: a, path: at } =
            Endpoint::parse(url).unwrap();
        assert_eq!((s, &*h, p, &*a, &*at), (is_https, host, port, authority, path), "{url}");
    }
    for (url, says) in [
        ("ftp://a", "https://"),
        ("", "https://"),
        ("https://", "host"),
        ("https://:80", "host"),
        ("https://a:", "port"),
        ("https://a:0/", "port"),
        ("https://a:x", "port"),
        ("https://a:65536", "port"),
        ("https://[::1]x", "port"),
        ("https://u:canary@a/", "password"),
        ("https://a/ b", "ASCII"),
        ("https://a/\r\nHost: b", "ASCII"),
        ("https://\u{e9}", "ASCII"),
    ] {
        let why = Endpoint::parse(url).expect_err(url);
        assert!(why.contains(says) && !why.contains("canary"), "{url}: {why}");
    }
}

#[test]
fn an_answer_in_pieces_is_the_same_answer() {
    for whole in [
        &*http("200 OK", "body"),
        "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n002;a=b\r\ndy\r\n0\r\n",
    ] {
        for end in 0..whole.len() {
            let part = &whole.as_bytes()[..end];
            assert!(read_answer(part, false).unwrap().is_none(), "{}", &whole[..end]);
            assert!(read_answer(part, true).is_err(), "{}", &whole[..end]);
        }
        let (status, body) = read_answer(whole.as_bytes(), false).unwrap().unwrap();
        assert_eq!((status, &**body), (200, &b"body"[..]));
    }
    let wrong = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz";
    assert!(read_answer(wrong.as_bytes(), false).is_err());
}

#[test]
fn many_that_ask_at_once_share_an_answer() {
    let (port, requests) = serve(answers(&[&http("200 OK", r#"{"access_token":"t","expires_in":60}"#)]));
    let issuer = issuer(port, PATIENT);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(issuer.token().unwrap().text(), "t"));
        }
    });
    assert_eq!(requests.try_iter().count(), 1);
}
