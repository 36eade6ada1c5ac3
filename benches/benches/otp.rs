//! A sign-in with the store in memory, and the tokens that follow it.

use std::{hint::black_box, sync::Arc};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use otp_auth::{
    keys::{KeyRing, KeySet, SigningKey},
    login::{Admission, Begin, Login, Verdict},
    random::SystemRandom,
    secret::Pepper,
    session::{AppGrant, AppVerifier, Epoch, Issuer},
    store::MemoryStore,
    timestamp::Timestamp,
    token::Audience,
};
use tokio::runtime::Runtime;

const TEAM: &str = "https://auth.example.jp";

fn sign_ins(criterion: &mut Criterion) {
    let (runtime, login, mut clock) = (runtime(), login(), Clock::start());
    let mut group = criterion.benchmark_group("otp");
    group.throughput(Throughput::Elements(1));
    group.bench_function("begin", |bencher| {
        bencher.iter(|| runtime.block_on(login.begin(&sign_in(), clock.next())));
    });
    group.bench_function("submit, wrong code", |bencher| {
        bencher.iter_batched_ref(
            || {
                let now = clock.next();
                let begun = runtime.block_on(login.begin(&sign_in(), now));
                let (begun, _) = begun.expect("the store works");
                (begun.nonce.to_string(), begun.flow_cookie.expose(), now)
            },
            |(nonce, cookie, now)| runtime.block_on(login.submit(nonce, cookie, "000000", *now)),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("begin and submit", |bencher| {
        bencher.iter(|| runtime.block_on(prove(&login, clock.next())));
    });
    group.finish();
}

fn tokens(criterion: &mut Criterion) {
    let (runtime, login) = (runtime(), login());
    let now = Clock::start().next();
    let random = SystemRandom::new();
    let key = SigningKey::generate(&random).expect("randomness");
    let keys = KeyRing::new(KeySet::new(key, now));
    let issuer = Issuer::new(keys.clone(), Arc::new(random), TEAM).expect("a good origin");
    let Verdict::Proven(proven) = runtime.block_on(prove(&login, now)) else {
        panic!("the right code was refused")
    };
    let session = issuer.org_token(proven, Epoch::at(now), now).expect("randomness");
    let audience = Audience::for_application(TEAM, "app-1");
    let issue = || {
        let grant = AppGrant::new(audience.clone());
        issuer.app_token(&session.claims, &grant, now).expect("a live session")
    };
    let token = issue();
    let new_verifier = || AppVerifier::new(Arc::new(keys.clone()), issuer.issuer());
    let verifier = new_verifier();

    let mut group = criterion.benchmark_group("otp/token");
    group.throughput(Throughput::Elements(1));
    group.bench_function("issue", |bencher| bencher.iter(issue));
    group.bench_function("verify, first time", |bencher| {
        bencher.iter_batched_ref(
            new_verifier,
            |verifier| verifier.verify(black_box(token.expose()), &audience, now),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("verify, again", |bencher| {
        assert!(verifier.verify(token.expose(), &audience, now).is_ok());
        bencher.iter(|| verifier.verify(black_box(token.expose()), &audience, now));
    });
    group.finish();
}

/// A whole sign-in without the mail's way.
async fn prove(login: &Login, now: Timestamp) -> Verdict {
    let (begun, dispatch) = login.begin(&sign_in(), now).await.expect("the store works");
    let code = dispatch.mail().expect("within the budget").code().expose();
    let (nonce, cookie) = (begun.nonce.to_string(), begun.flow_cookie.expose());
    login.submit(&nonce, &cookie, code, now).await.expect("the store works")
}

fn sign_in() -> Begin {
    Begin::new(
        "alice@example.jp".parse().expect("an address"),
        Admission::Admitted,
        [203, 0, 113, 7].into(),
        "app.example.jp".parse().expect("a host"),
    )
}

fn login() -> Login {
    let random = SystemRandom::new();
    let pepper = Pepper::generate(&random).expect("randomness");
    let host = "auth.example.jp".parse().expect("a host");
    let store = Arc::new(MemoryStore::new());
    // One visitor signs in all day long.
    Login::builder(store, pepper, Arc::new(random), host)
        .danger_without_budgets()
        .build()
        .expect("good settings")
}

/// Each sign-in is a second after the one before it, so the store forgets the old ones.
struct Clock(u64);

impl Clock {
    fn start() -> Self {
        Self(1_790_000_000)
    }

    fn next(&mut self) -> Timestamp {
        self.0 += 1;
        Timestamp::from_unix_secs(self.0)
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

criterion_group!(benches, sign_ins, tokens);
criterion_main!(benches);
