//! The service over the rules.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use arc_swap::ArcSwapOption;
use http::{Request, Response, StatusCode};
use tower_service::Service;

use super::{
    configuration::Configuration, environment::Environment, problem::Problems, table::Table,
};
use crate::{
    error::Error,
    net::body::Incoming,
    origin::{OriginBody, OriginError, status},
};

/// Answers each request by the first rule that fits it. Clones share their rules.
///
/// The rules can be replaced at any time; requests under way keep the rule that they began with.
/// Before there are any, every request is answered with 503.
///
/// ```
/// use tunnel_proto::ingress::{Environment, Ingress};
///
/// let ingress = Ingress::from_yaml("
/// ingress:
///   - hostname: app.example.com
///     service: http://127.0.0.1:8080
///   - service: http_status:404
/// ", Environment::new())?;
///
/// // A push that can't be used changes nothing.
/// let error = ingress.replace(br#"{"ingress": []}"#).unwrap_err();
/// assert!(error.is_caller_fault());
/// ingress.replace(br#"{"ingress": [{"service": "hello_world"}]}"#)?;
/// # Ok::<(), tunnel_proto::Error>(())
/// ```
#[derive(Clone)]
pub struct Ingress {
    shared: Arc<Shared>,
}

struct Shared {
    table: ArcSwapOption<Table>,
    /// Held while rules are changed: the former table's keys go over to one next table.
    changing: Mutex<()>,
    environment: Environment,
}

impl Ingress {
    /// No rules yet: 503, until [`replace`](Self::replace) brings some.
    pub fn empty(environment: Environment) -> Self {
        let (table, changing) = (ArcSwapOption::empty(), Mutex::new(()));
        Self { shared: Arc::new(Shared { table, changing, environment }) }
    }

    /// Reads rules as [`Configuration::from_yaml`] does.
    ///
    /// # Errors
    ///
    /// The caller's fault; the [`Problems`] are the error's source.
    pub fn from_yaml(text: &str, environment: Environment) -> Result<Self, Error> {
        Self::from_configuration(Configuration::from_yaml(text)?, environment)
    }

    /// Makes origins for rules. Authorities that rules name (`caPool`) are read now.
    ///
    /// # Errors
    ///
    /// The caller's fault: authorities that can't be read, or TLS that the environment lacks. The
    /// [`Problems`] are the error's source.
    pub fn from_configuration(
        configuration: Configuration,
        environment: Environment,
    ) -> Result<Self, Error> {
        let ingress = Self::empty(environment);
        ingress.put(configuration)?;
        Ok(ingress)
    }

    /// Puts a pushed configuration into force, in the shape of [`Configuration::from_json`].
    ///
    /// # Errors
    ///
    /// As above; the former rules stay in force.
    pub fn replace(&self, json: &[u8]) -> Result<(), Error> {
        self.put(Configuration::from_json(json)?)
    }

    /// The rules in force.
    pub fn configuration(&self) -> Option<Configuration> {
        self.shared.table.load().as_ref().map(|table| table.configuration.clone())
    }

    fn put(&self, configuration: Configuration) -> Result<(), Error> {
        let Shared { table, changing, environment } = &*self.shared;
        let _one_at_a_time = changing.lock().unwrap_or_else(PoisonError::into_inner);
        let former = table.load();
        let next: Result<Table, Problems> =
            Table::build(configuration, environment, former.as_deref());
        table.store(Some(Arc::new(next?)));
        Ok(())
    }
}

impl Service<Request<Incoming>> for Ingress {
    type Response = Response<OriginBody>;
    type Error = OriginError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, OriginError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OriginError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        match self.shared.table.load_full() {
            Some(table) => Box::pin(table.answer(request)),
            None => Box::pin(std::future::ready(Ok(status(StatusCode::SERVICE_UNAVAILABLE)))),
        }
    }
}

impl fmt::Debug for Ingress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingress")
            .field("configuration", &self.configuration())
            .field("environment", &self.shared.environment)
            .finish()
    }
}
