//! An authority that refuses, lies, or never answers costs time and nothing else: no second certificate, no lost key, no
//! request before it wants one.
#![cfg(all(feature = "acme", feature = "ring"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]
#![allow(clippy::disallowed_methods, reason = "real sockets live by the real clock")]

#[path = "support/fake_ca.rs"]
mod fake_ca;

use std::time::{Duration, SystemTime};

use cert_manager::{
    Certificate, DirectoryStore, Error, FailureClass, Manager, Name,
    acme::Acme,
    lifecycle::{Action, Cause, Leaf, View, decide},
};
use fake_ca::{FakeCa, Fault, THINGS};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// One account with a store of its own.
struct Case {
    ca: FakeCa,
    store: DirectoryStore,
    acme: Acme,
    _folder: tempfile::TempDir,
}

impl Case {
    async fn new() -> Self {
        let (ca, folder) = (FakeCa::start().await, tempfile::tempdir().unwrap());
        let store = DirectoryStore::open(folder.path()).unwrap();
        let acme = ca.account(&store).request_timeout(Duration::from_secs(2)).build().unwrap();
        Self { ca, store, acme, _folder: folder }
    }

    async fn obtain(&self) -> Result<Certificate, Error> {
        self.acme.obtain(&["a.example".parse::<Name>().unwrap()]).await
    }
}

#[tokio::test]
async fn hanging_at_any_request_costs_a_time_out_and_no_certificate() {
    let mut cases = tokio::task::JoinSet::new();
    for is_done in [false, true] {
        for thing in THINGS {
            cases.spawn(async move {
                let case = Case::new().await;
                case.ca.fault(thing, 1, Fault::Hang { is_done });
                let failure = case.obtain().await.expect_err(thing);
                let failure = failure.failure().unwrap_or_else(|| panic!("{thing}: {failure}"));
                assert_eq!(failure.class, FailureClass::Network, "{thing}");
                assert!(failure.to_string().contains("no answer within 2 seconds"), "{failure}");
                case.obtain().await.unwrap_or_else(|error| panic!("{thing}: {error}"));
                assert_eq!(case.ca.paid(), 1, "{thing}: paid for twice");
                let orders = 1 + usize::from(thing == "new order");
                assert_eq!(case.ca.asked("new order"), orders, "{thing}: the order is taken up");
            });
        }
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_ends_at_any_request_costs_no_certificate() {
    for is_done in [false, true] {
        for thing in THINGS {
            let case = Case::new().await;
            case.ca.fault(thing, 1, Fault::Close { is_done });
            // Whether the first attempt goes on over a new connection is up to the HTTP client.
            if let Err(error) = case.obtain().await {
                let class = error.failure().map(|failure| failure.class);
                assert_eq!(class, Some(FailureClass::Network), "{thing}: {error}");
                case.obtain().await.unwrap_or_else(|error| panic!("{thing}: {error}"));
            }
            assert_eq!(case.ca.paid(), 1, "{thing}: paid for twice");
        }
    }
}

#[tokio::test]
async fn pages_of_html_and_nothing_at_all_are_trouble_and_pass() {
    let html = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>";
    for (status, body, class) in [
        (500, html, FailureClass::Trouble),
        (502, html, FailureClass::Trouble),
        (503, "", FailureClass::Trouble),
        (429, html, FailureClass::Hold),
    ] {
        for thing in THINGS {
            let case = Case::new().await;
            case.ca.fault(thing, 1, Fault::Answer(status, String::new(), body));
            let error = case.obtain().await.expect_err(thing);
            let failure = error.failure().unwrap_or_else(|| panic!("{thing}: {error}"));
            assert_eq!(failure.class, class, "{status} at {thing}: {failure}");
            assert!(failure.not_before > Some(SystemTime::now()), "{status} at {thing}");
            assert!(!failure.to_string().contains('\n'));
            case.obtain().await.unwrap_or_else(|error| panic!("{thing}: {error}"));
            assert_eq!(case.ca.paid(), 1, "{thing}");
        }
    }
}

/// Pebble, for one, fails where the same key comes twice at once.
#[tokio::test]
async fn of_many_orders_at_once_one_opens_the_account() {
    let case = Case::new().await;
    let names: Vec<Name> = (0..16).map(|at| format!("n{at}.example").parse().unwrap()).collect();
    let orders = names.iter().map(|name| case.acme.obtain(std::slice::from_ref(name)));
    for done in futures_util::future::join_all(orders).await {
        done.unwrap();
    }
    assert_eq!((case.ca.asked("account"), case.ca.paid()), (1, 16));
}

/// Each form of `Retry-After`, on what means "not now". A date counts from the answer's own.
#[tokio::test]
async fn each_form_of_retry_after_is_heeded() {
    const DATE: &str = "date: Fri, 15 Jan 2027 08:00:00 GMT\r\n";
    let (hour, minute) = (HOUR.as_secs(), 60);
    for (header, on_429, on_503) in [
        ("retry-after: 120\r\n", 120, 120),
        ("retry-after: 0\r\n", 1, 1),
        ("retry-after: Fri, 15 Jan 2027 08:10:00 GMT\r\n", 600, 600),
        ("retry-after: Friday, 15-Jan-27 08:10:00 GMT\r\n", 600, 600),
        ("retry-after: Thu, 14 Jan 2027 08:00:00 GMT\r\n", 1, 1),
        ("", hour, minute),
        ("retry-after: \r\n", hour, minute),
        ("retry-after: -1\r\n", hour, minute),
        ("retry-after: soon\r\n", hour, minute),
        ("retry-after: 1e9\r\n", hour, minute),
        ("retry-after: 315360000\r\n", 3 * 86_400, 3 * 86_400),
        ("retry-after: 99999999999999999999999\r\n", 3 * 86_400, 3 * 86_400),
        ("retry-after: Fri, 15 Jan 2038 08:10:00 GMT\r\n", 3 * 86_400, 3 * 86_400),
    ] {
        for (status, expected) in [(429, on_429), (503, on_503)] {
            let case = Case::new().await;
            case.ca.fault("new order", 1, Fault::Answer(status, format!("{DATE}{header}"), "{}"));
            let before = SystemTime::now();
            let error = case.obtain().await.unwrap_err();
            let wait = error.failure().unwrap().not_before.unwrap().duration_since(before).unwrap();
            let expected = Duration::from_secs(expected);
            let (least, most) = (expected, expected + Duration::from_secs(60));
            assert!((least..most).contains(&wait), "{status} {header:?}: {wait:?}");
        }
    }
}

/// What is asked for holds in the manager too: it does not ask again.
#[tokio::test]
async fn a_manager_asks_nobody_who_wants_to_be_left_in_peace() {
    for (status, header) in
        [(429, "retry-after: 3600\r\n"), (503, "retry-after: 3600\r\n"), (429, ""), (503, "")]
    {
        let case = Case::new().await;
        case.ca.fault("new order", 1, Fault::Answer(status, header.to_owned(), "<html>no"));
        let acme = case.ca.account(&case.store).build().unwrap();
        let builder = Manager::builder().issuer(acme).storage(case.store.clone());
        let error = builder.name("a.example").start().await.unwrap_err();
        assert!(error.to_string().contains("order a certificate"), "{error}");
        // A new process heeds it as well.
        let acme = case.ca.account(&case.store).build().unwrap();
        let builder = Manager::builder().issuer(acme).storage(case.store.clone());
        builder.name("a.example").start().await.unwrap_err();
        assert_eq!(case.ca.asked("new order"), 1, "{status} {header}");
    }
}

#[tokio::test]
async fn challenges_of_unknown_kinds_are_passed_over() {
    let case = Case::new().await;
    case.ca.offer(&["dns-persist-01", "telepathy-01", "http-01", ""]);
    case.obtain().await.unwrap();
    let case = Case::new().await;
    case.ca.offer(&["dns-persist-01", "telepathy-01"]);
    let error = case.obtain().await.unwrap_err();
    assert_eq!(error.failure().unwrap().class, FailureClass::Rejected);
    assert!(error.to_string().contains("telepathy-01"), "it says what there is: {error}");
}

/// What an authority wishes may bring a renewal forward; it can never put it off for too long, and no nonsense counts.
#[tokio::test]
async fn odd_windows_do_no_harm() {
    let case = Case::new().await;
    let certificate = case.obtain().await.unwrap();
    let leaf = Leaf::from(&certificate);
    let life = leaf.not_after.duration_since(leaf.not_before).unwrap();
    let own = decide(leaf.not_before + life / 4, &View::of(leaf)).wake_at;
    let window = |start: &str, end: &str| {
        format!(r#"{{"suggestedWindow": {{"start": "{start}", "end": "{end}"}}}}"#)
    };
    for (body, is_window, is_due_at_once) in [
        (window("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z"), true, true),
        (window("0001-01-01T00:00:00Z", "0001-01-02T00:00:00Z"), true, true),
        (window("2020-01-02T00:00:00Z", "2020-01-01T00:00:00Z"), false, false),
        (window("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"), false, false),
        (window("9999-01-01T00:00:00Z", "9999-12-31T23:59:59Z"), true, false),
        (window("2100-01-01T00:00:00Z", "9999-12-31T23:59:59Z"), true, false),
        (window("99999-01-01T00:00:00Z", "999999-12-31T23:59:59Z"), false, false),
        (window("tomorrow", "the day after"), false, false),
        (window("", ""), false, false),
        (r#"{"suggestedWindow": []}"#.to_owned(), false, false),
        ("<html>".to_owned(), false, false),
        (String::new(), false, false),
    ] {
        case.ca.wish(&body);
        let info = case.acme.renewal_info(&certificate).await.unwrap().unwrap();
        assert_eq!(info.window.is_some(), is_window, "{body}");
        assert!((Duration::from_secs(60)..=DAY).contains(&info.ask_again_after), "{body}");
        let mut view = View::of(leaf);
        view.window = info.window;
        let soon = decide(leaf.not_before + Duration::from_secs(60), &view);
        let is_asked = soon.action == Action::Issue(Cause::Asked);
        assert_eq!(is_asked, is_due_at_once, "{body}: {soon:?}");
        let late = decide(leaf.not_before + life * 9 / 10, &view);
        assert!(matches!(late.action, Action::Issue(_)), "{body}: {late:?}");
        if !is_window {
            assert_eq!(decide(leaf.not_before + life / 4, &view).wake_at, own, "{body}");
        }
    }
    // A window of ten thousand years that has begun: any time in it will do, and life ends before.
    case.ca.wish(&window("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"));
    let info = case.acme.renewal_info(&certificate).await.unwrap().unwrap();
    let mut view = View::of(leaf);
    view.window = info.window;
    let late = decide(leaf.not_before + life * 9 / 10, &view);
    assert!(matches!(late.action, Action::Issue(_)), "{late:?}");
    // It is told which certificate is replaced.
    case.acme.renew(&certificate).await.unwrap();
    assert!(case.ca.replaced().is_some());
}
