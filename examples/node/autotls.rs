//! A certificate for the name of this node, by AutoTLS.

use std::{error::Error, fs, net::SocketAddr, path::PathBuf};

use libp2p::{Multiaddr, Swarm, identity::Keypair, multiaddr::Protocol};
use libp2p_lazy_websocket::{autotls, websocket};

use crate::{Behaviour, chain, say};

/// The options of a node.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Obtain a certificate for the name of this node by AutoTLS, and keep it in this folder. Secure WebSocket is listened
    /// on beside each --listen with TCP or WebSocket on an IP and a port of its own. Needs a public address, see --external.
    #[arg(long, value_name = "DIR", requires = "own")]
    autotls: Option<PathBuf>,
    /// The directory of another ACME server than Let's Encrypt.
    #[arg(long, value_name = "URL", requires = "autotls")]
    autotls_acme: Option<String>,
    /// Another broker than that of libp2p.direct.
    #[arg(long, value_name = "URL", requires = "autotls")]
    autotls_broker: Option<String>,
    /// The domain of that broker.
    #[arg(long, value_name = "NAME", requires = "autotls")]
    autotls_domain: Option<String>,
    /// Trust this certificate of an authority, in PEM, at the ACME server and at the broker.
    #[arg(long, value_name = "FILE", requires = "autotls")]
    autotls_trust: Option<PathBuf>,
    /// Private addresses are enough.
    #[arg(long, requires = "autotls")]
    autotls_private: bool,
    /// The name server of the domain, for a domain that the internet does not know.
    #[arg(long, value_name = "ADDR", requires = "autotls")]
    autotls_dns: Option<SocketAddr>,
    /// A factor for all delays, for tests.
    #[arg(long, value_name = "FACTOR", requires = "autotls", hide = true)]
    autotls_time_scale: Option<f64>,
}

impl Options {
    /// What obtains the certificate, and the configuration that serves it.
    pub(crate) fn behaviour(
        &self,
        keypair: &Keypair,
        websocket: websocket::Config,
    ) -> Result<(Option<autotls::Behaviour>, websocket::Config), Box<dyn Error + Send + Sync>> {
        let Some(folder) = &self.autotls else {
            return Ok((None, websocket));
        };
        let mut config = autotls::Config::default()
            .with_storage(folder)
            .with_private_addresses(self.autotls_private);
        if let Some(url) = &self.autotls_acme {
            config = config.with_acme_directory(url);
        }
        if let Some(url) = &self.autotls_broker {
            config = config.with_broker(url);
        }
        if let Some(domain) = &self.autotls_domain {
            config = config.with_domain(domain);
        }
        if let Some(file) = &self.autotls_trust {
            let anchor = fs::read(file)
                .map_err(|error| error.to_string())
                .and_then(|pem| {
                    websocket::TrustAnchor::from_pem(&pem).map_err(|error| chain(&error))
                });
            config = config
                .with_trust_anchor(anchor.map_err(|error| format!("{}: {error}", file.display()))?);
        }
        if let Some(address) = self.autotls_dns {
            config = config.with_name_server(address);
        }
        if let Some(factor) = self.autotls_time_scale {
            config = config.with_time_scale(factor);
        }
        let certificates = websocket::Certificates::new();
        let websocket = websocket.with_certificates(certificates.clone());
        let behaviour = autotls::Behaviour::new(keypair, certificates, config);
        Ok((Some(behaviour), websocket))
    }
}

/// Listens with the name of this node beside each of these.
pub(crate) fn listen(swarm: &mut Swarm<Behaviour>, beside: &[Multiaddr]) {
    let Some(autotls) = swarm.behaviour_mut().autotls.as_mut() else {
        return;
    };
    let mut listened = Vec::new();
    for address in beside {
        let protocols: Vec<_> = address.iter().collect();
        let is_plain = matches!(
            protocols[..],
            [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(1..)]
                | [
                    Protocol::Ip4(_) | Protocol::Ip6(_),
                    Protocol::Tcp(1..),
                    Protocol::Ws(_)
                ]
        );
        let tcp: Multiaddr = protocols.into_iter().take(2).collect();
        if !is_plain || listened.contains(&tcp) {
            continue;
        }
        if let Err(error) = autotls.listen_on(tcp.clone()) {
            say(format_args!("error {error}"));
        }
        listened.push(tcp);
    }
}

/// Prints the state, if that is another than what was printed last, and what has failed beside it.
pub(crate) fn tell(event: &autotls::Event, swarm: &Swarm<Behaviour>, told: &mut Option<String>) {
    match event {
        autotls::Event::Failed {
            step,
            error,
            retry_in: None,
            ..
        } => say(format_args!("error autotls {step}: {error}")),
        autotls::Event::ListenFailed {
            address, reason, ..
        } => say(format_args!("error {address}: {reason}")),
        autotls::Event::Expired => say("autotls expired"),
        _ => {}
    }
    let Some(autotls) = swarm.behaviour().autotls.as_ref() else {
        return;
    };
    let state = match event {
        // What it is a moment later.
        autotls::Event::Ordering => "ordering".to_owned(),
        _ => autotls.status().state.to_string(),
    };
    if told.as_ref() != Some(&state) {
        say(format_args!("autotls {state}"));
        *told = Some(state);
    }
}
