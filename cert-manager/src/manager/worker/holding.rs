//! Issuers that nobody is to ask for a while, on no node.

use std::{
    sync::{MutexGuard, PoisonError},
    time::SystemTime,
};

use super::{Worker, World};
use crate::{
    error::{Error, StorageError},
    manager::{
        status::Event,
        stored::{Hold, read, write},
    },
    storage::Key,
};

/// What this node knows of an issuer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    /// As last read or written.
    pub(super) hold: Option<Hold>,
}

impl<W: World> Worker<W> {
    pub(super) fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        // It is changed by whole values.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn read_holds(&self) -> Result<(), Error> {
        for (at, issuer) in self.issuers.iter().enumerate() {
            let hold = read::<Hold>(&*self.storage, &hold_key(issuer)?).await?;
            self.known()[at].hold = hold.map(|(hold, _)| hold);
        }
        Ok(())
    }

    /// Leaves an issuer in peace, on all nodes.
    pub(super) async fn hold(
        &self,
        issuer: usize,
        not_before: Option<SystemTime>,
    ) -> Result<(), Error> {
        let (name, now) = (&self.issuers[issuer], self.world.now());
        let key = hold_key(name)?;
        loop {
            let found = read::<Hold>(&*self.storage, &key).await?;
            let version = found.map(|(_, version)| version);
            let hold = Hold::after(found.map(|(hold, _)| hold), now, not_before);
            match write(&*self.storage, &key, &hold, version).await {
                Err(StorageError::Conflict) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {
                    self.known()[issuer].hold = Some(hold);
                    self.teller.tell(Event::Held { issuer: name.clone(), until: hold.until() });
                    return Ok(());
                }
            }
        }
    }

    /// It answered.
    pub(super) async fn lift_hold(&self, issuer: usize) -> Result<(), Error> {
        let key = hold_key(&self.issuers[issuer])?;
        let Some((hold, version)) = read::<Hold>(&*self.storage, &key).await? else {
            return Ok(());
        };
        if hold.until() > self.world.now() {
            // Others were told to wait while this one was under way.
            return Ok(());
        }
        match self.storage.delete(&key, version).await {
            Ok(()) => self.known()[issuer].hold = None,
            Err(StorageError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn hold_key(issuer: &str) -> Result<Key, Error> {
    format!("holds/{issuer}.json").parse()
}
