//! Telling every part of a program to stop.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Told once, heard by all clones.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// The side that tells.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

impl Shutdown {
    /// Makes a pair.
    pub fn new() -> (Trigger, Self) {
        let (sender, receiver) = watch::channel(false);
        (Trigger(sender), Self(receiver))
    }

    /// Waits until it is told, or until the trigger is gone.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn told(mut self) {
        let _ = self.0.wait_for(|told| *told).await;
    }
}

impl Trigger {
    /// Tells all.
    pub fn tell(&self) {
        self.0.send_replace(true);
    }
}

/// Calls `reload` for each SIGHUP, until the future is dropped.
///
/// # Errors
///
/// If the system does not let this process listen for signals.
///
/// # Cancel safety
///
/// Safe.
pub async fn on_hangup(mut reload: impl FnMut()) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    while hangup.recv().await.is_some() {
        reload();
    }
    Ok(())
}

/// Waits for Ctrl-C or SIGTERM.
///
/// # Errors
///
/// If the system does not let this process listen for signals.
pub async fn signalled() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
