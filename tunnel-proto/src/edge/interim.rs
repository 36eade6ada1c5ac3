//! Interim responses on their way to a visitor.

use std::{fmt, sync::Arc};

use http::Response;

/// Hears a request's interim responses, such as `103 Early Hints` (RFC 8297), put into its
/// extensions.
///
/// At most 16 of a request are passed on, each with the origin's headers and without a body.
/// `100` and `101` concern one connection and are not among them. cloudflared swallows all of
/// them.
///
/// ```
/// use http::Request;
/// use tunnel_proto::edge::OnInterim;
///
/// let hear = OnInterim::new(|interim| println!("{}", interim.status()));
/// let request = Request::get("https://app.example.com/").extension(hear).body(())?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone)]
pub struct OnInterim(Arc<dyn Fn(Response<()>) + Send + Sync>);

impl OnInterim {
    /// Calls `hear` for each, before the final response is there. It must not block.
    pub fn new(hear: impl Fn(Response<()>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    pub(crate) fn hear(&self, interim: Response<()>) {
        (self.0)(interim);
    }
}

impl fmt::Debug for OnInterim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnInterim").finish_non_exhaustive()
    }
}
