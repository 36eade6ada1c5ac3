//! What answers requests, whatever its types.

use std::{error::Error as StdError, future::poll_fn};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::net::body::Incoming;

/// An error of somebody else's type.
pub(super) type BoxError = Box<dyn StdError + Send + Sync>;

/// A tower service over `http` types that can answer many requests at once.
///
/// Implemented for every `tower::Service<Request<Incoming>, Response = Response<impl Body>>` that
/// is `Clone + Send + Sync + 'static` and whose futures are `Send`: an
/// [`HttpOrigin`](crate::origin::HttpOrigin), an axum router. There is nothing to implement by
/// hand.
pub trait HttpService: Clone + Send + Sync + 'static {
    /// The response's body.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>> + Send + 'static;

    /// Answers one request.
    fn answer(
        self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Self::Body>, Box<dyn StdError + Send + Sync>>> + Send;
}

impl<S, B> HttpService for S
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Body = B;

    async fn answer(mut self, request: Request<Incoming>) -> Result<Response<B>, BoxError> {
        poll_fn(|cx| self.poll_ready(cx)).await.map_err(Into::into)?;
        let response = self.call(request);
        response.await.map_err(Into::into)
    }
}
