//! The client's side of HTTP peer-id auth, without I/O:
//! <https://github.com/libp2p/specs/blob/master/http/peer-id-auth.md>.
//!
//! The client challenges the server first. If the server does not take that, it challenges the client first. In both forms
//! the body of the request, and whatever else is only for the server, is sent after its signature was verified.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use libp2p_identity::{Keypair, PublicKey};

const SCHEME: &str = "libp2p-PeerID";

/// The least that go-libp2p accepts of a challenge, on both sides.
const MIN_CHALLENGE: usize = 32;

/// As go-libp2p has it.
const MAX_HEADER: usize = 2048;

/// With padding, which the implementations that are there expect; it may be missing in what they send.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One authentication, of one request.
pub(super) struct Handshake<'a> {
    keypair: &'a Keypair,
    /// The `Host` header, as it is sent.
    hostname: &'a str,
    /// Of this node, one for each form.
    challenges: [String; 2],
    state: State,
}

enum State {
    /// This node has sent its challenge.
    Challenged,
    /// The server is verified, and has the signature of this node and the body.
    Answered,
    /// The server has the signature of this node, with another challenge, and no body.
    Signed { server: PublicKey },
    /// The server is verified, and has its token and the body.
    Shown,
}

/// The next request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// The header `Authorization`.
    pub(super) authorization: String,
    /// Whether the server is verified, and may have the body.
    pub(super) has_body: bool,
}

/// What a response says of the authentication.
pub(super) struct Response<'a> {
    /// Whether its status is 401.
    pub(super) is_unauthorized: bool,
    /// Each `WWW-Authenticate` that is text.
    pub(super) www_authenticate: Vec<&'a str>,
    /// Each `Authentication-Info` that is text.
    pub(super) authentication_info: Vec<&'a str>,
}

impl<'a> Handshake<'a> {
    /// With 32 random bytes for each of two challenges, and the first request.
    pub(super) fn start(
        keypair: &'a Keypair,
        hostname: &'a str,
        random: [[u8; 32]; 2],
    ) -> (Self, Next) {
        Self::with_challenges(keypair, hostname, random.map(|bytes| BASE64.encode(bytes)))
    }

    fn with_challenges(
        keypair: &'a Keypair,
        hostname: &'a str,
        challenges: [String; 2],
    ) -> (Self, Next) {
        let authorization = header(&[
            ("challenge-server", &challenges[0]),
            ("public-key", &own_key(keypair)),
        ]);
        let handshake = Self {
            keypair,
            hostname,
            challenges,
            state: State::Challenged,
        };
        let next = Next {
            authorization,
            has_body: false,
        };
        (handshake, next)
    }

    /// The request to send after this response, or `None` if the response is that to the body.
    ///
    /// # Errors
    ///
    /// If the server did not prove its key, or does not accept the proof of this node, in a few words.
    pub(super) fn on_response(
        &mut self,
        response: &Response<'_>,
    ) -> Result<Option<Next>, &'static str> {
        match &self.state {
            State::Challenged if !response.is_unauthorized => {
                Err("it did not ask who this node is")
            }
            State::Challenged => {
                let server = Parameters::of(&response.www_authenticate)?;
                let Some(signature) = server.sig else {
                    return self.sign(&server).map(Some);
                };
                let key = server.key()?;
                self.verify(&key, &self.challenges[0], signature)?;
                let own = self.signature(&server, &key)?;
                let authorization = header(&[("opaque", server.opaque), ("sig", &own)]);
                self.state = State::Answered;
                Ok(Some(Next {
                    authorization,
                    has_body: true,
                }))
            }
            // Another instance of the server than the first, which knows nothing of the first.
            State::Answered if response.is_unauthorized => {
                let server = Parameters::of(&response.www_authenticate)?;
                self.sign(&server).map(Some)
            }
            State::Signed { .. } | State::Shown if response.is_unauthorized => {
                Err("it does not accept the signature of this node")
            }
            State::Signed { server: key } => {
                let server = Parameters::of(&response.authentication_info)?;
                let signature = server.sig.ok_or("it has not signed the challenge")?;
                self.verify(key, &self.challenges[1], signature)?;
                if server.bearer.is_empty() {
                    return Err("it has sent no token");
                }
                let authorization = header(&[("bearer", server.bearer)]);
                self.state = State::Shown;
                Ok(Some(Next {
                    authorization,
                    has_body: true,
                }))
            }
            State::Answered | State::Shown => Ok(None),
        }
    }

    /// The form that the server starts.
    fn sign(&mut self, server: &Parameters<'_>) -> Result<Next, &'static str> {
        let key = server.key()?;
        let authorization = header(&[
            ("public-key", &own_key(self.keypair)),
            ("challenge-server", &self.challenges[1]),
            ("sig", &self.signature(server, &key)?),
            ("opaque", server.opaque),
        ]);
        self.state = State::Signed { server: key };
        Ok(Next {
            authorization,
            has_body: false,
        })
    }

    fn verify(
        &self,
        server: &PublicKey,
        challenge: &str,
        signature: &str,
    ) -> Result<(), &'static str> {
        let signature = BASE64
            .decode(signature)
            .map_err(|_| "its signature is not base64")?;
        let signed = signed_bytes(&[
            ("challenge-server", challenge.as_bytes()),
            (
                "client-public-key",
                &self.keypair.public().encode_protobuf(),
            ),
            ("hostname", self.hostname.as_bytes()),
        ]);
        match server.verify(&signed, &signature) {
            true => Ok(()),
            false => Err("its signature is wrong"),
        }
    }

    fn signature(&self, server: &Parameters<'_>, key: &PublicKey) -> Result<String, &'static str> {
        if server.challenge_client.len() < MIN_CHALLENGE {
            return Err("its challenge is missing, or too short to be random");
        }
        let signed = signed_bytes(&[
            ("challenge-client", server.challenge_client.as_bytes()),
            ("hostname", self.hostname.as_bytes()),
            ("server-public-key", &key.encode_protobuf()),
        ]);
        let signature = self.keypair.sign(&signed);
        Ok(BASE64.encode(signature.map_err(|_| "this node cannot sign")?))
    }
}

/// The parameters of a header of the server, as they are written there.
#[derive(Debug, Default)]
struct Parameters<'a> {
    challenge_client: &'a str,
    public_key: &'a str,
    sig: Option<&'a str>,
    opaque: &'a str,
    bearer: &'a str,
}

impl<'a> Parameters<'a> {
    /// Those of the first header that is of this scheme.
    fn of(headers: &[&'a str]) -> Result<Self, &'static str> {
        const STRANGE: &str = "its header cannot be read";

        let own = headers
            .iter()
            .find_map(|header| Some((header.len(), header.split_once(SCHEME)?.1)));
        let (length, mut rest) = own.ok_or("it does not speak libp2p-PeerID")?;
        if length > MAX_HEADER {
            return Err("its header is too long");
        }
        let mut found = Self::default();
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            // Without a value it is the next scheme.
            let Some((name, after)) = rest.split_once('=') else {
                return Ok(found);
            };
            if name.contains([' ', ',']) {
                return Ok(found);
            }
            let quoted = after.strip_prefix('"').ok_or(STRANGE)?;
            let (value, after) = quoted.split_once('"').ok_or(STRANGE)?;
            rest = after;
            match name {
                "challenge-client" => found.challenge_client = value,
                "public-key" => found.public_key = value,
                "sig" if !value.is_empty() => found.sig = Some(value),
                "opaque" => found.opaque = value,
                "bearer" => found.bearer = value,
                _ => {}
            }
        }
    }

    fn key(&self) -> Result<PublicKey, &'static str> {
        let key = BASE64.decode(self.public_key).ok();
        key.and_then(|key| PublicKey::try_decode_protobuf(&key).ok())
            .ok_or("its public key is missing, or cannot be read")
    }
}

fn own_key(keypair: &Keypair) -> String {
    BASE64.encode(keypair.public().encode_protobuf())
}

/// Parameters without a value are left out.
fn header(parameters: &[(&str, &str)]) -> String {
    let mut header = SCHEME.to_owned();
    let mut separator = " ";
    for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
        header.push_str(&format!("{separator}{name}=\"{value}\""));
        separator = ", ";
    }
    header
}

/// What is signed: the scheme, and the parameters in the order of their names, each with its length in front.
fn signed_bytes(parameters: &[(&str, &[u8])]) -> Vec<u8> {
    debug_assert!(parameters.is_sorted_by_key(|(name, _)| *name));
    let mut bytes = SCHEME.as_bytes().to_vec();
    for (name, value) in parameters {
        let mut length = name.len() + 1 + value.len();
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'=');
        bytes.extend_from_slice(value);
    }
    bytes
}

#[cfg(test)]
pub(super) mod server;
#[cfg(test)]
mod tests;
