//! From the keys of a node to its certificate: the one door to all that needs the network or the disk.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use futures::{FutureExt as _, future::BoxFuture};
use instant_acme::CertificateIdentifier;
use libp2p_identity::Keypair;
use multiaddr::Multiaddr;
use rcgen::{
    CertificateParams, CertificateSigningRequest, DistinguishedName, KeyPair,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use crate::{
    autotls::{
        acme::Acme,
        broker,
        config::Config,
        error::{Error, Failure, Step},
        http::Client,
        name::Name,
        record,
        storage::{ACCOUNT_KEY, CERTIFICATE, NEXT_KEY, Storage},
    },
    deadline,
    websocket::{Certificate, CertificateError},
};

pub(super) use crate::autotls::acme::Window;

/// How often an attempt begins again because of a nonce. instant-acme sends each request three times, and a server may
/// refuse good nonces, as pebble does with every twentieth.
const MAX_BAD_NONCES: usize = 3;

/// How often the certificate of an order is asked for in further attempts, before another is ordered.
const MAX_DOWNLOADS: u32 = 3;

/// Gets certificates for one node. Clones are the same.
#[derive(Clone)]
pub(super) struct Issuer(Arc<Inner>);

struct Inner {
    keypair: Keypair,
    config: Config,
    name: Name,
    client: Client,
    storage: Storage,
    keys: Mutex<Keys>,
}

/// The keys that are in use.
#[derive(Default)]
struct Keys {
    account: Option<Held>,
    /// Of the certificate that is being ordered.
    next: Option<Held>,
    /// The URL of the order that was finalized with that key, and how often its certificate may still be asked for.
    finalized: Option<(String, u32)>,
}

struct Held {
    key: Arc<KeyPair>,
    is_stored: bool,
}

/// A certificate for the name of this node.
#[derive(Clone)]
pub(super) struct Issued {
    pub(super) certificate: Certificate,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// Why it, or a key, was not stored.
    pub(super) storage: Option<Error>,
    leaf: CertificateDer<'static>,
}

impl Issuer {
    pub(super) fn new(keypair: &Keypair, config: &Config) -> Self {
        let name = Name::new(&keypair.public().to_peer_id(), &config.domain);
        Self(Arc::new(Inner {
            keypair: keypair.clone(),
            client: Client::new(&config.trust_anchors),
            storage: Storage::new(config, &name),
            config: config.clone(),
            keys: Mutex::default(),
            name,
        }))
    }

    pub(super) fn name(&self) -> &Name {
        &self.0.name
    }

    /// The stored certificate, which may have expired, and why something stored is not used or nothing can be stored. Asks
    /// no server.
    pub(super) fn load(&self) -> (Option<Issued>, Vec<Error>) {
        let mut errors: Vec<_> = [ACCOUNT_KEY, NEXT_KEY]
            .into_iter()
            .filter_map(|file| self.0.load_key(file))
            .collect();
        let issued = match self.0.storage.read(CERTIFICATE) {
            Ok(None) => None,
            Ok(Some(pem)) => match self.0.check(&pem) {
                Ok(issued) => Some(issued),
                Err(reason) => {
                    errors.push(self.0.storage.set_aside(CERTIFICATE, &reason));
                    None
                }
            },
            Err(error) => {
                errors.push(error);
                None
            }
        };
        if errors.is_empty() {
            errors.extend(self.0.storage.check().err());
        }
        (issued, errors)
    }

    /// Gets a new certificate, or the stored one if that has become valid. `addresses` are those that the broker may connect to, and `renews` is the certificate that is
    /// in use. Without it, the broker is first asked whether it is up.
    ///
    /// Within a tokio runtime. Dropping the future ends the attempt.
    pub(super) fn obtain(
        &self,
        addresses: Vec<Multiaddr>,
        renews: Option<Issued>,
    ) -> BoxFuture<'static, Result<Issued, Failure>> {
        let inner = Arc::clone(&self.0);
        async move {
            for _ in 1..MAX_BAD_NONCES {
                match Arc::clone(&inner).obtain(&addresses, renews.clone()).await {
                    Err(failure) if failure.is_bad_nonce() => {
                        tracing::debug!(step = %failure.step, "the ACME server refused a nonce three times, ordering again");
                    }
                    ended => return ended,
                }
            }
            inner.obtain(&addresses, renews).await
        }
        .boxed()
    }

    /// When the ACME server wants this certificate to be renewed; `None` if it does not say.
    pub(super) fn renewal_window(
        &self,
        issued: &Issued,
    ) -> BoxFuture<'static, Result<Option<Window>, Failure>> {
        let inner = Arc::clone(&self.0);
        let leaf = issued.leaf.clone();
        async move {
            let fail = |error| Failure::new(Step::RenewalInfo, error);
            let (key, _) = inner.key(ACCOUNT_KEY).await.map_err(fail)?;
            let acme = Acme::new(&inner.config, &inner.client).map_err(fail)?;
            acme.renewal_window(key.serialized_der(), &leaf).await
        }
        .boxed()
    }
}

impl Inner {
    async fn obtain(
        self: Arc<Self>,
        addresses: &[Multiaddr],
        renews: Option<Issued>,
    ) -> Result<Issued, Failure> {
        // By a clock that is behind, one that was just issued is not valid yet, and neither is any other.
        if renews.is_none()
            && let Some(stored) = self.stored().await
        {
            match ripe(stored) {
                Err(failure) if !failure.is_early => {}
                stored => return stored,
            }
        }
        if broker::reachable(addresses).is_empty() {
            return Err(Failure::new(Step::Broker, Error::NoAddress));
        }
        let fail = |error| Failure::new(Step::Account, error);
        let acme = Acme::new(&self.config, &self.client).map_err(fail)?;
        if renews.is_none() {
            broker::health(&self.config, &self.client).await?;
        }
        let (account_key, not_stored) = self.key(ACCOUNT_KEY).await.map_err(fail)?;
        let account = acme.account(account_key.serialized_der()).await?;

        let fail = |error| Failure::new(Step::Order, error);
        let (key, next_not_stored) = self.key(NEXT_KEY).await.map_err(fail)?;
        let csr = request(&self.name, &key).map_err(fail)?;
        let replaces = renews
            .as_ref()
            .and_then(|renews| CertificateIdentifier::try_from(&renews.leaf).ok());
        if let Some(url) = self.finalized() {
            if let Some(chain) = acme.resume(&account, url).await? {
                return self
                    .take(&key, &chain, not_stored.or(next_not_stored))
                    .await;
            }
            self.keys().finalized = None;
        }
        let mut order = acme.order(&account, &self.name, replaces).await?;
        let record = self.name.challenge();
        acme.authorize(&mut order, async |value| {
            let (config, client) = (&self.config, &self.client);
            broker::publish(config, client, &self.keypair, &value, addresses).await?;
            record::seen(config, &record, &value).await
        })
        .await?;
        self.keys().finalized = Some((order.url().to_owned(), MAX_DOWNLOADS));
        let chain = acme.finalize(&mut order, csr.der()).await?;
        self.take(&key, &chain, not_stored.or(next_not_stored))
            .await
    }

    /// Checks and stores what the server has issued. `not_stored` says why a key is not.
    async fn take(
        self: Arc<Self>,
        key: &KeyPair,
        chain: &str,
        not_stored: Option<Error>,
    ) -> Result<Issued, Failure> {
        self.keys().finalized = None;
        let pem = format!("{}{chain}", key.serialize_pem());
        let mut issued = self.check(pem.as_bytes()).map_err(refused)?;
        let dates = issued.certificate.check_dates(deadline::wall_clock());
        if !matches!(dates, Err(CertificateError::Expired { .. })) {
            let not_kept = blocking(move || self.keep(&pem)).await.unwrap_or_else(Some);
            issued.storage = not_stored.or(not_kept);
        }
        ripe(issued)
    }

    /// The order whose certificate is still to be downloaded.
    fn finalized(&self) -> Option<String> {
        let mut keys = self.keys();
        let (url, left) = keys.finalized.take()?;
        keys.finalized = (left > 1).then(|| (url.clone(), left - 1));
        Some(url)
    }

    /// The stored certificate, whatever its dates. What cannot be used was told at the start.
    async fn stored(self: &Arc<Self>) -> Option<Issued> {
        let inner = Arc::clone(self);
        let read = blocking(move || {
            let pem = inner.storage.read(CERTIFICATE).ok()??;
            inner.check(&pem).ok()
        });
        read.await.ok().flatten()
    }

    /// The key of this file, which is made and stored if there is none, and why it is not stored.
    async fn key(
        self: &Arc<Self>,
        file: &'static str,
    ) -> Result<(Arc<KeyPair>, Option<Error>), Error> {
        let inner = Arc::clone(self);
        blocking(move || {
            let set_aside = inner.load_key(file);
            let mut keys = inner.keys();
            let held = keys.of(file);
            let held = match held {
                Some(held) => held,
                None => held.insert(Held {
                    key: Arc::new(KeyPair::generate().map_err(|_| Error::Crypto {
                        operation: "making a key",
                    })?),
                    is_stored: false,
                }),
            };
            let mut error = set_aside;
            if !held.is_stored {
                let written = inner.storage.write(file, &held.key.serialize_pem());
                held.is_stored = written.is_ok();
                error = written.err().or(error);
            }
            Ok((Arc::clone(&held.key), error))
        })
        .await?
    }

    /// Reads the key of this file, unless there is one already, and tells why it is not used.
    fn load_key(&self, file: &'static str) -> Option<Error> {
        let mut keys = self.keys();
        let held = keys.of(file);
        if held.is_some() {
            return None;
        }
        let pem = match self.storage.read(file) {
            Ok(pem) => pem?,
            Err(error) => return Some(error),
        };
        let key = std::str::from_utf8(&pem)
            .ok()
            .and_then(|pem| KeyPair::from_pem(pem).ok());
        match key.filter(|key| key.algorithm() == &PKCS_ECDSA_P256_SHA256) {
            Some(key) => {
                *held = Some(Held {
                    key: Arc::new(key),
                    is_stored: true,
                });
                None
            }
            None => Some(
                self.storage
                    .set_aside(file, "it is no ECDSA P-256 key in PEM"),
            ),
        }
    }

    /// Stores a certificate with its key, which is not the next one any longer.
    fn keep(&self, pem: &str) -> Option<Error> {
        *self.keys().of(NEXT_KEY) = None;
        let kept = self.storage.write(CERTIFICATE, pem);
        if kept.is_ok() {
            self.storage.remove(NEXT_KEY);
        }
        kept.err()
    }

    /// A certificate of this node with its key, whatever its dates.
    fn check(&self, pem: &[u8]) -> Result<Issued, String> {
        let certificate = Certificate::from_pem(pem, pem).map_err(|error| error.to_string())?;
        let wildcard = self.name.wildcard();
        if !certificate.verifies(&wildcard) {
            return Err(format!("it is not for {wildcard}"));
        }
        let leaf = CertificateDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
        Ok(Issued {
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            certificate,
            storage: None,
            leaf,
        })
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn of(&mut self, file: &'static str) -> &mut Option<Held> {
        match file {
            ACCOUNT_KEY => &mut self.account,
            _ => &mut self.next,
        }
    }
}

/// A certificate that cannot be served.
fn refused(reason: String) -> Failure {
    Failure::new(Step::Download, Error::Certificate { reason })
}

/// A certificate if it is valid now.
fn ripe(issued: Issued) -> Result<Issued, Failure> {
    match issued.certificate.check_dates(deadline::wall_clock()) {
        Ok(()) => Ok(issued),
        Err(error) => Err(Failure {
            is_early: matches!(error, CertificateError::NotYetValid { .. }),
            ..refused(error.to_string())
        }),
    }
}

/// A request for a certificate, in which nothing is said but the name.
fn request(name: &Name, key: &KeyPair) -> Result<CertificateSigningRequest, Error> {
    let request = CertificateParams::new([name.wildcard()]).and_then(|mut parameters| {
        parameters.distinguished_name = DistinguishedName::new();
        parameters.serialize_request(key)
    });
    request.map_err(|_| Error::Crypto {
        operation: "signing the request for a certificate",
    })
}

/// Runs what reads or writes files.
async fn blocking<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let ran = tokio::task::spawn_blocking(job).await;
    ran.map_err(|_| Error::Crypto {
        operation: "a task of the runtime",
    })
}

#[cfg(test)]
pub(super) mod outside;
#[cfg(test)]
mod tests;
