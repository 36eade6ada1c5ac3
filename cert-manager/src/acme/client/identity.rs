//! Who the account is: its key, its URL, and what the store and other nodes know of them.

use super::Acme;
use crate::{
    acme::{
        account::AccountKey,
        journal::StoredAccount,
        session::{Call, Goal, OPEN_ACCOUNT, Session, To},
    },
    error::Error,
    failure::Failure,
    key::PrivateKey,
};

/// The account's URL, its key's thumbprint, and whether there is a second key.
pub(super) type Identity = Option<(Option<String>, String, bool)>;

impl Acme {
    /// Gives the account a new key (RFC 8555 section 7.3.5). The new key is stored before the authority hears of it.
    ///
    /// # Errors
    ///
    /// [`Error::failure`] or [`Error::is_store`]; the old key stays in force then.
    pub async fn change_key(&self) -> Result<(), Error> {
        let new = AccountKey::generate()?;
        // The account and the directory have to be known.
        self.reach(&Goal { to: To::Account, payload: String::new(), doing: "read the account" })
            .await?;
        let (payload, mut stored) = self
            .with_session(|session| Ok((session.key_change(&new)?, StoredAccount::of(session))))?;
        stored.next_key = Some(new.to_pem().expose().to_owned());
        self.journal.keep_account(stored).await?;
        self.reach(&Goal { to: To::KeyChange, payload, doing: "change the account's key" }).await?;
        let stored = self.with_session(|session| {
            session.set_key(new);
            Ok(StoredAccount::of(session))
        })?;
        self.journal.keep_account(stored).await
    }

    /// Opens the account, if it is not open. Of many that need it one does so: authorities may not take the same key twice at once.
    pub(super) async fn open_account(&self) -> Result<(), Error> {
        self.restore_account().await?;
        let is_open = || self.with_session(|session| Ok(session.account().is_some()));
        if is_open()? {
            return Ok(());
        }
        let _turn = self.opening.lock().await;
        let goal = Goal { to: To::Account, payload: String::new(), doing: OPEN_ACCOUNT };
        let mut call = Call::default();
        while !is_open()? {
            self.step(&mut call, &goal).await?;
        }
        Ok(())
    }

    /// Takes the account out of the store, or makes a key for a new one and stores it.
    pub(super) async fn restore_account(&self) -> Result<(), Error> {
        if self.session().is_some() {
            return Ok(());
        }
        let stored = match self.journal.account().await? {
            Some(stored) => stored,
            // Stored before the authority hears of it; another node may be faster, and its key is taken then.
            None => self.journal.keep_first_account(StoredAccount::new()?).await?,
        };
        let new = self.session_of(&stored)?;
        self.session().get_or_insert(new);
        Ok(())
    }

    fn session_of(&self, stored: &StoredAccount) -> Result<Session, Error> {
        let key = |pem: &String| AccountKey::new(PrivateKey::from_pem(pem)?, &self.provider);
        let spare = stored.next_key.as_ref().map(key).transpose()?;
        Ok(Session::new(self.settings.clone(), key(&stored.key)?, spare, stored.url.clone()))
    }

    /// Another node may have changed the account's key. Where that may be why something failed, goes on with the key
    /// that is stored, if it is another; whether it was.
    pub(super) async fn takes_stored_key(&self, error: &Error) -> Result<bool, Error> {
        if !error.failure().is_some_and(Failure::may_be_the_key) {
            return Ok(false);
        }
        let Some(stored) = self.journal.account().await? else { return Ok(false) };
        let new = self.session_of(&stored)?;
        let mut session = self.session();
        let is_known = session.as_ref().is_some_and(|session| {
            let known = [Some(session.key()), session.spare()];
            let known: Vec<_> = known.into_iter().flatten().map(AccountKey::thumbprint).collect();
            let keys = [Some(new.key()), new.spare()];
            keys.into_iter().flatten().all(|key| known.contains(&key.thumbprint()))
        });
        if !is_known {
            *session = Some(new);
        }
        Ok(!is_known)
    }

    pub(super) async fn keep_account_if_new(&self, before: &Identity) -> Result<(), Error> {
        if self.identity() == *before {
            return Ok(());
        }
        let stored = self.with_session(|session| Ok(StoredAccount::of(session)))?;
        self.journal.keep_account(stored).await
    }

    /// The account's URL, its key's thumbprint, and whether there is a second key.
    pub(super) fn identity(&self) -> Identity {
        let session = self.session();
        session.as_ref().map(|session| {
            let account = session.account().map(ToOwned::to_owned);
            (account, session.key().thumbprint(), session.spare().is_some())
        })
    }
}
