//! On what terms a visitor passes.

use std::time::Duration;

use crate::{
    application::Application,
    catalog::Model,
    obligation::{Mfa, Obligations},
    policy::Policy,
};

/// What holds for a visitor who passes by a policy of an application.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// How long a login lasts.
    pub(crate) session: Duration,
    /// The second factor that is demanded.
    pub(crate) mfa: Option<&'a Mfa>,
    pub(crate) obligations: Option<&'a Obligations>,
}

impl<'a> Terms<'a> {
    /// By the policy, else the application, else the organisation, else Cloudflare's default.
    pub(crate) fn of(
        model: Model<'a>,
        application: Option<&'a Application>,
        policy: Option<&'a Policy>,
    ) -> Self {
        let organization = &model.policies.organization;
        let obligations = policy.and_then(Policy::obligations);
        let settings = application.and_then(|application| application.settings.as_deref());
        Self {
            session: policy
                .and_then(|policy| policy.session_duration)
                .or_else(|| application.and_then(|application| application.session_duration))
                .or(organization.session_duration)
                .unwrap_or(DEFAULT_SESSION_DURATION),
            mfa: obligations
                .and_then(|obligations| obligations.mfa.as_ref())
                .or_else(|| settings.and_then(|settings| settings.mfa.as_ref()))
                .or(organization.mfa.as_ref())
                .filter(|mfa| !mfa.disabled),
            obligations,
        }
    }

    /// By positions.
    pub(crate) fn at(model: Model<'a>, application: usize, policy: Option<u32>) -> Self {
        let application = model.policies.applications.get(application);
        let entry = application.and_then(|application| application.policies.get(policy? as usize));
        Self::of(model, application, entry.and_then(|entry| model.policy(entry)))
    }

    /// Whether whoever keeps to these terms keeps to the others too.
    pub(crate) fn cover(&self, other: &Self) -> bool {
        self.session <= other.session
            && (other.mfa.is_none() || self.mfa == other.mfa)
            && (other.obligations.is_none_or(Obligations::is_empty)
                || self.obligations == other.obligations)
    }
}

/// Cloudflare's default.
const DEFAULT_SESSION_DURATION: Duration = Duration::from_secs(24 * 60 * 60);
