//! How risky a visitor is thought to be.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Kind};

/// A visitor's level of risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RiskLevel {
    /// `low`.
    Low,
    /// `medium`.
    Medium,
    /// `high`.
    High,
    /// `unscored`: nobody has judged it yet.
    Unscored,
}

/// A set of levels, as the selector `user_risk_score` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RiskLevels(u8);

impl RiskLevel {
    /// All levels.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Unscored];

    /// Returns the name in Cloudflare's JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Unscored => "unscored",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|level| level.as_str() == text).ok_or_else(|| {
            let expected = "`low`, `medium`, `high`, `unscored`";
            Kind::UnknownValue { found: crate::limits::excerpt(text), expected }.into()
        })
    }
}

impl Serialize for RiskLevel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for RiskLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl RiskLevels {
    /// Reports whether `level` is in the set.
    pub fn contains(self, level: RiskLevel) -> bool {
        self.0 & 1 << level as u8 != 0
    }

    /// Returns the levels, lowest first.
    pub fn iter(self) -> impl Iterator<Item = RiskLevel> {
        RiskLevel::ALL.into_iter().filter(move |level| self.contains(*level))
    }
}

impl FromIterator<RiskLevel> for RiskLevels {
    fn from_iter<I: IntoIterator<Item = RiskLevel>>(levels: I) -> Self {
        Self(levels.into_iter().fold(0, |set, level| set | 1 << level as u8))
    }
}

impl fmt::Display for RiskLevels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, level) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { " or " };
            write!(formatter, "{separator}{}", level.as_str())?;
        }
        Ok(())
    }
}
