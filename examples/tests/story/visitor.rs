//! A person with a browser: keeps cookies, follows redirects one by one, fills in forms.

use std::{net::SocketAddr, path::Path, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use reqwest::{Client, Method, RequestBuilder, Response, redirect::Policy};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
    time_provider::{DefaultTimeProvider, TimeProvider},
};

use super::{
    PATIENCE,
    form::{Form, forms},
};

/// One browser.
#[derive(Debug, Clone)]
pub struct Visitor {
    client: Client,
}

/// How a visitor differs from the ordinary one.
#[derive(Debug, Clone)]
pub struct Habits {
    /// `h2` and `http/1.1`, in the order of preference.
    pub protocols: &'static [&'static str],
    /// `Accept-Language`.
    pub languages: Option<&'static str>,
    /// Whether it keeps cookies.
    pub cookies: bool,
    /// Its clock.
    pub clock: Arc<dyn TimeProvider>,
}

impl Default for Habits {
    fn default() -> Self {
        let clock = Arc::new(DefaultTimeProvider);
        Self { protocols: &["h2", "http/1.1"], languages: None, cookies: true, clock }
    }
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Page {
    pub url: String,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Visitor {
    /// A browser that trusts this authority and finds these hosts at this address.
    pub fn new(ca: &Path, hosts: &[&str], address: SocketAddr, habits: &Habits) -> Self {
        let mut tls = tls(ca, Arc::clone(&habits.clock));
        tls.alpn_protocols = habits.protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        let mut headers = HeaderMap::new();
        let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        headers.insert(header::ACCEPT, accept.parse().expect("a value"));
        if let Some(languages) = habits.languages {
            headers.insert(header::ACCEPT_LANGUAGE, languages.parse().expect("a value"));
        }
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(Policy::none())
            .cookie_store(habits.cookies)
            .default_headers(headers)
            .timeout(PATIENCE);
        for host in hosts {
            builder = builder.resolve(host, address);
        }
        Self { client: builder.build().expect("a client") }
    }

    /// A client that goes past the gate, straight to an origin.
    pub fn inside() -> Self {
        let clock = Arc::new(DefaultTimeProvider);
        let tls = tls_of(RootCertStore::empty(), clock);
        let client = Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(PATIENCE);
        Self { client: client.build().expect("a client") }
    }

    /// A request that can still be changed.
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// One request, without following where it leads.
    pub async fn get(&self, url: &str) -> Page {
        Page::of(self.request(Method::GET, url)).await
    }

    /// Types an address: follows redirects to the page at their end.
    pub async fn open(&self, url: &str) -> Page {
        let mut page = self.get(url).await;
        for _ in 0..10 {
            match page.location() {
                Some(next) => page = self.get(&next).await,
                None => return page,
            }
        }
        panic!("{url} leads round in circles")
    }

    /// Posts a form of a page, without following where it leads.
    pub async fn submit(&self, page: &Page, form: &Form) -> Page {
        let url = page.resolve(&form.action);
        let origin = page.url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let request = self.request(Method::POST, &url).header(header::ORIGIN, origin);
        Page::of(request.form(&form.inputs)).await
    }

    /// Posts a form, and goes on to the page that this leads to.
    pub async fn submit_and_follow(&self, page: &Page, form: &Form) -> Page {
        let answer = self.submit(page, form).await;
        match answer.location() {
            Some(next) => self.open(&next).await,
            None => answer,
        }
    }

    /// Opens a protected page and asks for a code. Gives the page for the code.
    pub async fn ask_for_code(&self, url: &str, address: &str) -> Page {
        let login = self.open(url).await;
        let form = login.form_with("email").fill("email", address);
        let page = self.submit_and_follow(&login, &form).await;
        assert_eq!(page.status, 200, "{page:?}");
        page
    }

    /// Types a code. Gives the page that this leads to.
    pub async fn enter_code(&self, page: &Page, code: &str) -> Page {
        self.submit_and_follow(page, &page.form_with("code").fill("code", code)).await
    }
}

impl Page {
    /// Sends a request and reads the answer.
    pub async fn of(request: RequestBuilder) -> Self {
        Self::read(request.send().await.expect("an answer")).await
    }

    async fn read(response: Response) -> Self {
        let (url, status) = (response.url().to_string(), response.status());
        let headers = response.headers().clone();
        Self { url, status, headers, body: response.bytes().await.expect("a whole answer") }
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("text")
    }

    pub fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Where a redirect leads.
    pub fn location(&self) -> Option<String> {
        self.headers.get(header::LOCATION).map(|to| self.resolve(to.to_str().expect("text")))
    }

    /// The host of its URL.
    pub fn host(&self) -> String {
        host_of(&self.url)
    }

    /// The form that has this field and is not about asking for another code.
    pub fn form_with(&self, field: &str) -> Form {
        let form = forms(&self.text())
            .into_iter()
            .find(|form| form.inputs.iter().any(|(name, _)| name == field));
        form.unwrap_or_else(|| panic!("no form with `{field}` on {}: {}", self.url, self.text()))
    }

    /// The value of a cookie that this answer sets.
    pub fn set_cookie(&self, name: &str) -> Option<String> {
        self.headers.get_all(header::SET_COOKIE).iter().find_map(|cookie| {
            let (known, rest) = cookie.to_str().ok()?.split_once('=')?;
            (known == name).then(|| rest.split(';').next().unwrap_or_default().to_owned())
        })
    }

    fn resolve(&self, target: &str) -> String {
        let base = reqwest::Url::parse(&self.url).expect("a URL");
        base.join(target).expect("a target").to_string()
    }
}

/// The host of a URL.
pub fn host_of(url: &str) -> String {
    reqwest::Url::parse(url).expect("a URL").host_str().expect("a host").to_owned()
}

/// A client for programs, which trusts this authority only.
pub fn trusting(ca: &Path) -> reqwest::ClientBuilder {
    let tls = tls(ca, Arc::new(DefaultTimeProvider));
    Client::builder().tls_backend_preconfigured(tls).no_proxy()
}

/// A client's TLS that trusts this authority only.
pub fn tls(ca: &Path, clock: Arc<dyn TimeProvider>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).expect("a PEM file") {
        roots.add(certificate.expect("a certificate")).expect("an authority");
    }
    tls_of(roots, clock)
}

fn tls_of(roots: RootCertStore, clock: Arc<dyn TimeProvider>) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_details(provider, clock)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
