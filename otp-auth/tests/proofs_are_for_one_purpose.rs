//! A code for one thing is no code for another.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use otp_auth::login::{Admission, ChangeAddress, Login, Purpose, Reason, Refusal, StepUp, Verdict};
use support::{START, after, login, sign_in};

const ALICE: &str = "alice@example.jp";

enum DeleteAccount {}

impl Purpose for DeleteAccount {
    const NAME: &'static str = "delete-account";
}

struct Flow {
    nonce: String,
    cookie: String,
    code: String,
}

async fn begin<P: Purpose>(login: &Login<P>, secs: u64) -> Flow {
    let begin = sign_in(ALICE, Admission::Admitted);
    let (begun, dispatch) = login.begin(&begin, after(secs)).await.unwrap();
    Flow {
        nonce: begun.nonce.to_string(),
        cookie: begun.flow_cookie.expose(),
        code: dispatch.mail().unwrap().code().expose().to_owned(),
    }
}

async fn submit<P: Purpose>(login: &Login<P>, flow: &Flow) -> Verdict<P> {
    login.submit(&flow.nonce, &flow.cookie, &flow.code, START).await.unwrap()
}

#[tokio::test]
async fn a_code_is_refused_at_every_other_purpose_and_stays_good_at_its_own() {
    let sign_in = login();
    let step_up = sign_in.for_purpose::<StepUp>();
    let change = sign_in.for_purpose::<ChangeAddress>();
    let delete = change.for_purpose::<DeleteAccount>();
    let flow = begin(&delete, 0).await;
    let reasons = [
        submit(&sign_in, &flow).await.refusal().map(Refusal::reason),
        submit(&step_up, &flow).await.refusal().map(Refusal::reason),
        submit(&change, &flow).await.refusal().map(Refusal::reason),
    ];
    assert_eq!(reasons, [Some(Reason::OtherBrowser); 3]);
    let Verdict::Proven(proven) = submit(&delete, &flow).await else { panic!("refused") };
    assert_eq!(proven.address().key(), ALICE);
    assert!(format!("{proven:?}").contains("delete-account"));
}

/// Nobody gets more tries at a person by asking for codes of many kinds.
#[tokio::test]
async fn purposes_share_the_budgets_of_an_address() {
    let sign_in = login();
    let step_up = sign_in.for_purpose::<StepUp>();
    let wrong = |code: &str| format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000);
    let flows = [begin(&sign_in, 0).await, begin(&sign_in, 60).await];
    for flow in &flows {
        for _ in 0..5 {
            let wrong = wrong(&flow.code);
            let verdict = sign_in.submit(&flow.nonce, &flow.cookie, &wrong, after(60)).await;
            assert!(!matches!(verdict.unwrap(), Verdict::Proven(_)));
        }
    }
    let flow = begin(&step_up, 120).await;
    let verdict = step_up.submit(&flow.nonce, &flow.cookie, &flow.code, after(120)).await.unwrap();
    assert_eq!(verdict.refusal().map(Refusal::reason), Some(Reason::FailureBudget));
}
