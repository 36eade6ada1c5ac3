//! A token that verified before is checked again without allocating. Alone in its process, because the
//! allocator counts for all threads.

mod support;
#[path = "support/tokens.rs"]
mod team;

use std::sync::Arc;

use otp_auth::session::{AppVerifier, RevocationKey, Revocations};
use peak_alloc::PeakAlloc;
use support::{START, after};
use team::{TEAM, Team};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// How far the heap grew at its largest, in bytes, while `run` ran.
fn grown(run: impl FnOnce()) -> usize {
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    run();
    HEAP.peak_usage().saturating_sub(before)
}

#[tokio::test]
async fn a_hit_allocates_nothing_and_a_first_look_does() {
    for team in Team::all().await {
        let revocations = Arc::new(Revocations::new());
        let verifier =
            AppVerifier::new(Arc::new(team.keys.clone()), TEAM).revocations(revocations.clone());
        let token = team.app_token();
        let verify = |secs| {
            let claims = verifier.verify(token.expose(), &team.audience, after(secs));
            assert!(claims.is_ok_and(|claims| claims.email().is_some()));
        };
        let first = grown(|| verify(0));
        assert!(first > 500, "{first} bytes: the allocator is not counted");
        assert_eq!(grown(|| verify(1)), 0);
        // A log-out of somebody else makes it look again, once, and still in place.
        revocations.revoke(&RevocationKey::subject("bob"), START).await.unwrap();
        assert_eq!(grown(|| verify(2)), 0);
        assert_eq!(grown(|| (0..1_000).for_each(|_| verify(3))), 0);
    }
}
