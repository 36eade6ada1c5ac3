//! The secret that a connector proves itself with.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A tunnel's secret: the bytes that a connector shows the edge when it registers.
///
/// Comparison takes the same time wherever two secrets of one length differ. `Debug` shows
/// nothing of it, and the bytes are overwritten on drop. New secrets should be 32 random bytes.
#[derive(Clone)]
pub struct TunnelSecret(Zeroizing<Vec<u8>>);

impl TunnelSecret {
    /// Takes the secret's raw bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The raw bytes, for the one place that writes them down.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for TunnelSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TunnelSecret {}

impl fmt::Debug for TunnelSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TunnelSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_by_content_and_shows_nothing() {
        assert_eq!(TunnelSecret::new([7; 32]), TunnelSecret::new([7; 32]));
        assert_ne!(TunnelSecret::new([7; 32]), TunnelSecret::new([8; 32]));
        assert_ne!(TunnelSecret::new([7; 32]), TunnelSecret::new([7; 31]));
        assert_eq!(format!("{:?}", TunnelSecret::new(*b"hunter2")), "TunnelSecret(..)");
    }
}
