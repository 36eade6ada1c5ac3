//! One account at one authority: directory, nonces, and the requests that come before others.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use serde_json::json;

use crate::{
    acme::{
        account::{AccountKey, ExternalAccount},
        http::{Method, Request, Response},
        resource::Directory,
        wait::Pace,
    },
    error::Error,
    failure::{Failure, FailureClass},
    lifecycle::is_to_be_waited_for,
};

/// A conversation with an authority, without sockets: ask [`Session::request`] what to send, give the
/// answer to [`Session::handle`], until it says [`Handled::Answer`].
///
/// What has to come first comes by itself: the directory, a nonce, the account. Refused nonces are
/// replaced, ten times for one request.
#[derive(Debug)]
pub(crate) struct Session {
    settings: Settings,
    key: AccountKey,
    /// One of the two is in force: a change of keys was cut short. They change places until the authority takes one.
    spare: Option<AccountKey>,
    account: Option<String>,
    directory: Option<(Directory, SystemTime)>,
    nonces: VecDeque<(String, SystemTime)>,
    /// How far the authority's clock is ahead of this one, or behind, as it was seen last.
    skew: Skew,
    /// It asked for patience, of everybody here and not about certain names.
    hold: Option<Failure>,
    /// Whether its last refusal said when to come again.
    asks_for_patience: bool,
    /// How long the authority looks at answers to challenges.
    pub(crate) validation: Pace,
    /// How long it makes a certificate.
    pub(crate) issuance: Pace,
}

/// One goal under way. Many can be, side by side.
#[derive(Debug, Default)]
pub(crate) struct Call {
    sent: Sent,
    refused_nonces: u8,
    /// Whether an account was opened in place of one that the authority had forgotten.
    reopened: bool,
    /// The thumbprint of the key that signed last.
    signed_by: String,
    /// How often another key was tried than the one that was refused.
    other_keys: u8,
}

/// What an account needs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) directory_url: String,
    pub(crate) contacts: Vec<String>,
    pub(crate) agrees_to_terms: bool,
    pub(crate) external_account: Option<ExternalAccount>,
}

/// A signed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Goal {
    pub(crate) to: To,
    /// Nothing to read, `{}` to start something.
    pub(crate) payload: String,
    pub(crate) doing: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum To {
    NewOrder,
    RevokeCertificate,
    /// The payload is the new key's.
    KeyChange,
    /// The account itself.
    Account,
    Url(String),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sent {
    #[default]
    Nothing,
    Directory,
    Nonce,
    Account,
    Goal,
}

/// How far this machine's clock is from another.
#[derive(Clone, Copy, Debug, Default)]
struct Skew {
    is_behind: bool,
    by: Duration,
}

impl Skew {
    fn of(theirs: SystemTime, ours: SystemTime) -> Self {
        match theirs.duration_since(ours) {
            Ok(by) => Self { is_behind: true, by },
            Err(error) => Self { is_behind: false, by: error.duration() },
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Handled {
    /// Send what [`Session::request`] says next.
    Continue,
    /// The answer to the goal: a success.
    Answer(Response),
}

impl Session {
    /// `spare` is a key that may have taken the other's place, and `account` the account's URL, if it is known.
    pub(crate) fn new(
        settings: Settings,
        key: AccountKey,
        spare: Option<AccountKey>,
        account: Option<String>,
    ) -> Self {
        Self {
            settings,
            key,
            spare,
            account,
            directory: None,
            nonces: VecDeque::new(),
            skew: Skew::default(),
            hold: None,
            asks_for_patience: false,
            validation: Pace::default(),
            issuance: Pace::default(),
        }
    }

    /// What to send now in order to reach a goal.
    pub(crate) fn request(
        &mut self,
        call: &mut Call,
        goal: &Goal,
        now: SystemTime,
    ) -> Result<Request, Failure> {
        self.check_hold(goal, now)?;
        if let Some(request) = self.directory_request(call, now) {
            return Ok(request);
        }
        if goal.to == To::NewOrder {
            self.check_clock(goal)?;
        }
        let Some((directory, _)) = &self.directory else {
            return Err(Failure::new(FailureClass::Network, "read the directory"));
        };
        let (url, payload, doing) = if self.account.is_none() {
            let payload = self.new_account(directory)?;
            call.sent = Sent::Account;
            (directory.new_account.clone(), payload, OPEN_ACCOUNT)
        } else {
            call.sent = Sent::Goal;
            (self.url(directory, goal)?, goal.payload.clone(), goal.doing)
        };
        let Some(nonce) = newest(&mut self.nonces, now) else {
            call.sent = Sent::Nonce;
            return Ok(bare(Method::Head, &directory.new_nonce));
        };
        let identity = self.account.as_deref();
        call.signed_by = self.key.thumbprint();
        let signed = self.key.sign(identity, Some(&nonce), &url, &payload);
        let body = signed.map_err(|error| unusable(&error, doing))?;
        Ok(Request { method: Method::Post, url, body })
    }

    /// What to send in order to know the directory; nothing if it is known.
    pub(crate) fn directory_request(&self, call: &mut Call, now: SystemTime) -> Option<Request> {
        let is_stale = |(_, at): &(Directory, SystemTime)| *at + DIRECTORY_LIFE < now;
        self.directory.as_ref().is_none_or(is_stale).then(|| {
            call.sent = Sent::Directory;
            bare(Method::Get, &self.settings.directory_url)
        })
    }

    /// Takes what came back for the last request.
    pub(crate) fn handle(
        &mut self,
        call: &mut Call,
        goal: &Goal,
        response: Response,
        now: SystemTime,
    ) -> Result<Handled, Failure> {
        if let Some(nonce) = response.replay_nonce.clone().filter(|nonce| is_nonce(nonce)) {
            self.nonces.push_back((nonce, now));
            if self.nonces.len() > MAX_NONCES {
                self.nonces.pop_front();
            }
        }
        if let Some(theirs) = response.time() {
            self.skew = Skew::of(theirs, now);
        }
        let sent = std::mem::take(&mut call.sent);
        let doing = match sent {
            Sent::Nothing | Sent::Goal => goal.doing,
            Sent::Directory => "read the directory",
            Sent::Nonce => "fetch a nonce",
            Sent::Account => OPEN_ACCOUNT,
        };
        if response.is_success() {
            return self.handle_success(call, sent, response, now, doing);
        }
        let failure = Failure::of(&response, doing, now);
        self.asks_for_patience = response.retry_after(now).is_some();
        if failure.class == FailureClass::Trouble {
            self.hold(&failure);
        }
        if failure.is("badNonce") && call.refused_nonces < MAX_REFUSED_NONCES {
            call.refused_nonces += 1;
            return Ok(Handled::Continue);
        }
        if failure.may_be_the_key() && self.has_another_key(call) {
            return Ok(Handled::Continue);
        }
        if failure.is("accountDoesNotExist") && sent == Sent::Goal && !call.reopened {
            // The authority was set up anew.
            self.account = None;
            call.reopened = true;
            return Ok(Handled::Continue);
        }
        call.refused_nonces = 0;
        let is_goal = |to: fn(&To) -> bool| sent == Sent::Goal && to(&goal.to);
        if matches!(response.status, 404 | 410) && !is_goal(|to| matches!(to, To::Url(_))) {
            // Authorities move house: what they offer, and where, is read again.
            self.directory = None;
        }
        // Whether a refused order is about everybody, the order knows.
        if failure.class == FailureClass::Hold && sent != Sent::Goal {
            self.hold(&failure);
        }
        Err(failure)
    }

    /// Leaves the authority in peace, if it has just asked for that.
    pub(crate) fn hold(&mut self, failure: &Failure) {
        if self.asks_for_patience {
            self.hold = Some(failure.clone());
        }
    }

    /// Others may have been told to wait while this one was on its way. What was ordered goes on, and what has nothing to do with
    /// orders, such as to revoke a certificate, waits for an authority in trouble only.
    fn check_hold(&mut self, goal: &Goal, now: SystemTime) -> Result<(), Failure> {
        let ends = self.hold.as_ref().and_then(|failure| failure.not_before);
        if !ends.is_some_and(|ends| is_to_be_waited_for(ends, now)) {
            self.hold = None;
        }
        let is_new = goal.to == To::NewOrder || self.account.is_none();
        let concerns = |failure: &Failure| match goal.to {
            To::Url(_) => false,
            _ => is_new || failure.class == FailureClass::Trouble,
        };
        self.hold.clone().filter(concerns).map_or(Ok(()), Err)
    }

    /// By a wrong clock a certificate is not valid when it comes, and is paid for in vain.
    fn check_clock(&mut self, goal: &Goal) -> Result<(), Failure> {
        let Skew { is_behind, by } = self.skew;
        if by <= MOST_SKEW {
            return Ok(());
        }
        // Whether it was set right shows when the directory is read again.
        (self.directory, self.skew) = (None, Skew::default());
        let side = if is_behind { "behind" } else { "ahead of" };
        let minutes = by.as_secs() / 60;
        let text = format!(
            "this machine's clock is {minutes} minutes {side} the authority's; set it right"
        );
        Err(Failure::because(FailureClass::Network, goal.doing, text))
    }

    /// The authority's time.
    pub(crate) fn their_time(&self, ours: SystemTime) -> SystemTime {
        let Skew { is_behind, by } = self.skew;
        if is_behind { ours + by } else { ours - by }
    }

    fn handle_success(
        &mut self,
        call: &mut Call,
        sent: Sent,
        response: Response,
        now: SystemTime,
        doing: &'static str,
    ) -> Result<Handled, Failure> {
        match sent {
            Sent::Directory => {
                let directory = serde_json::from_slice(&response.body).map_err(|error| {
                    Failure::because(FailureClass::Network, doing, error.to_string())
                })?;
                self.directory = Some((directory, now));
            }
            Sent::Nonce if self.nonces.is_empty() => {
                return Err(Failure::because(
                    FailureClass::Network,
                    doing,
                    "the answer carries no nonce",
                ));
            }
            Sent::Account => {
                let account = response.location.ok_or_else(|| {
                    Failure::because(
                        FailureClass::Network,
                        doing,
                        "the answer does not say where the account is",
                    )
                })?;
                self.account = Some(account);
            }
            Sent::Nothing | Sent::Nonce => {}
            Sent::Goal => {
                call.refused_nonces = 0;
                if call.other_keys > 0 && call.signed_by == self.key.thumbprint() {
                    // The change of keys is complete.
                    self.spare = None;
                }
                return Ok(Handled::Answer(response));
            }
        }
        Ok(Handled::Continue)
    }

    /// After a refusal that may be due to the key: whether to try again, with another than that which signed.
    fn has_another_key(&mut self, call: &mut Call) -> bool {
        if call.other_keys == MAX_OTHER_KEYS {
            return false;
        }
        call.other_keys += 1;
        if call.signed_by != self.key.thumbprint() {
            // Another call found out meanwhile.
            return true;
        }
        let Some(spare) = &mut self.spare else { return false };
        std::mem::swap(spare, &mut self.key);
        // After the second it is not the key: all is as before.
        call.other_keys < MAX_OTHER_KEYS
    }

    /// What is known of the authority so far.
    pub(crate) fn directory(&self) -> Option<&Directory> {
        self.directory.as_ref().map(|(directory, _)| directory)
    }

    /// The account's URL, once it is open.
    pub(crate) fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    pub(crate) fn key(&self) -> &AccountKey {
        &self.key
    }

    pub(crate) fn spare(&self) -> Option<&AccountKey> {
        self.spare.as_ref()
    }

    /// The payload that hands the account over to another key (RFC 8555 section 7.3.5).
    pub(crate) fn key_change(&self, new: &AccountKey) -> Result<String, Error> {
        let url = self.directory().and_then(|directory| directory.key_change.as_deref());
        let payload = format!(
            r#"{{"account":{},"oldKey":{}}}"#,
            json!(self.account.as_deref().unwrap_or_default()),
            self.key.jwk()
        );
        new.sign(None, None, url.unwrap_or_default(), &payload)
    }

    /// Signs with another key from now on.
    pub(crate) fn set_key(&mut self, key: AccountKey) {
        self.key = key;
        self.spare = None;
    }

    fn new_account(&self, directory: &Directory) -> Result<String, Failure> {
        let refuse =
            |text: String| Err(Failure::because(FailureClass::Account, OPEN_ACCOUNT, text));
        let mut payload = json!({});
        if let Some(terms) = &directory.meta.terms_of_service {
            if !self.settings.agrees_to_terms {
                return refuse(format!("the authority has terms to agree to first: {terms}"));
            }
            payload["termsOfServiceAgreed"] = true.into();
        }
        if !self.settings.contacts.is_empty() {
            payload["contact"] = self.settings.contacts.as_slice().into();
        }
        match &self.settings.external_account {
            Some(external) => {
                let binding = external.bind(&self.key, &directory.new_account);
                payload["externalAccountBinding"] =
                    serde_json::from_str(&binding).unwrap_or_default();
            }
            None if directory.meta.external_account_required => {
                return refuse(
                    "the authority wants an external account: a key identifier and a MAC key"
                        .to_owned(),
                );
            }
            None => {}
        }
        Ok(payload.to_string())
    }

    fn url(&self, directory: &Directory, goal: &Goal) -> Result<String, Failure> {
        let offered = |url: &Option<String>| {
            url.clone().ok_or_else(|| {
                Failure::because(
                    FailureClass::Request,
                    goal.doing,
                    "the authority does not offer it",
                )
            })
        };
        match &goal.to {
            To::NewOrder => Ok(directory.new_order.clone()),
            To::RevokeCertificate => offered(&directory.revoke_cert),
            To::KeyChange => offered(&directory.key_change),
            To::Account => Ok(self.account.clone().unwrap_or_default()),
            To::Url(url) => Ok(url.clone()),
        }
    }
}

impl Goal {
    /// Reads something.
    pub(crate) fn read(url: &str, doing: &'static str) -> Self {
        Self { to: To::Url(url.to_owned()), payload: String::new(), doing }
    }

    pub(crate) fn post(to: To, payload: &serde_json::Value, doing: &'static str) -> Self {
        Self { to, payload: payload.to_string(), doing }
    }
}

/// The newest nonce that the authority may still know.
fn newest(nonces: &mut VecDeque<(String, SystemTime)>, now: SystemTime) -> Option<String> {
    nonces.retain(|(_, at)| now.duration_since(*at).is_ok_and(|age| age < NONCE_LIFE));
    nonces.pop_back().map(|(nonce, _)| nonce)
}

pub(crate) fn bare(method: Method, url: &str) -> Request {
    Request { method, url: url.to_owned(), body: String::new() }
}

/// RFC 8555 section 6.5.1: base64url.
fn is_nonce(text: &str) -> bool {
    (1..=512).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn unusable(error: &Error, doing: &'static str) -> Failure {
    Failure::because(FailureClass::Account, doing, error.to_string())
}

pub(crate) const OPEN_ACCOUNT: &str = "open an account";
const DIRECTORY_LIFE: Duration = Duration::from_secs(86_400);
/// Authorities date certificates back by an hour.
const MOST_SKEW: Duration = Duration::from_secs(3600);
const NONCE_LIFE: Duration = Duration::from_secs(300);
const MAX_NONCES: usize = 16;
const MAX_REFUSED_NONCES: u8 = 10;
/// There and back.
const MAX_OTHER_KEYS: u8 = 2;
