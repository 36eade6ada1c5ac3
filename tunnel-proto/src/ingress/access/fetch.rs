//! Fetching keys over HTTP.

use std::{error::Error as StdError, future::poll_fn, pin::Pin, sync::Arc};

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, Uri, header};
use http_body::Body;
use tokio_rustls::rustls::ClientConfig;

use super::keys::{Fetch, KeySource, too_long};
use crate::{
    limits,
    origin::{HttpOrigin, OriginBody, RequestBody},
};

type BoxError = Box<dyn StdError + Send + Sync>;

/// Fetches keys from where `certsUrl` says.
#[derive(Debug, Clone)]
pub(in crate::ingress) struct HttpKeySource {
    tls: Option<Arc<ClientConfig>>,
}

impl HttpKeySource {
    /// With what to trust; `https:` fails without.
    pub(in crate::ingress) fn new(tls: Option<Arc<ClientConfig>>) -> Self {
        Self { tls }
    }
}

impl KeySource for HttpKeySource {
    fn fetch(&self, url: &str) -> Fetch {
        Box::pin(get(url.to_owned(), self.tls.clone()))
    }
}

/// A new connection for each: it is needed once an hour.
async fn get(url: String, tls: Option<Arc<ClientConfig>>) -> Result<Bytes, BoxError> {
    let uri: Uri = url.parse()?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("not a whole URL".into());
    };
    let mut origin = HttpOrigin::builder(format!("{scheme}://{authority}"));
    if let Some(tls) = tls {
        origin = origin.tls(tls);
    }
    let request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, authority.as_str())
        .header(header::ACCEPT, "application/json")
        .body(RequestBody::Whole(None))?;
    let response = origin.build()?.send(request).await?;
    if response.status() != StatusCode::OK {
        return Err(format!("answered with {}", response.status()).into());
    }
    read(response.into_body()).await
}

async fn read(mut body: OriginBody) -> Result<Bytes, BoxError> {
    let mut whole = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            if whole.len() + data.len() > limits::ACCESS_KEYS_BYTES {
                return Err(too_long().into());
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}
