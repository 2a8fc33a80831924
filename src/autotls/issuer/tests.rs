use std::{fs, task::Poll, time::Duration};

use futures::future;

use super::{
    outside::{Folder, Issues, Outside, problem},
    *,
};
use crate::autotls::auth::server::Server;

fn addresses() -> Vec<Multiaddr> {
    vec!["/ip4/192.0.2.1/tcp/4001".parse().unwrap()]
}

fn issuer(config: &Config) -> Issuer {
    Issuer::new(&Keypair::generate_ed25519(), config)
}

async fn obtain(issuer: &Issuer) -> Result<Issued, Failure> {
    issuer.obtain(addresses(), None).await
}

/// The step and the text of a failure. Nothing is stored after one but keys.
async fn failed(outside: &Outside) -> (Step, String, Failure) {
    let folder = Folder::new();
    let issuer = issuer(&outside.config().with_storage(&folder.0));
    let Err(failure) = obtain(&issuer).await else {
        panic!("there is a certificate");
    };
    assert!(!folder.files().contains_key(CERTIFICATE));
    assert!(issuer.load().0.is_none());
    let text = failure.error.to_string();
    assert!(text.chars().count() < 400 && !text.contains('\n'), "{text}");
    (failure.step, text, failure)
}

#[tokio::test]
async fn each_kind_of_key_gets_a_certificate_which_a_restart_finds() {
    let rsa = include_str!("../../../tests/fixtures/pem/rsa-pkcs8.key");
    let rsa = KeyPair::from_pem(rsa).unwrap();
    let keypairs = [
        Keypair::generate_ed25519(),
        Keypair::generate_secp256k1(),
        Keypair::generate_ecdsa(),
        Keypair::rsa_from_pkcs8(&mut rsa.serialize_der()).unwrap(),
    ];
    let (outside, folder) = (Outside::new().await, Folder::new());
    let config = outside.config().with_storage(&folder.0);
    for keypair in keypairs {
        let issuer = Issuer::new(&keypair, &config);
        let (none, errors) = issuer.load();
        assert!(none.is_none() && errors.is_empty(), "{errors:?}");
        let issued = obtain(&issuer)
            .await
            .map_err(|failure| failure.error)
            .unwrap();
        assert_eq!(issued.storage, None);
        let name = issuer.name().of_ip("192.0.2.1".parse().unwrap()).unwrap();
        assert!(issued.certificate.verifies(&name));
        assert!(issued.not_before < issued.not_after);

        outside.state().log.clear();
        let (found, errors) = Issuer::new(&keypair, &config).load();
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(found.unwrap().leaf, issued.leaf);
        assert!(outside.state().log.is_empty(), "nobody is asked");
        // As for another server: nothing of it is served.
        let (none, _) = Issuer::new(&keypair, &config.clone().staging()).load();
        assert!(none.is_none());
    }
}

#[tokio::test]
async fn the_broker_gets_value_addresses_and_token_from_the_second_request_on() {
    let outside = Outside::new().await;
    // Without the cookie, each request would get to another instance.
    let instances = [(); 3].map(|()| Server::new(Keypair::generate_ed25519()));
    outside.state().instances = instances.into();
    let config = outside.config().with_token("sesame");
    let mut addresses = addresses();
    addresses.push("/ip6/2001:db8::1/tcp/443/tls/ws".parse().unwrap());
    addresses.push("/ip6/2001:db8::1/tcp/80/ws".parse().unwrap());
    let obtained = issuer(&config).obtain(addresses, None).await;
    assert!(obtained.is_ok());
    let state = outside.state();
    let [(first, empty), (second, body)] = &*state.posts else {
        panic!("{:?}", state.posts);
    };
    let host = outside.address.to_string();
    for headers in [first, second] {
        assert_eq!(headers["host"], &host);
        assert_eq!(headers["user-agent"], crate::autotls::http::USER_AGENT);
    }
    assert_eq!(empty, "");
    assert!(!first.contains_key("forge-authorization"));
    assert_eq!(second["forge-authorization"], "sesame");
    assert_eq!(second["cookie"], "instance=0");
    let expected = serde_json::json!({
        "value": state.record,
        "addresses": ["/ip4/192.0.2.1/tcp/4001", "/ip6/2001:db8::1/tcp/80/ws"],
    });
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_broker_that_starts_the_authentication_itself_is_answered() {
    let outside = Outside::new().await;
    outside.state().instances[0].takes_challenges = false;
    assert!(obtain(&issuer(&outside.config())).await.is_ok());
    let state = outside.state();
    let bodies: Vec<_> = state
        .posts
        .iter()
        .map(|(_, body)| body.is_empty())
        .collect();
    assert_eq!(bodies, [true, true, false]);
}

#[tokio::test]
async fn a_broker_that_does_not_prove_its_key_learns_nothing() {
    for takes_challenges in [true, false] {
        let outside = Outside::new().await;
        outside.state().instances[0].lies = true;
        outside.state().instances[0].takes_challenges = takes_challenges;
        let config = outside.config().with_token("sesame");
        let failure = obtain(&issuer(&config)).await.err().unwrap();
        let expected = Error::Authentication {
            server: outside.address.to_string(),
            reason: "its signature is wrong",
        };
        assert_eq!((failure.step, failure.error), (Step::Broker, expected));
        let state = outside.state();
        for (headers, body) in &state.posts {
            assert!(body.is_empty() && !headers.contains_key("forge-authorization"));
        }
        assert_eq!(state.record, "not set yet");
    }
}

#[tokio::test]
async fn a_refusal_of_the_broker_is_told_with_its_text_and_its_wait() {
    for (status, wait) in [
        (400, None),
        (403, None),
        (429, Some(120)),
        (503, Some(86_400)),
    ] {
        let outside = Outside::new().await;
        let headers = wait.map(|wait| {
            // More than a day is a day.
            (
                "retry-after",
                if wait == 86_400 { u64::MAX } else { wait }.to_string(),
            )
        });
        let text = "error testing addresses:\nall dials failed".to_owned();
        let refusal = (status, headers.into_iter().collect(), text);
        outside.state().instead.insert("/v1/_acme", refusal);
        let (step, text, failure) = failed(&outside).await;
        assert_eq!(step, Step::Broker);
        let expected = format!("status {status}: error testing addresses: all dials failed");
        assert!(text.ends_with(&expected), "{text}");
        assert_eq!(failure.retry_after, wait.map(Duration::from_secs));
        assert!(!failure.is_validation);
    }
    let outside = Outside::new().await;
    let refusal = (400, Vec::new(), String::new());
    outside.state().instead.insert("/v1/_acme", refusal);
    let (_, text, _) = failed(&outside).await;
    assert!(text.contains("the host in its URL"), "{text}");
}

#[tokio::test]
async fn a_broker_that_is_down_is_asked_before_a_first_certificate_only() {
    let outside = Outside::new().await;
    let issuer = issuer(&outside.config());
    let first = obtain(&issuer).await.ok().unwrap();
    let ill = (503, vec![("retry-after", "60".to_owned())], String::new());
    outside.state().instead.insert("/v1/health", ill);
    outside.state().log.clear();
    let failure = obtain(&issuer).await.err().unwrap();
    assert_eq!(failure.step, Step::Health);
    assert_eq!(failure.retry_after, Some(Duration::from_secs(60)));
    assert_eq!(outside.state().log, ["GET /v1/health"]);
    assert!(issuer.obtain(addresses(), Some(first)).await.is_ok());
}

#[tokio::test]
async fn a_certificate_that_is_not_this_nodes_is_not_taken() {
    let cases = [
        (Issues::OtherName, "it is not for *."),
        (Issues::OtherKey, "the private key"),
        (Issues::Expired, "expired"),
        (Issues::Garbage, ""),
    ];
    for (issues, reason) in cases {
        let outside = Outside::new().await;
        outside.state().issues = issues;
        let (step, text, failure) = failed(&outside).await;
        assert_eq!(step, Step::Download, "{text}");
        assert!(matches!(failure.error, Error::Certificate { .. }), "{text}");
        assert!(text.contains(reason), "{text}");
    }
}

#[tokio::test]
async fn a_clock_that_is_behind_costs_one_certificate() {
    let (outside, folder) = (Outside::new().await, Folder::new());
    outside.state().issues = Issues::Early;
    let issuer = issuer(&outside.config().with_storage(&folder.0));
    for _ in 0..3 {
        let Err(failure) = obtain(&issuer).await else {
            panic!("it is not valid yet");
        };
        assert_eq!(failure.step, Step::Download);
        assert!(failure.is_early);
        let text = failure.error.to_string();
        assert!(text.contains("check the clock of this host"), "{text}");
    }
    assert_eq!(outside.state().orders.len(), 1);
    assert!(folder.files().contains_key(CERTIFICATE));
}

/// As one that was not valid yet at the start, or that a clock which was ahead has put out of use.
#[tokio::test]
async fn a_stored_certificate_that_has_become_valid_is_used_in_place_of_another() {
    let (outside, folder) = (Outside::new().await, Folder::new());
    let keypair = Keypair::generate_ed25519();
    let config = outside.config().with_storage(&folder.0);
    let issued = obtain(&Issuer::new(&keypair, &config)).await.ok().unwrap();
    let found = obtain(&Issuer::new(&keypair, &config)).await.ok().unwrap();
    assert_eq!(found.leaf, issued.leaf);
    assert_eq!(outside.state().orders.len(), 1);
}

#[tokio::test]
async fn a_failed_validation_is_told_as_one_with_its_cause() {
    let outside = Outside::new().await;
    outside.state().validates = false;
    let (step, text, failure) = failed(&outside).await;
    assert_eq!(step, Step::Validation);
    assert!(failure.is_validation);
    let expected =
        "No TXT record found at _acme-challenge (urn:ietf:params:acme:error:unauthorized)";
    assert_eq!(text, expected);
}

#[tokio::test]
async fn without_the_record_no_validation_is_asked_for() {
    for (record, found) in [
        ("not set yet", r#"found ["not set yet"]"#),
        ("", "there is none"),
    ] {
        let outside = Outside::new().await;
        outside.state().publishes = false;
        outside.state().record = record.to_owned();
        let (step, text, failure) = failed(&outside).await;
        assert_eq!(step, Step::Record);
        assert!(!failure.is_validation);
        assert!(
            text.starts_with("the TXT record of _acme-challenge.k"),
            "{text}"
        );
        assert!(text.ends_with(found), "{text}");
        let asked = outside
            .state()
            .log
            .contains(&"POST /acme/challenge".to_owned());
        assert!(!asked);
    }
}

#[tokio::test]
async fn each_request_to_the_acme_server_has_its_step() {
    let steps = [
        ("/acme/directory", Step::Account),
        ("/acme/nonce", Step::Account),
        ("/acme/account", Step::Account),
        ("/acme/new-order", Step::Order),
        ("/acme/authorization", Step::Order),
        ("/acme/challenge", Step::Validation),
        ("/acme/order", Step::Validation),
        ("/acme/finalize", Step::Finalize),
        ("/acme/certificate", Step::Download),
    ];
    for (path, expected) in steps {
        let outside = Outside::new().await;
        let wait = || vec![("retry-after", "7200".to_owned())];
        let (status, _, body) = problem(429, "rateLimited", "too many\u{1b}[31m");
        let limited = (status, wait(), body);
        outside.state().instead.insert(path, limited);
        let (step, text, failure) = failed(&outside).await;
        assert_eq!(step, expected, "{path}: {text}");
        assert_eq!(
            failure.retry_after,
            Some(Duration::from_secs(7200)),
            "{path}"
        );
        // The answer to a HEAD has no text.
        let told = match path {
            "/acme/nonce" => "status 429",
            _ => "too many\u{fffd}[31m (urn:ietf:params:acme:error:rateLimited)",
        };
        assert!(text.ends_with(told), "{path}: {text}");

        // As from what is in front of a server.
        let page = (502, wait(), "<html>\n bad gateway".to_owned());
        outside.state().instead.insert(path, page);
        let (step, text, failure) = failed(&outside).await;
        assert_eq!(step, expected, "{path}: {text}");
        assert_eq!(
            failure.retry_after,
            Some(Duration::from_secs(7200)),
            "{path}"
        );
        assert!(text.contains("status 502"), "{path}: {text}");

        let elsewhere = vec![("location", "https://example.com/".to_owned())];
        let redirect = (302, elsewhere, String::new());
        outside.state().instead.insert(path, redirect);
        let (step, text, _) = failed(&outside).await;
        assert_eq!(step, expected, "{path}: {text}");
        assert!(
            text.contains("it redirects to https://example.com/"),
            "{text}"
        );

        // No JSON, or none that is expected.
        for body in ["", "{}", "[]", "-----BEGIN CERTIFICATE-----"] {
            let strange = (
                200,
                vec![("retry-after", u64::MAX.to_string())],
                body.to_owned(),
            );
            outside.state().instead.insert(path, strange);
            if path == "/acme/nonce" {
                continue;
            }
            let (step, text, _) = failed(&outside).await;
            assert_eq!(step, expected, "{path}: {text}");
        }
    }
}

#[tokio::test]
async fn bad_nonces_are_survived() {
    let outside = Outside::new().await;
    for bad in [2, 8] {
        outside.state().bad_nonces = bad;
        assert!(obtain(&issuer(&outside.config())).await.is_ok());
    }
    outside.state().bad_nonces = 9;
    let (step, text, _) = failed(&outside).await;
    assert_eq!(step, Step::Account);
    assert!(text.contains("badNonce"), "{text}");
}

#[tokio::test]
async fn a_renewal_replaces_the_certificate_unless_the_server_does_not_want_it() {
    let outside = Outside::new().await;
    let issuer = issuer(&outside.config().with_contact("a@example.com"));
    let mut current = obtain(&issuer).await.ok().unwrap();
    let identifier = |issued: &Issued| {
        let identifier = CertificateIdentifier::try_from(&issued.leaf).unwrap();
        serde_json::Value::from(identifier.to_string())
    };
    let null = serde_json::Value::Null;
    for (offers, takes) in [(true, true), (true, false), (false, false)] {
        outside.state().offers_renewal_info = offers;
        outside.state().takes_replaces = takes;
        outside.state().orders.clear();
        let renewed = issuer.obtain(addresses(), Some(current.clone())).await;
        let replaced: Vec<_> = outside
            .state()
            .orders
            .iter()
            .map(|order| order["replaces"].clone())
            .collect();
        let expected = match (offers, takes) {
            (true, true) => vec![identifier(&current)],
            (true, false) => vec![identifier(&current), null.clone()],
            (false, _) => vec![null.clone()],
        };
        assert_eq!(replaced, expected);
        let renewed = renewed.ok().unwrap();
        assert_ne!(renewed.leaf, current.leaf);
        current = renewed;
    }
    let state = outside.state();
    assert_eq!(state.accounts.len(), 1, "the key of the account stays");
    let contact = serde_json::json!(["mailto:a@example.com"]);
    assert_eq!(state.contacts, vec![contact; 4]);
}

#[tokio::test]
async fn the_server_says_when_to_renew_if_it_wants_to() {
    let outside = Outside::new().await;
    let issuer = issuer(&outside.config());
    let issued = obtain(&issuer).await.ok().unwrap();
    let window = issuer.renewal_window(&issued).await.ok().unwrap().unwrap();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_924_992_000);
    assert_eq!(window.start, start);
    assert_eq!(window.end, start + Duration::from_secs(24 * 60 * 60));
    assert!(window.ask_again_in.is_some());

    let mut seen = Vec::new();
    for (start, end) in [("2031-01-02", "2031-01-01"), ("2031-01-01", "2031-01-01")] {
        let window = serde_json::json!({ "suggestedWindow": {
            "start": format!("{start}T00:00:00Z"), "end": format!("{end}T00:00:00Z"),
        }});
        seen.push((200, Vec::new(), window.to_string()));
    }
    seen.push((200, Vec::new(), "{}".to_owned()));
    seen.push(problem(404, "malformed", "unknown certificate"));
    for answer in seen {
        outside.state().instead.insert("/acme/renewal", answer);
        let failure = issuer.renewal_window(&issued).await.err().unwrap();
        assert_eq!(failure.step, Step::RenewalInfo);
    }
    outside.state().offers_renewal_info = false;
    assert_eq!(issuer.renewal_window(&issued).await.ok(), Some(None));
}

#[tokio::test]
async fn what_is_damaged_in_the_storage_is_set_aside_and_replaced() {
    let (outside, folder) = (Outside::new().await, Folder::new());
    let keypair = Keypair::generate_ed25519();
    let config = outside.config().with_storage(&folder.0);
    let first = obtain(&Issuer::new(&keypair, &config)).await.ok().unwrap();
    for damage in 0..3 {
        let files = folder.files();
        for (name, path) in &files {
            let text = fs::read_to_string(path).unwrap();
            let damaged = match damage {
                0 => text[..text.len() / 2].to_owned(),
                1 => String::new(),
                // Of another key, and of no key at all.
                _ if name == CERTIFICATE => {
                    let own = text.split_once("-----BEGIN CERTIFICATE").unwrap().1;
                    let other = KeyPair::generate().unwrap().serialize_pem();
                    format!("{other}-----BEGIN CERTIFICATE{own}")
                }
                _ => "\u{0}".repeat(100),
            };
            fs::write(path, damaged).unwrap();
        }
        let issuer = Issuer::new(&keypair, &config);
        let (none, errors) = issuer.load();
        assert!(none.is_none());
        let set_aside = errors
            .iter()
            .all(|error| matches!(error, Error::SetAside { .. }));
        assert!(set_aside && errors.len() == 2, "{errors:?}");
        assert!(folder.files().contains_key("certificate.pem.refused"));
        let issued = obtain(&issuer).await.ok().unwrap();
        assert_eq!(issued.storage, None);
        assert_ne!(issued.leaf, first.leaf);
        let (found, errors) = Issuer::new(&keypair, &config).load();
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(found.unwrap().leaf, issued.leaf);
        for name in ["certificate.pem.refused", "account-key.pem.refused"] {
            fs::remove_file(&folder.files()[name]).unwrap();
        }
    }
}

#[tokio::test]
async fn a_certificate_of_another_node_is_not_served() {
    let (outside, folder) = (Outside::new().await, Folder::new());
    let config = outside.config().with_storage(&folder.0);
    assert!(obtain(&issuer(&config)).await.is_ok());
    let pem = fs::read_to_string(&folder.files()[CERTIFICATE]).unwrap();
    let other = issuer(&config);
    other.0.storage.write(CERTIFICATE, &pem).unwrap();
    let (none, errors) = other.load();
    assert!(none.is_none());
    assert!(
        errors[0].to_string().contains("it is not for *."),
        "{errors:?}"
    );
}

#[tokio::test]
async fn a_storage_that_cannot_be_written_is_told_and_ends_nothing() {
    let (outside, folder) = (Outside::new().await, Folder::new());
    // A file in place of a folder, which no user can write into.
    let file = folder.0.join("file");
    fs::write(&file, "").unwrap();
    let issuer = issuer(&outside.config().with_storage(&file));
    let (none, errors) = issuer.load();
    assert!(none.is_none() && errors.len() == 3, "{errors:?}");
    let first = obtain(&issuer).await.ok().unwrap();
    assert!(matches!(first.storage, Some(Error::Storage { .. })));
    assert!(issuer.obtain(addresses(), Some(first)).await.is_ok());
    assert_eq!(outside.state().accounts.len(), 1);
    // As soon as it can be written, it is.
    fs::remove_file(&file).unwrap();
    let stored = obtain(&issuer).await.ok().unwrap();
    assert_eq!(stored.storage, None);
    assert_eq!(folder.files().len(), 2, "{:?}", folder.files());
}

/// Nothing is there to be read, and nobody may make a folder.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_storage_that_cannot_be_written_is_told_before_an_order() {
    let config = Outside::new().await.config().with_storage("/proc/autotls");
    let (none, errors) = issuer(&config).load();
    assert!(none.is_none() && errors.len() == 1, "{errors:?}");
    let text = errors[0].to_string();
    assert!(text.contains("ordered again at the next start"), "{text}");
}

#[tokio::test]
async fn the_key_of_a_certificate_is_stored_before_it_is_ordered_and_used_again() {
    let (outside, folder) = (Outside::new().await, Folder::new());
    let keypair = Keypair::generate_ed25519();
    let config = outside.config().with_storage(&folder.0);
    outside
        .state()
        .instead
        .insert("/acme/new-order", problem(503, "serverInternal", "later"));
    assert!(obtain(&Issuer::new(&keypair, &config)).await.is_err());
    let key = fs::read_to_string(&folder.files()[NEXT_KEY]).unwrap();
    outside.state().instead.clear();
    let issuer = Issuer::new(&keypair, &config);
    let issued = obtain(&issuer).await.ok();
    let files = folder.files();
    let stored = || fs::read_to_string(&files[CERTIFICATE]).unwrap();
    assert!(stored().starts_with(&key));
    assert!(!files.contains_key(NEXT_KEY));
    // The next has another.
    assert!(issuer.obtain(addresses(), issued).await.is_ok());
    assert!(!stored().starts_with(&key));
}

#[tokio::test]
async fn a_certificate_that_could_not_be_downloaded_is_not_ordered_again() {
    let (outside, folder) = (Outside::new().await, Folder::new());
    let issuer = issuer(&outside.config().with_storage(&folder.0));
    let down = problem(503, "serverInternal", "later");
    outside.state().instead.insert("/acme/cert", down);
    for _ in 0..MAX_DOWNLOADS {
        let failure = obtain(&issuer).await.err().unwrap();
        assert_eq!(failure.step, Step::Download);
    }
    outside.state().instead.clear();
    assert!(obtain(&issuer).await.is_ok());
    assert_eq!(outside.state().orders.len(), 1);
    // The next is another.
    fs::remove_file(&folder.files()[CERTIFICATE]).unwrap();
    assert!(obtain(&issuer).await.is_ok());
    assert_eq!(outside.state().orders.len(), 2);
}

#[tokio::test]
async fn a_certificate_that_never_comes_is_ordered_again() {
    let outside = Outside::new().await;
    let issuer = issuer(&outside.config());
    let down = problem(503, "serverInternal", "later");
    outside.state().instead.insert("/acme/cert", down);
    for _ in 0..=MAX_DOWNLOADS {
        assert!(obtain(&issuer).await.is_err());
    }
    assert_eq!(outside.state().orders.len(), 1);
    assert!(obtain(&issuer).await.is_err());
    assert_eq!(outside.state().orders.len(), 2);
}

/// As when a swarm is dropped.
#[tokio::test]
async fn an_attempt_may_end_at_any_poll() {
    let (outside, folder) = (Outside::new().await, Folder::new());
    let keypair = Keypair::generate_ed25519();
    let config = outside.config().with_storage(&folder.0);
    let mut was_obtained = false;
    for polls in 1.. {
        let issuer = Issuer::new(&keypair, &config);
        let mut attempt = issuer.obtain(addresses(), None);
        let mut polled = 0;
        let ended = future::poll_fn(|cx| {
            polled += 1;
            match attempt.poll_unpin(cx) {
                Poll::Ready(result) => Poll::Ready(Some(result.is_ok())),
                Poll::Pending if polled == polls => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        let ended = ended.await;
        drop((attempt, issuer));
        // Files that the dropped attempt is still writing are whole or not there.
        let (issued, errors) = Issuer::new(&keypair, &config).load();
        assert!(errors.is_empty(), "after {polls} polls: {errors:?}");
        was_obtained |= issued.is_some();
        if let Some(is_ok) = ended {
            assert!(is_ok && was_obtained && polls > 20, "after {polls} polls");
            break;
        }
    }
}

#[tokio::test]
async fn nobody_is_asked_about_what_cannot_work() {
    let outside = Outside::new().await;
    let issuer = issuer(&outside.config());
    let useless = ["/ip4/192.0.2.1/udp/1/quic-v1", "/dns4/example.com/tcp/1"];
    let useless = useless.map(|address| address.parse().unwrap()).to_vec();
    let failure = issuer.obtain(useless, None).await.err().unwrap();
    assert_eq!(
        (failure.step, failure.error),
        (Step::Broker, Error::NoAddress)
    );
    for url in [
        "",
        "example.com",
        "ftp://example.com",
        "https://",
        "https://user:sesame@example.com",
    ] {
        let strange = [
            outside.config().with_broker(url),
            outside.config().with_acme_directory(url),
        ];
        for config in strange {
            let failure = obtain(&self::issuer(&config)).await.err().unwrap();
            assert!(matches!(failure.error, Error::Url { .. }), "{failure:?}");
            assert!(!failure.error.to_string().contains("sesame"));
        }
    }
    assert!(outside.state().log.is_empty());
}
