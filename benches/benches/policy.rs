//! One decision of the policy engine, with one application and with a thousand.

use std::hint::black_box;

use access_policy::{
    Application, EmailAddress, Engine, Identity, Outcome, Policies, Policy, Request, Rule,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const APPLICATIONS: [usize; 2] = [1, 1_000];

fn decisions(criterion: &mut Criterion) {
    let hanako = Identity::new(EmailAddress::parse("hanako@example.jp").expect("an address"));
    let mut group = criterion.benchmark_group("policy");
    group.throughput(Throughput::Elements(1));
    for applications in APPLICATIONS {
        let engine = engine(applications);
        let host = host(applications / 2);
        let anonymous = Request::new(&host, "/reports/2026/11").expect("a good request");
        let anonymous = anonymous.client_ip([192, 0, 2, 9].into());
        let known = anonymous.clone().identity(&hanako);
        let elsewhere = Request::new("elsewhere.example.jp", "/").expect("a good request");
        assert_eq!(engine.decide(&known).outcome(), Outcome::Allow);
        assert_eq!(engine.decide(&anonymous).outcome(), Outcome::NeedsIdentity);
        assert!(!engine.decide(&elsewhere).is_pass());

        for (case, request) in
            [("allow", &known), ("needs identity", &anonymous), ("unknown host", &elsewhere)]
        {
            group.bench_function(BenchmarkId::new(case, applications), |bencher| {
                bencher.iter(|| engine.decide(black_box(request)).outcome());
            });
        }
        group.bench_function(BenchmarkId::new("allow, from strings", applications), |bencher| {
            bencher.iter(|| {
                let email = EmailAddress::parse(black_box("hanako@example.jp"));
                let identity = Identity::new(email.expect("an address"));
                let request = Request::new(black_box(&host), black_box("/reports/2026/11"));
                let request = request.expect("a good request").client_ip([192, 0, 2, 9].into());
                engine.decide(&request.identity(&identity)).outcome()
            });
        });
    }
    group.finish();
}

/// Applications as `edge.toml` makes them: one host, one allow policy.
fn engine(applications: usize) -> Engine {
    let application = |number| {
        let rule = Rule::from_allowed_mail("*@example.jp").expect("a good rule");
        let host = host(number);
        Application::new(host.as_str())
            .destination(host.parse().expect("a good host"))
            .policy(Policy::allow("staff").include(rule))
    };
    Engine::compile(Policies::new((0..applications).map(application))).expect("good policies")
}

fn host(number: usize) -> String {
    format!("app-{number}.example.jp")
}

criterion_group!(benches, decisions);
criterion_main!(benches);
