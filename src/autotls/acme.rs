//! The requests to the ACME server, from the account to the certificate.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use http_body_util::BodyExt as _;
use hyper::{
    HeaderMap, Method, Request,
    body::Bytes,
    header::{HeaderValue, LOCATION, RETRY_AFTER},
};
use instant_acme::{
    Account, AccountBuilder, AuthorizationStatus, BodyWrapper, BytesResponse,
    CertificateIdentifier, ChallengeType, HttpClient, Identifier, Key, NewOrder, Order,
    OrderStatus, Problem, RetryPolicy,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{
    autotls::{
        config::Config,
        error::{Error, Failure, Step, chain, printable},
        http::{self, Client},
        name::Name,
    },
    deadline,
};

const OF: &str = "directory of the ACME server";

/// For the validation, and again for the certificate.
const POLL_TIMEOUT: Duration = Duration::from_secs(120);

/// Until the renewal information is asked for again, if the server does not say.
const ASK_AGAIN: &str = "21600";

/// When an ACME server wants a certificate to be renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: SystemTime,
    pub(super) end: SystemTime,
    pub(super) ask_again_in: Option<Duration>,
}

/// An ACME server, as one node uses it.
pub(super) struct Acme<'a> {
    config: &'a Config,
    client: Client,
    server: String,
    /// The wait that the last response asked for, if it was an error.
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl<'a> Acme<'a> {
    pub(super) fn new(config: &'a Config, client: &Client) -> Result<Self, Error> {
        let url = http::url(OF, &config.acme_directory)?;
        Ok(Self {
            config,
            client: client.clone(),
            server: http::host(&url),
            retry_after: Arc::default(),
        })
    }

    /// The account of this key, which is created if the server does not have it, or no longer.
    pub(super) async fn account(&self, key: &[u8]) -> Result<Account, Failure> {
        let fail = |error| self.failure(Step::Account, error);
        let pkcs8 = PrivatePkcs8KeyDer::from(key.to_vec());
        let own = Key::from_pkcs8_der(pkcs8.clone_key()).map_err(fail)?;
        let directory = self.config.acme_directory.clone();
        let created = self
            .builder()
            .create_from_key((own, PrivateKeyDer::Pkcs8(pkcs8)), directory);
        let (account, _) = created.await.map_err(fail)?;
        if let Some(contact) = &self.config.contact {
            let address = contact.strip_prefix("mailto:").unwrap_or(contact);
            let url = format!("mailto:{address}");
            account.update_contacts(&[&url]).await.map_err(fail)?;
        }
        Ok(account)
    }

    /// An order for the wildcard. If it `replaces` a certificate and the server does not accept that, one that replaces
    /// none.
    pub(super) async fn order(
        &self,
        account: &Account,
        name: &Name,
        replaces: Option<CertificateIdentifier<'_>>,
    ) -> Result<Order, Failure> {
        let identifiers = [Identifier::Dns(name.wildcard())];
        if let Some(replaces) = replaces {
            let order = NewOrder::new(&identifiers).replaces(replaces);
            match account.new_order(&order).await {
                Ok(order) => return Ok(order),
                Err(error) => {
                    let error = self.failure(Step::Order, error).error;
                    tracing::debug!(%error, "ordering again, without the certificate that is replaced");
                }
            }
        }
        let order = account.new_order(&NewOrder::new(&identifiers)).await;
        order.map_err(|error| self.failure(Step::Order, error))
    }

    /// Proves that the name is this node's: `publish` is given the value of the TXT record, and ends when it can be seen.
    pub(super) async fn authorize<F>(
        &self,
        order: &mut Order,
        publish: impl Fn(String) -> F,
    ) -> Result<(), Failure>
    where
        F: Future<Output = Result<(), Failure>>,
    {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization =
                authorization.map_err(|error| self.failure(Step::Order, error))?;
            match authorization.status {
                // The server remembers it from an earlier order.
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                _ => return Err(self.invalid(&authorization.challenges, None)),
            }
            let challenge = authorization.challenge(ChallengeType::Dns01);
            let mut challenge = challenge.ok_or_else(|| {
                let reason = "it does not validate by DNS".to_owned();
                Failure::new(Step::Order, self.answer(reason))
            })?;
            publish(challenge.key_authorization().dns_value()).await?;
            challenge.set_ready().await.map_err(|error| Failure {
                is_validation: matches!(error, instant_acme::Error::Api(_)),
                ..self.failure(Step::Validation, error)
            })?;
        }
        let error = match order.poll_ready(&self.policy()).await {
            Ok(OrderStatus::Invalid) => None,
            Ok(_) => return Ok(()),
            Err(instant_acme::Error::Api(problem)) if order.state().error.is_some() => {
                Some(problem)
            }
            Err(error) => return Err(self.failure(Step::Validation, error)),
        };
        // The cause is in the challenge.
        let mut authorizations = order.authorizations();
        if let Some(Ok(mut authorization)) = authorizations.next().await
            && let Ok(state) = authorization.refresh().await
        {
            return Err(self.invalid(&state.challenges, error));
        }
        Err(self.invalid(&[], error))
    }

    /// Sends the request for the certificate, and waits for the chain, in PEM.
    pub(super) async fn finalize(&self, order: &mut Order, csr: &[u8]) -> Result<String, Failure> {
        let finalized = order.finalize_csr(csr).await;
        finalized.map_err(|error| self.failure(Step::Finalize, error))?;
        self.download(order).await
    }

    /// The chain of an order that was finalized in an attempt that failed then; `None` if there will be none.
    pub(super) async fn resume(
        &self,
        account: &Account,
        url: String,
    ) -> Result<Option<String>, Failure> {
        let order = account.order(url).await;
        let mut order = order.map_err(|error| self.failure(Step::Download, error))?;
        match order.state().status {
            OrderStatus::Valid | OrderStatus::Processing => {
                self.download(&mut order).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    async fn download(&self, order: &mut Order) -> Result<String, Failure> {
        order
            .poll_certificate(&self.policy())
            .await
            .map_err(|error| {
                let step = match (&error, order.state().status) {
                    (_, OrderStatus::Valid) => Step::Download,
                    _ => Step::Finalize,
                };
                self.failure(step, error)
            })
    }

    /// When the server wants the certificate to be renewed; `None` if it does not say.
    pub(super) async fn renewal_window(
        &self,
        key: &[u8],
        certificate: &CertificateDer<'_>,
    ) -> Result<Option<Window>, Failure> {
        let fail = |error| self.failure(Step::RenewalInfo, error);
        let Ok(identifier) = CertificateIdentifier::try_from(certificate) else {
            return Ok(None);
        };
        // The account is not looked up: the request is not signed.
        let directory = self.config.acme_directory.clone();
        let pkcs8 = PrivatePkcs8KeyDer::from(key.to_vec());
        let account = self.builder().from_parts(String::new(), pkcs8, directory);
        let account = account.await.map_err(fail)?;
        let (info, again) = match account.renewal_info(&identifier).await {
            Ok(found) => found,
            Err(instant_acme::Error::Unsupported(_)) => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let window = info.suggested_window;
        if window.end <= window.start {
            let reason = "its renewal window ends before it begins".to_owned();
            return Err(Failure::new(Step::RenewalInfo, self.answer(reason)));
        }
        Ok(Some(Window {
            start: window.start.into(),
            end: window.end.into(),
            ask_again_in: Some(again),
        }))
    }

    fn builder(&self) -> AccountBuilder {
        Account::builder_with_http(Box::new(Http {
            client: self.client.clone(),
            retry_after: Arc::clone(&self.retry_after),
        }))
    }

    fn policy(&self) -> RetryPolicy {
        RetryPolicy::new()
            .initial_delay(self.config.scaled(Duration::from_secs(1)))
            .backoff(1.5)
            .timeout(POLL_TIMEOUT)
    }

    fn answer(&self, reason: String) -> Error {
        Error::Answer {
            server: self.server.clone(),
            reason,
        }
    }

    fn failure(&self, step: Step, error: instant_acme::Error) -> Failure {
        let error = match error {
            instant_acme::Error::Api(problem) => problem_error(&problem),
            instant_acme::Error::Timeout(_) => Error::TimedOut {
                server: self.server.clone(),
                after: POLL_TIMEOUT,
            },
            instant_acme::Error::Crypto | instant_acme::Error::KeyRejected => Error::Crypto {
                operation: "signing with the key of the ACME account",
            },
            instant_acme::Error::Other(error) => match error.downcast::<Error>() {
                Ok(own) => *own,
                Err(error) => self.answer(chain(&*error)),
            },
            error => self.answer(chain(&error)),
        };
        let retry_after = *self
            .retry_after
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Failure {
            retry_after,
            ..Failure::new(step, error)
        }
    }

    /// The name was not validated, for the reason in a challenge or else in the order.
    fn invalid(&self, challenges: &[instant_acme::Challenge], order: Option<Problem>) -> Failure {
        let problem = challenges.iter().find_map(|found| found.error.as_ref());
        let error = problem.or(order.as_ref()).map_or_else(
            || self.answer("the order is invalid, without a reason".to_owned()),
            problem_error,
        );
        Failure {
            is_validation: true,
            ..Failure::new(Step::Validation, error)
        }
    }
}

fn problem_error(problem: &Problem) -> Error {
    let details = problem.subproblems.iter().map(|found| &found.detail);
    let mut texts: Vec<_> = [&problem.detail]
        .into_iter()
        .chain(details)
        .flatten()
        .collect();
    texts.dedup();
    let texts: Vec<_> = texts.into_iter().map(String::as_str).collect();
    Error::Acme {
        kind: problem.r#type.as_deref().map(printable),
        text: match &*texts {
            [] => "the ACME server refuses, without a reason".to_owned(),
            texts => printable(&texts.join("; ")),
        },
    }
}

/// What carries the requests of instant-acme.
struct Http {
    client: Client,
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let client = self.client.clone();
        let seen = Arc::clone(&self.retry_after);
        let other = |error| instant_acme::Error::Other(Box::new(error));
        Box::pin(async move {
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let server = http::host(request.uri());
            // Of the renewal information, beside the directory.
            let is_get = request.method() == Method::GET;
            let (head, body) = request.into_parts();
            let Ok(body) = body.collect().await;
            let request = Request::from_parts(head, body.to_bytes());
            let sent = client.send(request, http::TIMEOUT).await;
            let mut response = sent.map_err(other)?;
            let is_error = !response.status().is_success();
            let wait = clamp(response.headers_mut(), is_get);
            if is_error {
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = wait;
            }
            // instant-acme takes a redirect for success, any body for a problem, and does not look at the status of a GET.
            if response.status().is_redirection() {
                let to = response.headers().get(LOCATION);
                let to = to.map(|to| String::from_utf8_lossy(to.as_bytes()));
                let reason = printable(&format!("it redirects to {}", to.unwrap_or_default()));
                return Err(other(Error::Answer { server, reason }));
            }
            if is_error {
                match serde_json::from_slice::<Problem>(response.body()) {
                    Ok(problem) if is_get => return Err(instant_acme::Error::Api(problem)),
                    Ok(_) => {}
                    Err(_) => return Err(other(http::unexpected(server, &response))),
                }
            }
            let (parts, body) = response.into_parts();
            Ok(BytesResponse {
                parts,
                body: Box::new(body),
            })
        })
    }
}

/// Makes the `Retry-After` one that instant-acme can add to the clock, and returns it if the server has sent one. The
/// renewal information always has one.
fn clamp(headers: &mut HeaderMap, is_renewal_info: bool) -> Option<Duration> {
    let wait = http::retry_after(headers, deadline::wall_clock());
    let value = wait.map(|wait| HeaderValue::from(wait.as_secs()));
    let missing = is_renewal_info.then(|| HeaderValue::from_static(ASK_AGAIN));
    match value.or(missing) {
        Some(value) => headers.insert(RETRY_AFTER, value),
        None => headers.remove(RETRY_AFTER),
    };
    wait
}
