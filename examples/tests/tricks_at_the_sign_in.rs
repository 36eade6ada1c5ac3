//! Requests that no form and no link of ours makes: none of them moves a visitor elsewhere, uses up a try, or changes
//! anything before its visitor wants it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test")]

mod story;

use reqwest::Method;
use story::{
    mail_server::MailServer,
    origin::Origin,
    process::Program,
    site::{APP_HOST, Site, TEAM_HOST, WITH_LOGIN},
    visitor::{Habits, Page, Visitor, host_of},
};

const ADMITTED: &str = "alice@example.jp";
const AUTHORIZATION: &str = "__Host-CF_Authorization";

/// An edge with an origin that answers everything with one page.
struct Stage {
    mail: MailServer,
    site: Site,
    edge: Program,
    _connector: Program,
}

impl Stage {
    async fn set() -> Self {
        let mail = MailServer::start().await;
        let origin = Origin::answers("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
        let site = Site::new(WITH_LOGIN, mail.address);
        let (edge, connector) = site.start(&origin.url()).await;
        Self { mail, site, edge, _connector: connector }
    }

    fn app(&self, path: &str) -> String {
        self.site.url(APP_HOST, path)
    }

    /// Opens a path, asks for a code, and gives the page to type it on.
    async fn code_page(&mut self, visitor: &Visitor, path: &str) -> (Page, String) {
        let page = visitor.ask_for_code(&self.app(path), ADMITTED).await;
        self.edge.next_event("code_sent").await;
        (page, self.mail.newest().code())
    }

    /// Signs a visitor in, up to the redirect to where they wanted to go.
    async fn way_back(&mut self, visitor: &Visitor, path: &str) -> String {
        let (page, code) = self.code_page(visitor, path).await;
        let form = page.form_with("code").fill("code", &code);
        let handover = visitor.submit(&page, &form).await.location().expect("a way back");
        visitor.get(&handover).await.location().expect("a way back")
    }
}

#[tokio::test]
#[ignore = "needs aiosmtpd"]
async fn a_host_that_the_client_forwards_is_not_believed() {
    let stage = Stage::set().await;
    let visitor = stage.site.visitor();
    for (name, value) in [
        ("x-forwarded-host", "evil.test"),
        ("x-host", "evil.test"),
        ("x-original-url", "https://evil.test/"),
        ("x-rewrite-url", "/cdn-cgi/access/certs"),
        ("forwarded", "host=evil.test;proto=http"),
    ] {
        let request = visitor.request(Method::GET, &stage.app("/")).header(name, value);
        let page = Page::of(request).await;
        assert_eq!(page.status, 302, "{name}");
        let login = page.location().unwrap();
        assert_eq!(host_of(&login), TEAM_HOST, "{name}");
        let page = Page::of(visitor.request(Method::GET, &login).header(name, value)).await;
        assert_eq!(page.status, 200, "{name}");
        assert!(!page.text().contains("evil.test"), "{name}");
        assert!(!format!("{:?}", page.headers).contains("evil.test"), "{name}");
    }
}

#[tokio::test]
#[ignore = "needs aiosmtpd"]
async fn the_way_back_never_leaves_the_application() {
    let mut stage = Stage::set().await;
    let application = stage.app("");
    for path in [
        "//evil.test/",
        "///evil.test",
        "/%5Cevil.test",
        "/%2f%2fevil.test",
        "/@evil.test/",
        "/.evil.test/",
        "/%0d%0aSet-Cookie:%20a=b",
        "/?redirect_url=https://evil.test/&returnTo=//evil.test",
    ] {
        // A path that is refused leads nowhere; one that is not leads back to where it came from.
        let visitor = stage.site.visitor();
        if visitor.get(&format!("{application}{path}")).await.status != 302 {
            continue;
        }
        let back = stage.way_back(&visitor, path).await;
        let (origin, rest) = back.split_at(application.len());
        assert_eq!(origin, application, "{path}: {back}");
        assert!(rest.starts_with('/'), "{path}: {back}");
    }
}

#[tokio::test]
#[ignore = "needs aiosmtpd"]
async fn what_the_address_bar_says_about_the_way_back_counts_for_nothing() {
    let mut stage = Stage::set().await;
    let visitor = stage.site.visitor();
    let login = visitor.get(&stage.app("/page")).await.location().unwrap();
    let (address, query) = login.split_once('?').unwrap();
    let state = query.split('&').find(|field| field.starts_with("state=")).unwrap();
    let tampered = format!("{address}?redirect_url=https%3A%2F%2Fevil.test%2F&{state}");
    let page = visitor.open(&tampered).await;
    let form = page.form_with("email").fill("email", ADMITTED);
    let page = visitor.submit_and_follow(&page, &form).await;
    stage.edge.next_event("code_sent").await;
    let form = page.form_with("code").fill("code", &stage.mail.newest().code());
    let handover = visitor.submit(&page, &form).await.location().unwrap();
    assert_eq!(visitor.get(&handover).await.location().unwrap(), stage.app("/page"));
}

#[tokio::test]
#[ignore = "needs aiosmtpd"]
async fn only_a_posted_form_asks_for_a_code_or_tries_one() {
    let mut stage = Stage::set().await;
    let visitor = stage.site.visitor();
    let (page, code) = stage.code_page(&visitor, "/page").await;
    let form = page.form_with("code").fill("code", &code);
    let callback = reqwest::Url::parse(&page.url).unwrap().join(&form.action).unwrap();
    let resend = callback.as_str().replacen("callback", "resend-code", 1);
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
        for url in [callback.as_str(), resend.as_str()] {
            // All that the form says, in the address.
            let url = reqwest::Url::parse_with_params(url, &form.inputs).unwrap();
            let request = visitor.request(method.clone(), url.as_str());
            assert_eq!(Page::of(request).await.status, 405, "{method} {url}");
        }
    }
    assert_eq!(stage.mail.mails().len(), 1);
    assert_eq!(visitor.submit(&page, &form).await.status, 303, "the code is still good");
}

#[tokio::test]
#[ignore = "needs aiosmtpd"]
async fn the_answer_to_head_is_the_head_of_the_page_in_both_versions_of_http() {
    let stage = Stage::set().await;
    for protocols in [&["h2"][..], &["http/1.1"]] {
        let visitor = stage.site.visitor_with(&Habits { protocols, ..Habits::default() });
        let login = visitor.get(&stage.app("/page")).await.location().unwrap();
        let page = Page::of(visitor.request(Method::HEAD, &login)).await;
        assert_eq!((page.status.as_u16(), page.body.len()), (200, 0));
        assert!(page.header("content-length").parse::<usize>().unwrap() > 1_000, "{page:?}");
        let unknown = stage.site.url(TEAM_HOST, "/nowhere");
        let page = Page::of(visitor.request(Method::HEAD, &unknown)).await;
        assert_eq!((page.status.as_u16(), page.body.len()), (404, 0));
        assert_eq!(visitor.get(&login).await.status, 200, "the connection serves on");
    }
}

#[tokio::test]
#[ignore = "needs aiosmtpd"]
async fn looking_ahead_uses_nothing_up() {
    let mut stage = Stage::set().await;
    let visitor = stage.site.visitor();
    let (page, code) = stage.code_page(&visitor, "/page").await;
    let form = page.form_with("code").fill("code", &code);
    let handover = visitor.submit(&page, &form).await.location().unwrap();
    for (name, value) in [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("purpose", "prefetch"),
        ("x-moz", "prefetch"),
    ] {
        let request = visitor.request(Method::GET, &handover).header(name, value);
        assert_eq!(Page::of(request).await.status, 403, "{name}: {value}");
    }
    assert_eq!(Page::of(visitor.request(Method::HEAD, &handover)).await.status, 405);
    assert_eq!(visitor.open(&handover).await.text(), "hello", "the way back is still good");

    for host in [APP_HOST, TEAM_HOST] {
        let logout = stage.site.url(host, "/cdn-cgi/access/logout");
        let request = visitor.request(Method::GET, &logout).header("sec-purpose", "prefetch");
        assert_eq!(Page::of(request).await.status, 403, "{host}");
        assert_eq!(Page::of(visitor.request(Method::HEAD, &logout)).await.status, 405, "{host}");
    }
    assert_eq!(visitor.get(&stage.app("/page")).await.text(), "hello", "still signed in");
}

#[tokio::test]
#[ignore = "needs aiosmtpd"]
async fn a_field_sent_twice_or_among_ten_thousand_tries_nothing() {
    let mut stage = Stage::set().await;
    let visitor = stage.site.visitor();
    let (page, code) = stage.code_page(&visitor, "/page").await;
    let form = page.form_with("code").fill("code", &code);
    // More often than there are tries.
    for _ in 0..6 {
        let mut twice = form.clone();
        twice.inputs.push(("code".into(), "000000".into()));
        assert_eq!(visitor.submit(&page, &twice).await.status, 400);
        let mut many = form.clone();
        many.inputs.extend((0..10_000).map(|at| (format!("field{at}"), "x".into())));
        assert_eq!(visitor.submit(&page, &many).await.status, 400);
    }
    let mut twice = form.clone();
    let token = form.value("csrf").to_owned();
    twice.inputs.push(("csrf".into(), token));
    assert_eq!(visitor.submit(&page, &twice).await.status, 403);
    assert_eq!(visitor.submit(&page, &form).await.status, 303, "the code is still good");
}

#[tokio::test]
#[ignore = "needs aiosmtpd"]
async fn a_session_cookie_planted_beside_the_own_one_opens_nothing() {
    let mut stage = Stage::set().await;
    let visitor = stage.site.visitor();
    let (page, code) = stage.code_page(&visitor, "/page").await;
    let form = page.form_with("code").fill("code", &code);
    let handover = visitor.submit(&page, &form).await.location().unwrap();
    let token = visitor.get(&handover).await.set_cookie(AUTHORIZATION).unwrap();

    let bare = stage.site.visitor_with(&Habits { cookies: false, ..Habits::default() });
    let own = format!("{AUTHORIZATION}={token}");
    let with = async |cookies: &str| {
        let request = bare.request(Method::GET, &stage.app("/page"));
        Page::of(request.header("cookie", cookies)).await
    };
    assert_eq!(with(&own).await.text(), "hello");
    for planted in ["a.b.c", "", &token] {
        let planted = format!("{AUTHORIZATION}={planted}");
        for cookies in [format!("{own}; {planted}"), format!("{planted}; {own}")] {
            assert_eq!(with(&cookies).await.status, 302, "{cookies}");
        }
    }
    // The name without its prefix is what a sibling's script can set for the whole domain.
    assert_eq!(with(&format!("CF_Authorization={token}")).await.status, 302);
}
