use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::connect_info::MockConnectInfo,
    http::{Request, StatusCode, header},
};
use otp_auth::mail::{Mail, MailError, Mailer};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tower::ServiceExt as _;

use super::{POLICIES, application, layer::SESSION};

#[derive(Debug)]
struct Inbox(UnboundedSender<(String, String)>);

#[async_trait]
impl Mailer for Inbox {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        self.0.send((mail.to().to_string(), mail.code().expose().to_owned())).unwrap();
        Ok(())
    }
}

struct Answer {
    status: StatusCode,
    cookies: Vec<String>,
    text: String,
}

impl Answer {
    fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies
            .iter()
            .find_map(|it| it.split(';').next()?.strip_prefix(name)?.strip_prefix('='))
    }
}

struct Site {
    app: Router,
    mails: UnboundedReceiver<(String, String)>,
}

impl Site {
    async fn with(policies: &str) -> Self {
        let (inbox, mails) = unbounded_channel();
        let app = application(policies, Arc::new(Inbox(inbox))).await.unwrap();
        let visitor = MockConnectInfo(SocketAddr::from(([203, 0, 113, 7], 4711)));
        Self { app: app.layer(visitor), mails }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let cookies = response.headers().get_all(header::SET_COOKIE).iter();
        let cookies = cookies.map(|it| it.to_str().unwrap().to_owned()).collect();
        let status = response.status();
        let body = to_bytes(response.into_body(), 100_000).await.unwrap();
        Answer { status, cookies, text: String::from_utf8(body.to_vec()).unwrap() }
    }

    async fn open(&self, cookies: &str) -> Answer {
        self.send(Request::get("/").header(header::COOKIE, cookies).body(Body::empty()).unwrap())
            .await
    }

    async fn post(&self, path: &str, cookies: &str, form: String) -> Answer {
        let request = Request::post(path).header(header::COOKIE, cookies);
        let form_type = "application/x-www-form-urlencoded";
        self.send(request.header(header::CONTENT_TYPE, form_type).body(form.into()).unwrap()).await
    }

    /// The flow's cookie and nonce.
    async fn ask(&self, address: &str) -> (String, String) {
        let page = self.post("/login", "", format!("email={}", address.replace('@', "%40"))).await;
        assert_eq!(page.status, StatusCode::OK);
        let nonce = page.text.split("value=").nth(1).unwrap().split('>').next().unwrap().to_owned();
        (format!("__Host-flow={}", page.cookie("__Host-flow").unwrap()), nonce)
    }

    /// The session cookie of somebody who read their mail.
    async fn sign_in(&mut self, address: &str) -> String {
        let (flow, nonce) = self.ask(address).await;
        let (to, code) = self.mails.recv().await.unwrap();
        assert_eq!(to, address);
        let page = self.post("/code", &flow, format!("nonce={nonce}&code={code}")).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER);
        format!("{SESSION}={}", page.cookie(SESSION).unwrap())
    }
}

#[tokio::test]
async fn whoever_has_a_session_of_the_domain_passes_and_nobody_without_one() {
    let mut site = Site::with(POLICIES).await;
    let answer = site.open("").await;
    assert_eq!(
        (answer.status, &*answer.text),
        (StatusCode::UNAUTHORIZED, "Sign in first: /login\n")
    );
    let alice = site.sign_in("alice@example.jp").await;
    let answer = site.open(&alice).await;
    assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "Hello, alice@example.jp\n"));
    let (name, token) = alice.split_once('=').unwrap();
    for bad in [
        format!("{name}={token}x"),
        format!("{name}="),
        format!("x{alice}"),
        format!("{alice}; {alice}"),
        format!("{name}=\"{token}\""),
    ] {
        assert_eq!(site.open(&bad).await.status, StatusCode::UNAUTHORIZED, "{bad}");
    }
}

#[tokio::test]
async fn another_domain_gets_the_same_page_and_no_mail() {
    let mut site = Site::with(POLICIES).await;
    for address in ["bob@evil.test", "bob@example.jp.evil.test", "bob@sub.example.jp"] {
        let (flow, nonce) = site.ask(address).await;
        let page = site.post("/code", &flow, format!("nonce={nonce}&code=123456")).await;
        assert_eq!((page.status, page.cookie(SESSION)), (StatusCode::FORBIDDEN, None));
    }
    // The next mail is alice's: none went out before.
    site.sign_in("alice@example.jp").await;
    assert!(site.mails.try_recv().is_err());
}

#[tokio::test]
async fn a_good_session_of_somebody_whom_no_policy_admits_is_refused() {
    let with_admin = POLICIES.replace(
        r#"{"applications": ["#,
        r#"{"applications": [{
            "name": "admin", "domain": "localhost/admin",
            "policies": [{"name": "carol", "decision": "allow",
                          "include": [{"email": {"email": "carol@example.jp"}}]}]
        }, "#,
    );
    let mut site = Site::with(&with_admin).await;
    let (alice, carol) =
        (site.sign_in("alice@example.jp").await, site.sign_in("carol@example.jp").await);
    for (cookies, path, expected) in [
        (&*alice, "/", StatusCode::OK),
        (&*alice, "/admin", StatusCode::FORBIDDEN),
        (&*carol, "/admin", StatusCode::OK),
        ("", "/admin", StatusCode::UNAUTHORIZED),
    ] {
        let request = Request::get(path).header(header::COOKIE, cookies).body(Body::empty());
        let answer = site.send(request.unwrap()).await;
        assert_eq!(answer.status, expected, "{path}: {}", answer.text);
    }
    // Nor does a session of another team's open anything here.
    let mut elsewhere = Site::with(&POLICIES.replace("example.jp", "evil.test")).await;
    let mallory = elsewhere.sign_in("mallory@evil.test").await;
    assert_eq!(elsewhere.open(&mallory).await.status, StatusCode::OK);
    assert_eq!(site.open(&mallory).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn whoever_asks_again_keeps_the_flow_and_the_browser_is_known_afterwards() {
    let mut site = Site::with(POLICIES).await;
    let (flow, nonce) = site.ask("alice@example.jp").await;
    let (_, code) = site.mails.recv().await.unwrap();
    // Within the cool-down nothing goes out, and the code stays good.
    let again = format!("email=alice%40example.jp&nonce={nonce}");
    let page = site.post("/login", &flow, again).await;
    assert_eq!((page.status, page.cookies.len()), (StatusCode::OK, 0));
    assert!(page.text.contains(&nonce));
    let page = site.post("/code", &flow, format!("nonce={nonce}&code={code}")).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
    let device = page.cookies.iter().find(|it| it.starts_with("__Host-device=")).unwrap();
    assert!(device.contains("SameSite=Strict") && device.contains("Max-Age="), "{device}");
    // A nonce of nobody's begins anew, and is not repeated on the page.
    let odd = "email=carol%40example.jp&nonce=%3Cscript%3E".to_owned();
    let page = site.post("/login", &flow, odd).await;
    assert!(page.status == StatusCode::OK && !page.text.contains("<script"));
    assert_eq!(site.mails.recv().await.unwrap().0, "carol@example.jp");
}

#[tokio::test]
async fn a_log_out_ends_every_copy_of_the_session_and_no_other() {
    let mut site = Site::with(POLICIES).await;
    let alice = site.sign_in("alice@example.jp").await;
    let carol = site.sign_in("carol@example.jp").await;
    let out = site.post("/logout", &alice, String::new()).await;
    assert_eq!((out.status, out.cookie(SESSION)), (StatusCode::OK, Some("")));
    assert_eq!(
        site.open(&alice).await.status,
        StatusCode::UNAUTHORIZED,
        "the copy is worth nothing"
    );
    assert_eq!(site.open(&carol).await.status, StatusCode::OK);
}
