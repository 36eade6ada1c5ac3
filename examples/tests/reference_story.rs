//! The reference story, told by real processes: nginx behind a connector, an edge in front, a mail
//! server that takes everything, and visitors with browsers of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test")]

mod story;

use http::HeaderValue;
use reqwest::Method;
use sekimori::locale::Locale;
use serde_json::Value;
use story::{
    form::{forms, unescape},
    mail_server::MailServer,
    nginx::{self, Nginx},
    process::Program,
    site::{APP_HOST, OTHER_HOST, Site, TEAM_HOST, WITH_LOGIN},
    visitor::{Habits, Page, Visitor, host_of},
};
use tunnel_proto::{Credentials, TunnelSecret};

/// Of equal length, so that pages for the one and the other are too.
const ADMITTED: &str = "alice@example.jp";
const DENIED: &str = "alice@examp1e.jp";

const AUTHORIZATION: &str = "__Host-CF_Authorization";
const FLOW: &str = "__Host-CF_Flow";

/// Everything that a story needs.
struct Stage {
    nginx: Nginx,
    mail: MailServer,
    site: Site,
    edge: Program,
    connector: Program,
}

impl Stage {
    async fn set() -> Self {
        let (nginx, mail) = (Nginx::start().await, MailServer::start().await);
        let site = Site::new(WITH_LOGIN, mail.address);
        let (edge, connector) = site.start(&nginx.url()).await;
        Self { nginx, mail, site, edge, connector }
    }

    /// A path of the application.
    fn app(&self, path: &str) -> String {
        self.site.url(APP_HOST, path)
    }

    /// Signs a visitor in, and gives the page that this ends on.
    async fn sign_in(&mut self, visitor: &Visitor, path: &str, address: &str) -> Page {
        let page = visitor.ask_for_code(&self.app(path), address).await;
        self.edge.next_event("code_sent").await;
        visitor.enter_code(&page, &self.mail.newest().code()).await
    }

    /// Asks nginx for a path that nobody else asks for, and gives all requests before that.
    async fn requests_so_far(&self) -> Vec<Value> {
        // Asked directly, so it needs no session.
        let answer = self.nginx.get("/sentinel").await;
        assert_eq!(answer.status, 204);
        let mut requests = self.nginx.requests_up_to("/sentinel").await;
        requests.pop();
        requests
    }
}

#[tokio::test]
#[ignore = "needs nginx and aiosmtpd"]
async fn the_reference_story() {
    let mut stage = Stage::set().await;
    let alice = stage.site.visitor();

    // Plain HTTP is sent to HTTPS, with the whole address.
    let plain = format!("http://{APP_HOST}:{}/index.html?week=7", stage.site.http.port());
    let page = alice.get(&plain).await;
    assert_eq!(page.status, 308);
    assert_eq!(page.location().unwrap(), stage.app("/index.html?week=7"));

    // HTTPS is sent to the login, on a host of its own.
    let page = alice.get(&page.location().unwrap()).await;
    assert_eq!(page.status, 302);
    assert_eq!(page.header("www-authenticate"), "Cloudflare-Access");
    let login = page.location().unwrap();
    assert_eq!(host_of(&login), TEAM_HOST);
    let login = alice.open(&login).await;
    assert_eq!(login.status, 200);
    assert!(login.text().contains(Locale::En.text("login.headline")), "{}", login.text());
    assert_page_is_locked_down(&login);

    // A wrong domain gets no mail. The right address gets one. The pages do not tell which.
    let mallory = stage.site.visitor();
    let page = mallory.open(&stage.app("/index.html?week=7")).await;
    let form = page.form_with("email").fill("email", DENIED);
    let not_sent = mallory.submit(&page, &form).await;
    let denied = mallory.open(&not_sent.location().unwrap()).await;
    let event = stage.edge.next_event("code_not_sent").await;
    assert_eq!(event["address"], "a***@examp1e.jp", "not in full");
    let form = login.form_with("email").fill("email", ADMITTED);
    let sent = alice.submit(&login, &form).await;
    assert_eq!(sent.status, 303);
    let flow = sent.set_cookie(FLOW).unwrap();
    let admitted = alice.open(&sent.location().unwrap()).await;
    stage.edge.next_event("code_sent").await;
    assert_same_but_for_secrets(&not_sent, &sent);
    assert_same_but_for_secrets(&denied, &admitted);
    assert_eq!(stage.mail.mails().len(), 1, "one mail, and only to who is admitted");
    let mail = stage.mail.newest();
    let code = mail.code();
    assert_eq!(mail.0["to"], serde_json::json!([ADMITTED]));
    assert_mail_is_as_it_should_be(&mail);

    // A wrong code is refused, and the page says no more than that.
    let wrong = other_code(&code);
    let refused = alice.enter_code(&admitted, &wrong).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains(Locale::En.text("code.error.wrong")));
    assert_eq!(stage.edge.next_event("code_refused").await["reason"], "wrong code");
    // A guess at the code that was never sent looks the same.
    let guessed = mallory.enter_code(&denied, &wrong).await;
    stage.edge.next_event("code_refused").await;
    assert_same_but_for_secrets(&guessed, &refused);

    // The right code is refused in another browser, whosever sign-in it is typed into.
    let page = mallory.enter_code(&denied, &code).await;
    assert_eq!(page.status, 403);
    stage.edge.next_event("code_refused").await;
    let nonce = admitted.form_with("code").value("nonce").to_owned();
    let form = denied.form_with("code").fill("code", &code).fill("nonce", &nonce);
    assert_eq!(mallory.submit_and_follow(&denied, &form).await.status, 403);
    let event = stage.edge.next_event("code_refused").await;
    assert_eq!(event["reason"], "flow cookie missing or of another flow");

    // Nothing has reached nginx yet.
    assert_eq!(stage.requests_so_far().await, Vec::<Value>::new());

    // The right code opens the page that was asked for first.
    let form = refused.form_with("code").fill("code", &code);
    let accepted = alice.submit(&refused, &form).await;
    assert_eq!(accepted.status, 303);
    let handover = accepted.location().unwrap();
    assert_eq!(host_of(&handover), APP_HOST);
    let page = alice.open(&handover).await;
    assert_eq!(
        (page.status, page.url.as_str()),
        (200.try_into().unwrap(), &*stage.app("/index.html?week=7"))
    );
    assert_eq!(stage.edge.next_event("signed_in").await["address"], "a***@example.jp");

    // ... byte for byte as nginx has it.
    for path in ["/index.html", "/", "/photo.bin"] {
        let through = alice.get(&stage.app(path)).await;
        let direct = stage.nginx.get(path).await;
        assert_eq!(
            (through.status, direct.status),
            (200.try_into().unwrap(), 200.try_into().unwrap())
        );
        assert!(through.body == direct.body, "{path}: {} bytes", through.body.len());
        for header in ["content-type", "content-length", "etag", "last-modified"] {
            assert_eq!(through.header(header), direct.header(header), "{header}");
        }
    }
    assert_eq!(page.text(), nginx::PAGE);

    // The code, and the way back with it, work once.
    let replayed = replay(&stage, &refused, &form.fill("code", &code), &flow).await;
    assert_eq!(replayed.status, 403);
    assert_eq!(stage.edge.next_event("code_refused").await["reason"], "code used before");
    let page = alice.get(&handover).await;
    assert_eq!((page.status, page.set_cookie(AUTHORIZATION)), (400.try_into().unwrap(), None));
    // The visitor who is in stays in.
    assert_eq!(alice.get(&stage.app("/")).await.text(), nginx::PAGE);
    // The one who is not is still sent to the login.
    assert_eq!(mallory.get(&stage.app("/")).await.status, 302);

    // Nothing that was secret is in a log or an event.
    let told = stage.edge.everything() + &stage.connector.everything();
    for secret in [code.as_str(), ADMITTED, DENIED, &flow] {
        assert!(!told.contains(secret), "`{secret}` in\n{told}");
    }

    stage.connector.terminate().await.assert_only_events();
    stage.edge.next_event("connector_left").await;
    stage.edge.terminate().await.assert_only_events();
}

/// The form again, as the browser would send it that had not forgotten its flow cookie.
async fn replay(stage: &Stage, page: &Page, form: &story::form::Form, flow: &str) -> Page {
    // The cookies of this browser are not for a test to read, so its forms' token is borrowed.
    let fresh = stage.site.visitor_with(&Habits { cookies: false, ..Habits::default() });
    let login = fresh.open(&stage.app("/")).await;
    let session = login.set_cookie("__Host-CF_Session").unwrap();
    let csrf = login.form_with("email").value("csrf").to_owned();
    let form = form.clone().fill("csrf", &csrf);
    let url = reqwest::Url::parse(&page.url).unwrap().join(&form.action).unwrap();
    let cookies = format!("__Host-CF_Session={session}; {FLOW}={flow}");
    Page::of(fresh.request(Method::POST, url.as_str()).header("cookie", cookies).form(&form.inputs))
        .await
}

/// A code that differs in each digit.
fn other_code(code: &str) -> String {
    code.bytes().map(|digit| char::from(b'0' + (digit - b'0' + 5) % 10)).collect()
}

fn assert_page_is_locked_down(page: &Page) {
    assert_eq!(page.header("cache-control"), "private, no-store");
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));
    assert_eq!(page.header("x-content-type-options"), "nosniff");
}

fn assert_mail_is_as_it_should_be(mail: &story::mail_server::Mail) {
    let code = mail.code();
    assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
    assert_eq!(mail.header("subject"), format!("Your code for {APP_HOST}"));
    assert_eq!(mail.header("auto-submitted"), "auto-generated");
    assert_eq!(mail.header("to"), ADMITTED);
    assert_eq!(mail.0["from"], "access@example.jp");
    assert_eq!(mail.0["parts"][0]["type"], "text/plain", "text first");
    assert_eq!(mail.0["defects"], serde_json::json!([]));
    let text = mail.text();
    let last = text.trim_end().lines().last().unwrap();
    assert_eq!(last, format!("@{TEAM_HOST} #{code}"), "what browsers look for");
    assert!(!text.contains("http"), "no links to click: {text}");
}

/// Two answers that a stranger compares: all that may differ is what is drawn anew each time.
fn assert_same_but_for_secrets(left: &Page, right: &Page) {
    assert_eq!(left.status, right.status);
    assert_eq!(left.body.len(), right.body.len());
    assert_eq!(without_secrets(left), without_secrets(right));
    let headers = |page: &Page| {
        let mut headers = page.headers.clone();
        headers.remove("date");
        // Their values are drawn anew, but neither their length nor their number tells anything.
        let location = headers.remove("location").map(|value| value.len());
        let cookies = headers.get_all("set-cookie").iter().map(HeaderValue::len);
        let cookies: Vec<usize> = cookies.collect();
        headers.remove("set-cookie");
        (headers, location, cookies)
    };
    assert_eq!(headers(left), headers(right));
}

fn without_secrets(page: &Page) -> String {
    let mut text = page.text();
    for address in [ADMITTED, DENIED] {
        text = text.replace(address, "ADDRESS");
    }
    for (before, end) in [
        ("state=", '&'),
        ("nonce=", '&'),
        (r#"name="csrf" value=""#, '"'),
        (r#"name="nonce" value=""#, '"'),
    ] {
        let mut pieces = text.split(before);
        let mut masked = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let value = piece.split(end).next().unwrap_or_default();
            assert!(value.len() > 10, "nothing to mask after {before}");
            masked.push_str(before);
            masked.push_str("MASKED");
            masked.push_str(&piece[value.len()..]);
        }
        text = masked;
    }
    unescape(&text)
}

#[tokio::test]
#[ignore = "needs nginx and aiosmtpd"]
async fn forged_identities_never_reach_nginx() {
    let mut stage = Stage::set().await;
    let alice = stage.site.visitor();
    let page = stage.sign_in(&alice, "/seen", ADMITTED).await;
    let seen: Value = serde_json::from_str(&page.text()).unwrap();
    assert_eq!(seen["email"], ADMITTED);

    let forged = [
        ("Cf-Access-Jwt-Assertion", "forged.forged.forged"),
        ("Cf_Access_Jwt_Assertion", "forged.forged.forged"),
        ("Cf-Access-Authenticated-User-Email", "forged@example.jp"),
        ("Cf_Access_Authenticated_User_Email", "forged@example.jp"),
        ("cf-access_authenticated-user_email", "forged@example.jp"),
        ("Cf-Connecting-Ip", "192.0.2.66"),
        ("Cf_Connecting_Ip", "192.0.2.66"),
        ("X-Forwarded-For", "192.0.2.66"),
        ("X-Forwarded-Proto", "forged"),
        ("Cf-Ray", "forged"),
        ("Cf-Cloudflared-X", "forged"),
    ];
    for protocols in [&["h2"][..], &["http/1.1"]] {
        let habits = Habits { protocols, cookies: false, ..Habits::default() };
        let bot = stage.site.visitor_with(&habits);
        // Signed in, with a cookie of the application's own beside the edge's.
        let token = seen["assertion"].as_str().unwrap();
        let cookies = format!("theme=dark; {AUTHORIZATION}={token}; lang=ja");
        let mut request = bot.request(Method::GET, &stage.app("/seen")).header("cookie", cookies);
        for (name, value) in forged {
            request = request.header(name, value);
        }
        if protocols == ["http/1.1"] {
            // Asks whoever comes next to drop what the edge is about to add (D-HD-02).
            request = request.header(
                "connection",
                "Cf-Access-Jwt-Assertion, Cf-Access-Authenticated-User-Email, X-Forwarded-For, Cf-Connecting-Ip",
            );
        }
        let page = Page::of(request).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let seen: Value = serde_json::from_str(&page.text()).unwrap();
        assert_eq!(seen["assertion"], token);
        assert_eq!(seen["email"], ADMITTED);
        assert_eq!(seen["connecting_ip"], "127.0.0.1");
        assert_eq!(seen["forwarded_for"], "127.0.0.1");
        assert_eq!(seen["forwarded_proto"], "https");
        assert_eq!(seen["internal"], "");
        assert_eq!(seen["cookie"], "theme=dark; lang=ja", "neither the edge's cookies");
        assert_eq!(seen["host"], stage.app("").trim_start_matches("https://"));

        // Not signed in: forged headers and cookies open nothing.
        let before = stage.nginx.requests().len();
        for cookie in ["forged.forged.forged".to_owned(), unsigned(token), tampered(token)] {
            let mut request = bot.request(Method::GET, &stage.app("/seen"));
            for (name, value) in forged {
                request = request.header(name, value);
            }
            let request = request
                .header("cookie", format!("{AUTHORIZATION}={cookie}; CF_Authorization={token}"));
            assert_eq!(Page::of(request).await.status, 302);
            let request = bot.request(Method::GET, &stage.app("/seen"));
            let request = request.header("cf-access-token", cookie.as_str());
            assert_eq!(Page::of(request).await.status, 302);
        }
        // Twice means that somebody planted one.
        let twice = format!("{AUTHORIZATION}={token}; {AUTHORIZATION}={token}");
        let request = bot.request(Method::GET, &stage.app("/seen")).header("cookie", twice);
        assert_eq!(Page::of(request).await.status, 302);
        // The token is for one application.
        let other = stage.site.url(OTHER_HOST, "/seen");
        let request = bot.request(Method::GET, &other);
        let request = request.header("cookie", format!("{AUTHORIZATION}={token}"));
        assert_eq!(Page::of(request).await.status, 302);
        assert_eq!(stage.nginx.requests().len(), before, "nothing reached nginx");
    }

    let requests = stage.requests_so_far().await;
    assert_eq!(requests.len(), 3);
    for request in requests {
        let request = request.to_string();
        assert!(!request.contains("forged") && !request.contains("192.0.2.66"), "{request}");
    }
}

/// The same claims, with the algorithm that needs no key.
fn unsigned(token: &str) -> String {
    use base64::Engine as _;
    let header =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let claims = token.split('.').nth(1).unwrap();
    format!("{header}.{claims}.")
}

/// The same token with another signature.
fn tampered(token: &str) -> String {
    let (claims, signature) = token.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    format!("{claims}.{flipped}{}", &signature[1..])
}

#[tokio::test]
#[ignore = "needs nginx and aiosmtpd"]
async fn a_japanese_visitor_signs_in_with_full_width_digits() {
    let mut stage = Stage::set().await;
    let habits = Habits { languages: Some("ja-JP,ja;q=0.9,en;q=0.8"), ..Habits::default() };
    let hanako = stage.site.visitor_with(&habits);
    let login = hanako.open(&stage.app("/")).await;
    assert!(login.text().contains("<html lang=\"ja\">"));
    assert!(login.text().contains(Locale::Ja.text("login.headline")));
    // As typed with a Japanese keyboard.
    let form = login.form_with("email").fill("email", "ｈａｎａｋｏ＠ｅｘａｍｐｌｅ．ｊｐ ");
    let page = hanako.submit_and_follow(&login, &form).await;
    assert!(page.text().contains(Locale::Ja.text("code.headline")));
    stage.edge.next_event("code_sent").await;
    let mail = stage.mail.newest();
    assert_eq!(mail.0["to"], serde_json::json!(["hanako@example.jp"]));
    let code = mail.code();
    assert_eq!(mail.header("subject"), format!("{APP_HOST} の確認コード"));

    let wide: String =
        code.chars().map(|digit| char::from_u32(digit as u32 + 0xFEE0).unwrap()).collect();
    let spaced = format!(" {}　{} ", &wide[..9], &wide[9..]);
    assert_eq!(hanako.enter_code(&page, &spaced).await.text(), nginx::PAGE);

    // What is no code at all costs no try, and the page says what a code is.
    let other = stage.site.visitor();
    let page = other.ask_for_code(&stage.app("/"), "taro@example.jp").await;
    stage.edge.next_event("code_sent").await;
    for _ in 0..10 {
        let again = other.enter_code(&page, "12345").await;
        assert_eq!(again.status, 400);
        let digits = [("digits", Locale::En.text("digits.six"))];
        assert!(again.text().contains(&Locale::En.fill("code.error.malformed", &digits)));
    }
    assert_eq!(other.enter_code(&page, &stage.mail.newest().code()).await.text(), nginx::PAGE);
}

#[tokio::test]
#[ignore = "needs nginx and aiosmtpd"]
async fn guesses_use_a_code_up_and_a_new_one_helps() {
    let mut stage = Stage::set().await;
    let alice = stage.site.visitor();
    let page = alice.ask_for_code(&stage.app("/"), ADMITTED).await;
    stage.edge.next_event("code_sent").await;
    let code = stage.mail.newest().code();
    let mut first = None;
    for _ in 0..5 {
        let refused = alice.enter_code(&page, &other_code(&code)).await;
        assert_same_but_for_secrets(&refused, first.get_or_insert_with(|| refused.clone()));
    }
    // The page does not tell that the right one came too late.
    let late = alice.enter_code(&page, &code).await;
    assert_same_but_for_secrets(&late, &first.unwrap());
    let reasons: Vec<_> =
        stage.edge.events("code_refused").iter().map(|event| event["reason"].clone()).collect();
    assert_eq!(reasons[..5], vec![Value::from("wrong code"); 5]);
    assert_eq!(reasons[5], "no tries left");
    // What the page says helps: a new code, of a new flow.
    let again = forms(&late.text()).into_iter().find(|form| form.action.contains("resend-code"));
    let page = alice.submit_and_follow(&late, &again.unwrap()).await;
    stage.edge.next_event("code_sent").await;
    let new = stage.mail.newest().code();
    assert_eq!(alice.enter_code(&page, &new).await.text(), nginx::PAGE);

    // Whoever sends the form with the address twice has one flow, and the newest mail is good.
    let carol = stage.site.visitor();
    let page = carol.ask_for_code(&stage.app("/"), "carol@example.jp").await;
    stage.edge.next_event("code_sent").await;
    let first = page.form_with("code").value("nonce").to_owned();
    let page = carol.ask_for_code(&stage.app("/"), "carol@example.jp").await;
    stage.edge.next_event("code_sent").await;
    assert_eq!(page.form_with("code").value("nonce"), first);
    let newest = stage.mail.newest().code();
    assert_eq!(carol.enter_code(&page, &newest).await.text(), nginx::PAGE);

    // In another browser meanwhile: a second mail makes the first worthless.
    let bob = stage.site.visitor();
    let page = bob.ask_for_code(&stage.app("/"), "bob@example.jp").await;
    stage.edge.next_event("code_sent").await;
    let old = stage.mail.newest().code();
    let again = forms(&page.text()).into_iter().find(|form| form.action.contains("resend-code"));
    let page = bob.submit_and_follow(&page, &again.unwrap()).await;
    assert!(page.text().contains(Locale::En.text("code.resent")));
    stage.edge.next_event("code_sent").await;
    let new = stage.mail.newest().code();
    if new != old {
        assert_eq!(bob.enter_code(&page, &old).await.status, 403);
    }
    assert_eq!(bob.enter_code(&page, &new).await.text(), nginx::PAGE);
}

#[tokio::test]
#[ignore = "needs nginx and aiosmtpd"]
async fn after_signing_out_the_page_asks_again() {
    let mut stage = Stage::set().await;
    let alice = stage.site.visitor();
    let page = stage.sign_in(&alice, "/seen", ADMITTED).await;
    let seen: Value = serde_json::from_str(&page.text()).unwrap();
    let token = seen["assertion"].as_str().unwrap().to_owned();

    // Signed in once is signed in at the next application too, where the policy has the last word.
    let refused = alice.open(&stage.site.url(OTHER_HOST, "/")).await;
    assert_eq!((refused.status, refused.host()), (403.try_into().unwrap(), TEAM_HOST.to_owned()));
    assert!(refused.text().contains(Locale::En.text("refusal.not_admitted.headline")));

    let out = alice.get(&stage.app("/cdn-cgi/access/logout")).await;
    assert_eq!(out.status, 200);
    assert!(out.text().contains(Locale::En.text("signed_out.headline")));
    let page = alice.open(&stage.app("/seen")).await;
    assert_eq!(page.host(), TEAM_HOST);
    page.form_with("email");

    // A copy of the token is worth nothing from then on.
    let thief = stage.site.visitor_with(&Habits { cookies: false, ..Habits::default() });
    let request = thief.request(Method::GET, &stage.app("/seen"));
    let request = request.header("cookie", format!("{AUTHORIZATION}={token}"));
    assert_eq!(Page::of(request).await.status, 302);
}

#[tokio::test]
#[ignore = "needs nginx and aiosmtpd"]
async fn programs_are_told_to_sign_in_instead_of_being_redirected() {
    let stage = Stage::set().await;
    let visitor = stage.site.visitor();
    // A form that was open while the session ended must not be turned into a GET of the login.
    let page = Page::of(visitor.request(Method::POST, &stage.app("/seen")).body("a=1")).await;
    assert_eq!((page.status, page.location()), (401.try_into().unwrap(), None));
    assert_eq!(page.header("www-authenticate"), "Cloudflare-Access");
    let answer: Value = serde_json::from_str(&page.text()).unwrap();
    stage.edge.log_line(&[answer["id"].as_str().unwrap(), "answered"]).await;

    let request = visitor.request(Method::GET, &stage.app("/seen"));
    let page = Page::of(request.header("accept", "application/json")).await;
    assert_eq!(page.status, 401);
    let request = visitor.request(Method::GET, &stage.app("/seen"));
    let page = Page::of(request.header("x-requested-with", "XMLHttpRequest")).await;
    assert_eq!(page.status, 401);
    assert_eq!(stage.requests_so_far().await, Vec::<Value>::new());
}

#[tokio::test]
#[ignore = "needs nginx and aiosmtpd"]
async fn forms_from_elsewhere_are_refused() {
    let stage = Stage::set().await;
    let visitor = stage.site.visitor();
    let login = visitor.open(&stage.app("/")).await;
    let form = login.form_with("email").fill("email", ADMITTED);

    // Without the form's own token, with another browser's, and as a browser says it of another site.
    let refused = visitor.submit(&login, &form.clone().fill("csrf", "")).await;
    assert_eq!(refused.status, 403);
    let stranger = stage.site.visitor().open(&stage.app("/")).await;
    let token = stranger.form_with("email").value("csrf").to_owned();
    assert_eq!(visitor.submit(&login, &form.clone().fill("csrf", &token)).await.status, 403);
    let url = reqwest::Url::parse(&login.url).unwrap().join(&form.action).unwrap();
    let request = visitor.request(Method::POST, url.as_str()).form(&form.inputs);
    assert_eq!(Page::of(request.header("sec-fetch-site", "cross-site")).await.status, 403);
    assert!(stage.mail.mails().is_empty());

    // The page that says so can be sent off as it is.
    let form = refused.form_with("email").fill("email", ADMITTED);
    assert_eq!(visitor.submit(&refused, &form).await.status, 303);
}

#[tokio::test]
#[ignore = "needs nginx and aiosmtpd"]
async fn the_origin_can_not_sign_visitors_in() {
    let mut stage = Stage::set().await;
    let alice = stage.site.visitor();
    let page = stage.sign_in(&alice, "/sets-cookie", ADMITTED).await;
    assert_eq!(page.status, 204);
    let cookies: Vec<_> = page.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["theme=dark; Path=/"]);
    assert_eq!(alice.get(&stage.app("/")).await.text(), nginx::PAGE, "still signed in");
}

#[tokio::test]
#[ignore = "needs nginx and aiosmtpd"]
async fn a_connector_with_a_wrong_secret_is_turned_away() {
    let mut stage = Stage::set().await;
    let alice = stage.site.visitor();
    assert_eq!(stage.sign_in(&alice, "/", ADMITTED).await.text(), nginx::PAGE);

    let token = Program::run(stage.site.edge_command(&["tunnel", "token", "home"])).await;
    let right = Credentials::from_token(token.stdout.trim()).unwrap();
    let secret = TunnelSecret::new([7; 32]);
    let wrong = Credentials::new(right.account_tag(), right.tunnel_id(), secret);
    let elsewhere = stage.site.connector_command(&wrong.to_token(), "http://127.0.0.1:9");
    let ended = Program::run(elsewhere).await;

    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().filter(|line| line.starts_with("error")).count(), 1);
    for words in ["the edge refused the registration", "is the token the one it printed?"] {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    let event = stage.edge.next_event("connector_refused").await;
    assert!(event["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{event}");
    let told = stage.edge.everything() + &ended.stdout + &ended.stderr;
    for secret in [wrong.to_token(), right.to_token()] {
        assert!(!told.contains(&secret), "a token in\n{told}");
    }
    // The first one serves on.
    assert_eq!(alice.get(&stage.app("/")).await.text(), nginx::PAGE);
}
