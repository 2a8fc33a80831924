//! Whom the system trusts, which a process of its own is told by its environment.
#![cfg(all(feature = "system-roots", feature = "tokio", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;
mod common;
#[path = "common/echo.rs"]
mod echo;

use std::{env, fs, path::Path, process::Command};

use authority::{Authority, Leaf};
use common::{Engine, Runtime, cause};
use echo::{assert_echoes, dial, echo};
use libp2p_lazy_websocket::websocket::TlsError;

const ROOTS: &str = "SSL_CERT_FILE";

#[test]
fn whom_the_system_trusts_is_trusted_if_that_is_wanted() {
    let roots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("system-roots.pem");
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--ignored", "in_a_process_of_its_own"])
        .env(ROOTS, &roots)
        .env_remove("SSL_CERT_DIR")
        .status()
        .unwrap();
    assert!(child.success());
}

#[tokio::test]
#[ignore = "run by the other"]
async fn in_a_process_of_its_own() {
    let authority = Authority::new();
    fs::write(env::var_os(ROOTS).unwrap(), authority.pem()).unwrap();
    let case = Runtime::Tokio.with(Engine::Stream);
    let certificates = authority.sign(&Leaf::default()).in_use();
    let config = case.config().with_certificates(certificates);
    let address = echo(case, config, &["/ip4/127.0.0.1/tcp/0/tls/ws"])
        .await
        .remove(0);
    let config = case.config().with_system_roots(true);
    assert_echoes(dial(case, config, &address).await.unwrap()).await;
    let refused = dial(case, case.config(), &address).await.unwrap_err();
    assert!(cause::<TlsError>(&refused).is_some(), "{refused:?}");
}
