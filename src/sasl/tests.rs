use super::*;

fn send(outcome: Outcome) -> (Zeroizing<Vec<u8>>, Waiting) {
    match outcome {
        Outcome::Send(token, waiting) => (token, waiting),
        Outcome::Done => panic!("nothing is sent"),
        Outcome::Failed(why) | Outcome::Unable(why) => panic!("{why}"),
    }
}

fn failure(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed(why) | Outcome::Unable(why) => why,
        _ => panic!("it goes on"),
    }
}

#[test]
fn plain_is_one_message_and_an_empty_answer() {
    let login = Arc::new(Login::plain("user", "p\u{e9}ssword"));
    let (token, waiting) = send(Step::first(&login).run());
    assert_eq!(&**token, "\0user\0p\u{e9}ssword".as_bytes());
    assert!(matches!(waiting.answered(b"").run(), Outcome::Done));
    let (_, waiting) = send(Step::first(&login).run());
    assert!(!failure(waiting.answered(b"more").run()).is_empty());
}

#[test]
fn a_token_with_an_extension_as_java_sends_it() {
    let token = OAuthBearerToken::new(" tok\n").extension("logicalCluster", "lkc-1");
    let login = Arc::new(Login::callback(Arc::new(move || Ok(token.clone()))));
    let (message, waiting) = send(Step::first(&login).run());
    assert_eq!(&**message, b"n,,\x01auth=Bearer tok\x01logicalCluster=lkc-1\x01\x01");
    assert!(matches!(waiting.answered(b"").run(), Outcome::Done));
    // A refusal is confirmed, and then comes the answer that fails.
    let (_, waiting) = send(Step::first(&login).run());
    let (message, _) = send(waiting.answered(b"{\"status\":\"invalid_token\"}").run());
    assert_eq!(&**message, b"\x01");
}

#[test]
fn tokens_that_cannot_be_sent_are_named_and_not_shown() {
    for (token, says) in [
        (OAuthBearerToken::new(""), "empty"),
        (OAuthBearerToken::new("canary\x01x"), "characters"),
        (OAuthBearerToken::new("canary").extension("auth", "x"), "auth"),
        (OAuthBearerToken::new("canary").extension("a1", "x"), "a1"),
        (OAuthBearerToken::new("canary").extension("a", "\x01"), "printable"),
    ] {
        assert!(!format!("{token:?}").contains("canary"));
        let login = Arc::new(Login::callback(Arc::new(move || Ok(token.clone()))));
        let why = failure(Step::first(&login).run());
        assert!(why.contains(says) && !why.contains("canary"), "{why}");
    }
    let login = Arc::new(Login::callback(Arc::new(|| Err("the issuer is away".into()))));
    assert!(failure(Step::first(&login).run()).contains("the issuer is away"));
    let login = Arc::new(Login::callback(Arc::new(|| panic!("canary"))));
    let why = failure(Step::first(&login).run());
    assert!(why.contains("panicked") && !why.contains("canary"), "{why}");
}

#[test]
fn an_unsecured_token_says_what_the_options_say() {
    let options = |pairs: &[(&str, &str)]| -> Vec<(String, Secret)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(value))).collect()
    };
    let login = Login::unsecured(&options(&[
        ("unsecuredLoginStringClaim_sub", "ad\"min"),
        ("unsecuredLoginNumberClaim_n", "7"),
        ("unsecuredLoginListClaim_scope", "|a|b"),
        ("unsecuredLoginLifetimeSeconds", "100"),
        ("unsecuredLoginExtension_trace", "x"),
    ]))
    .unwrap();
    let (message, _) = send(Step::first(&Arc::new(login)).run());
    let message = String::from_utf8(message.to_vec()).unwrap();
    let token =
        message.strip_prefix("n,,\x01auth=Bearer ").unwrap().strip_suffix("\x01trace=x\x01\x01").unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!((parts.len(), parts[2]), (3, ""));
    let json = |part: &str| -> serde_json::Value {
        serde_json::from_slice(&crate::base64::decode_url(part.as_bytes()).unwrap()).unwrap()
    };
    assert_eq!(json(parts[0]), serde_json::json!({"alg": "none"}));
    let claims = json(parts[1]);
    assert_eq!((&claims["sub"], &claims["n"]), (&"ad\"min".into(), &7.into()));
    assert_eq!(claims["scope"], serde_json::json!(["a", "b"]));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 100);
    for wrong in [&[][..], &[("clientId", "x")], &[("unsecuredLoginLifetimeSeconds", "x")]] {
        assert!(Login::unsecured(&options(wrong)).is_err());
    }
}

#[test]
fn a_token_in_a_file_is_read_each_time() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let login = Arc::new(Login::token_file(file.path().to_str().unwrap()));
    for token in ["one", "two"] {
        std::fs::write(file.path(), format!("{token}\n")).unwrap();
        let (message, _) = send(Step::first(&login).run());
        assert_eq!(String::from_utf8_lossy(&message), format!("n,,\x01auth=Bearer {token}\x01\x01"));
    }
    drop(file);
    assert!(failure(Step::first(&login).run()).contains("sasl.oauthbearer.token.endpoint.url"));
}

#[test]
fn nothing_shows_a_secret() {
    for login in [
        Login::plain("canary-user", "canary"),
        Login::scram_sha_256("canary-user", "canary", false),
        Login::scram_sha_512("canary-user", "canary", true),
        Login::callback(Arc::new(|| Ok(OAuthBearerToken::new("canary")))),
    ] {
        assert!(!format!("{login:?} {login:#?}").contains("canary"));
    }
}
