//! The broker and the authority of the tests of AutoTLS, by themselves. Needs Go.
#![cfg(all(feature = "interop", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;
#[path = "common/forge.rs"]
mod forge;
#[path = "common/gate.rs"]
mod gate;
#[path = "common/go.rs"]
mod go;
#[path = "common/ports.rs"]
mod ports;
#[path = "common/process.rs"]
mod process;

use std::time::Duration;

use forge::Forge;
use process::Scene;

#[tokio::test]
async fn both_answer_and_each_can_be_away() {
    let scene = Scene::default();
    let Some(mut forge) = Forge::start(&scene, Duration::from_secs(60)).await else {
        return;
    };
    let health = format!("{}/v1/health", forge.broker_url);
    let directory = forge.directory_url.clone();
    let root = forge.issuing_root().await;
    assert!(root.starts_with("-----BEGIN CERTIFICATE-----"), "{root}");
    assert_eq!(forge.get(&health).await.unwrap().0, 204);
    let (status, text) = forge.get(&directory).await.unwrap();
    assert_eq!(status, 200);
    assert!(text.contains("newOrder"), "{text}");

    forge.stop_broker().await;
    forge.get(&health).await.unwrap_err();
    assert_eq!(forge.get(&directory).await.unwrap().0, 200);
    forge.start_broker(&scene).await;
    assert_eq!(forge.get(&health).await.unwrap().0, 204);

    forge.stop_pebble().await;
    forge.get(&directory).await.unwrap_err();
    assert_eq!(forge.get(&health).await.unwrap().0, 204);
    forge.start_pebble(&scene).await;
    assert_eq!(forge.get(&directory).await.unwrap().0, 200);
    assert_ne!(forge.issuing_root().await, root);
}

/// An IP in a name below the domain is what the name leads to.
#[tokio::test]
async fn the_broker_answers_questions_for_names() {
    let scene = Scene::default();
    let Some(forge) = Forge::start(&scene, Duration::from_secs(60)).await else {
        return;
    };
    let peer = "k51qzi5uqu5dgutdk6i1ynyzgkqngpha5xpgia3a5qqp4jsh0u4csozksxel2r";
    let name = format!("203-0-113-7.{peer}.{}", forge.domain);
    let mut question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec();
    for label in name.split('.') {
        question.push(label.len().try_into().unwrap());
        question.extend(label.as_bytes());
    }
    question.extend(b"\x00\x00\x01\x00\x01");
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&question, forge.dns).await.unwrap();
    let mut answer = [0; 1024];
    let received = tokio::time::timeout(process::PATIENCE, socket.recv(&mut answer)).await;
    let answer = &answer[..received.unwrap().unwrap()];
    assert!(
        answer.ends_with(&[203, 0, 113, 7]) || answer.windows(4).any(|ip| ip == [203, 0, 113, 7])
    );
}
