//! The side of the server, for tests.

use base64::Engine as _;
use libp2p_identity::{Keypair, PublicKey};

use super::{BASE64, header, signed_bytes};

/// A server that authenticates one client at a time. Its key is its opaque value too, so that no other instance takes it.
pub(in crate::autotls) struct Server {
    pub(in crate::autotls) keypair: Keypair,
    /// Whether it knows the form that the client starts.
    pub(in crate::autotls) takes_challenges: bool,
    /// Whether its signatures are wrong.
    pub(in crate::autotls) lies: bool,
    client: Option<PublicKey>,
}

/// What it answers.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::autotls) enum Reply {
    /// 401, with this `WWW-Authenticate`.
    Unauthorized(String),
    /// Whatever the resource answers to this client, with this `Authentication-Info`.
    Welcome(PublicKey, String),
    /// 400.
    Bad(&'static str),
}

const CHALLENGE: &str = "ERERERERERERERERERERERERERERERERERERERERERE=";
const BEARER: &str = "YmVhcmVy";

impl Server {
    pub(in crate::autotls) fn new(keypair: Keypair) -> Self {
        Self {
            keypair,
            takes_challenges: true,
            lies: false,
            client: None,
        }
    }

    pub(in crate::autotls) fn answer(&mut self, host: &str, authorization: Option<&str>) -> Reply {
        let own_key = BASE64.encode(self.keypair.public().encode_protobuf());
        let challenge = |sig: &str| {
            Reply::Unauthorized(header(&[
                ("challenge-client", CHALLENGE),
                ("public-key", &own_key),
                ("sig", sig),
                ("opaque", &own_key),
            ]))
        };
        let text = authorization.unwrap_or_default();
        let value = |name: &str| {
            let after = text.split_once(&format!("{name}=\""))?.1;
            Some(after.split_once('"')?.0.to_owned())
        };
        let key = value("public-key")
            .map(|key| PublicKey::try_decode_protobuf(&BASE64.decode(key).unwrap()).unwrap());
        match (
            value("bearer"),
            value("sig"),
            value("challenge-server"),
            key,
        ) {
            (Some(bearer), None, None, None) if bearer == BEARER => match self.client.take() {
                Some(client) => Reply::Welcome(client, String::new()),
                None => challenge(""),
            },
            (None, None, Some(ours), Some(client)) if self.takes_challenges => {
                if ours.len() < 32 {
                    return Reply::Bad("short challenge");
                }
                let sig = self.sign(host, &ours, &client);
                self.client = Some(client);
                challenge(&sig)
            }
            (None, Some(sig), None, None) if value("opaque").as_ref() == Some(&own_key) => {
                match self.client.take() {
                    Some(client) if self.verifies(host, &sig, &client) => {
                        Reply::Welcome(client, header(&[("bearer", BEARER)]))
                    }
                    Some(_) => Reply::Bad("wrong signature"),
                    None => challenge(""),
                }
            }
            (None, Some(sig), Some(ours), Some(client))
                if value("opaque").as_ref() == Some(&own_key) =>
            {
                if !self.verifies(host, &sig, &client) {
                    return Reply::Bad("wrong signature");
                }
                let own = self.sign(host, &ours, &client);
                let info = header(&[("sig", &own), ("bearer", BEARER)]);
                self.client = Some(client.clone());
                Reply::Welcome(client, info)
            }
            _ => challenge(""),
        }
    }

    fn sign(&self, host: &str, challenge: &str, client: &PublicKey) -> String {
        let mut signed = signed_bytes(&[
            ("challenge-server", challenge.as_bytes()),
            ("client-public-key", &client.encode_protobuf()),
            ("hostname", host.as_bytes()),
        ]);
        if self.lies {
            signed.push(0);
        }
        BASE64.encode(self.keypair.sign(&signed).unwrap())
    }

    fn verifies(&self, host: &str, sig: &str, client: &PublicKey) -> bool {
        let signed = signed_bytes(&[
            ("challenge-client", CHALLENGE.as_bytes()),
            ("hostname", host.as_bytes()),
            (
                "server-public-key",
                &self.keypair.public().encode_protobuf(),
            ),
        ]);
        client.verify(&signed, &BASE64.decode(sig).unwrap())
    }
}
