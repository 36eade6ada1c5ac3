//! Carrying a login from the team host to an application's host.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What the application's host is to do once the browser arrives there.
#[derive(Debug)]
pub(super) struct Handover {
    /// The application's host; no other may redeem it.
    pub host: String,
    /// Digest of the cookie of the browser that opened the application.
    pub app_session: String,
    /// The app token.
    pub token: String,
    /// How long it is good for.
    pub life: Duration,
    /// Where the visitor wanted to go.
    pub path: String,
}

/// Hand-overs under way, by the nonce in the URL. Each is redeemed at most once, within a minute.
#[derive(Debug, Default)]
pub(super) struct Handovers(Mutex<HashMap<String, (Instant, Handover)>>);

const LIFE: Duration = Duration::from_secs(60);

/// At the bound new ones are refused: the visitor may try again a minute later.
const AT_MOST: usize = 10_000;

impl Handovers {
    /// Keeps one. Says no when there are too many.
    pub(super) fn offer(&self, nonce: String, handover: Handover, now: Instant) -> bool {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= AT_MOST {
            open.retain(|_, (offered, _)| now.duration_since(*offered) < LIFE);
        }
        open.len() < AT_MOST && open.insert(nonce, (now, handover)).is_none()
    }

    /// Takes one out if it is for this host and browser. A wrong host or browser uses it up too.
    pub(super) fn redeem(
        &self,
        nonce: &str,
        host: &str,
        app_session: &str,
        now: Instant,
    ) -> Option<Handover> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (offered, handover) = open.remove(nonce)?;
        let fits = handover.host == host
            && handover.app_session == app_session
            && now.duration_since(offered) < LIFE;
        fits.then_some(handover)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(handovers: &Handovers, now: Instant) {
        let handover = Handover {
            host: "app".into(),
            app_session: "browser".into(),
            token: "t".into(),
            life: LIFE,
            path: "/".into(),
        };
        assert!(handovers.offer("n".into(), handover, now));
    }

    #[test]
    fn redeemed_once_in_time_by_the_right_browser_at_the_right_host() {
        let (handovers, now) = (Handovers::default(), Instant::now());
        offer(&handovers, now);
        assert!(handovers.redeem("n", "app", "browser", now).is_some());
        assert!(handovers.redeem("n", "app", "browser", now).is_none());
        for (host, browser, later) in
            [("other", "browser", 0), ("app", "other", 0), ("app", "browser", 61)]
        {
            offer(&handovers, now);
            let later = now + Duration::from_secs(later);
            assert!(handovers.redeem("n", host, browser, later).is_none());
            assert!(handovers.redeem("n", "app", "browser", now).is_none(), "used up");
        }
    }
}
