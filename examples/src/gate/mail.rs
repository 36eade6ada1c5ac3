//! What becomes of codes on their way.

use std::{sync::Arc, time::Duration};

use otp_auth::mail::{
    Failure, Job, MailError, Mailer, Outbox, OutboxEvent, OutboxObserver, Silence,
};
use tracing::{error, warn};

use crate::output::{Event, Reporter, chain};

/// Has mails sent for as long as the program runs, also after a fault in what sends them or tells of it.
pub(super) async fn deliver(outbox: Outbox, mailer: Arc<dyn Mailer>) {
    loop {
        let (worker, mailer) = (outbox.clone(), Arc::clone(&mailer));
        let Err(fault) = tokio::spawn(async move { worker.run(mailer).await }).await;
        if fault.is_cancelled() {
            return;
        }
        error!(%fault, "delivering mails broke off; it begins again");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Tells the operator.
#[derive(Debug)]
pub(super) struct Telling(pub Reporter);

impl OutboxObserver for Telling {
    fn observe(&self, event: &OutboxEvent) {
        if let Some(event) = self.in_words(event) {
            self.0.tell(&event);
        }
    }
}

impl Telling {
    fn in_words(&self, event: &OutboxEvent) -> Option<Event> {
        Some(match event {
            OutboxEvent::Handed { job, .. } => Event::CodeSent { address: self.name(job) },
            OutboxEvent::Silent { job, reason } => Event::CodeNotSent {
                address: self.name(job),
                reason: match reason {
                    Silence::Decoy(reason) => reason.to_string(),
                    _ => NEWER.into(),
                },
            },
            OutboxEvent::Failed { job, reason: Failure::Superseded } => {
                Event::CodeNotSent { address: self.name(job), reason: NEWER.into() }
            }
            OutboxEvent::Delayed { job, error, next_in } => Event::MailDelayed {
                address: self.name(job),
                error: format!("{}; is the mail server up, and does `smtp` name it?", chain(error)),
                seconds: next_in.as_secs_f64(),
            },
            OutboxEvent::Failed { job, reason } => {
                if matches!(reason, Failure::QueueFull) {
                    error!(
                        "too many mails wait: the mail server is away, or somebody asks for very many codes"
                    );
                }
                Event::MailFailed { address: self.name(job), error: explain(reason) }
            }
            OutboxEvent::OverBudget { next_in } => {
                warn!(?next_in, "strangers have asked for very many codes; their mails wait");
                return None;
            }
            OutboxEvent::Unreadable { id } => {
                warn!(id, "a mail of before the restart could not be read; it is dropped");
                return None;
            }
            OutboxEvent::StoreUnavailable { error } => {
                let error = chain(error);
                warn!(error, "sent mails stay in the outbox; a restart would send them again");
                return None;
            }
            _ => return None,
        })
    }

    fn name(&self, job: &Job) -> String {
        self.0.name(job.to().as_str())
    }
}

/// The reason with what to look at.
fn explain(reason: &Failure) -> String {
    match reason {
        Failure::Refused(error) => {
            let advice = match error {
                MailError::Authentication { .. } => "look at `mail.user` and `mail.password_file`",
                _ => "it will say no again; look at `smtp` and `from`, and at its own log",
            };
            format!("{}; {advice}", chain(error))
        }
        reason => format!("{reason}; the visitor can ask for another code"),
    }
}

const NEWER: &str = "a newer one is on its way";
