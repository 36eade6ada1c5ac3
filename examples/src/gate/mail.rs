//! Delivering codes, outside the answer to the visitor.

use std::sync::Arc;

use otp_auth::{
    login::{Delivery, Dispatch},
    mail::MailError,
};

use super::Gate;
use crate::output::{Event, chain};

impl Gate {
    /// Delivers in a task of its own: the visitor's answer neither waits nor tells what happens.
    pub(super) fn deliver(self: &Arc<Self>, dispatch: Dispatch) {
        let gate = Arc::clone(self);
        tokio::spawn(async move {
            let address = gate.reporter.name(dispatch.to().as_str());
            let event = match dispatch.deliver(&*gate.mailer).await {
                Ok(Delivery::Sent) => Event::CodeSent { address },
                Ok(Delivery::Decoy(reason)) => {
                    Event::CodeNotSent { address, reason: reason.to_string() }
                }
                Ok(_) => Event::CodeNotSent { address, reason: "a newer one is on its way".into() },
                Err(error) => Event::MailFailed { address, error: explain(&error) },
            };
            gate.reporter.tell(&event);
        });
    }
}

/// The error with what to look at.
fn explain(error: &MailError) -> String {
    let advice = if error.is_retryable() {
        "is the mail server up, and does `smtp` name it? The visitor can ask for another code"
    } else {
        "the mail server will say no again; look at `smtp` and `from`"
    };
    format!("{}; {advice}", chain(error))
}
