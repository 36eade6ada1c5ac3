//! Three truth values. A fact that is not known must not be mistaken for one that is false.

use std::fmt;

/// The value of a rule, a policy, or any part of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Truth {
    True,
    False,
    Unknown(Gap),
}

/// Why a value is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Gap {
    /// Nobody has logged in; a login would fill the gap.
    NeedsIdentity,
    /// The caller did not supply the fact; no login will.
    Missing(Fact),
}

/// Names a fact that the caller may leave unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fact {
    /// The address of the visitor's end of the connection.
    ClientAddress,
}

impl fmt::Display for Fact {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ClientAddress => "the client address",
        })
    }
}

impl Truth {
    /// True if any is true.
    ///
    /// Among unknowns a login that could make one true outweighs a fact that no login brings.
    pub(crate) fn any(values: impl IntoIterator<Item = Self>) -> Self {
        let mut sum = Self::False;
        for value in values {
            sum = match (sum, value) {
                (_, Self::True) => return Self::True,
                (Self::False, other) | (other, Self::False) => other,
                (_, login @ Self::Unknown(Gap::NeedsIdentity)) => login,
                (first, _) => first,
            };
        }
        sum
    }

    /// True if all are true.
    ///
    /// Among unknowns the fact that no login brings outweighs: with it unknown, no login can make
    /// the whole true.
    pub(crate) fn all(values: impl IntoIterator<Item = Self>) -> Self {
        let mut product = Self::True;
        for value in values {
            product = match (product, value) {
                (_, Self::False) => return Self::False,
                (Self::True, other) | (other, Self::True) => other,
                (Self::Unknown(Gap::NeedsIdentity), missing) => missing,
                (first, _) => first,
            };
        }
        product
    }

    /// The opposite; what is unknown stays so, for the same reason.
    pub(crate) fn negate(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            unknown @ Self::Unknown(_) => unknown,
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: Truth = Truth::Unknown(Gap::NeedsIdentity);
    const MISSING: Truth = Truth::Unknown(Gap::Missing(Fact::ClientAddress));
    const VALUES: [Truth; 4] = [Truth::True, Truth::False, LOGIN, MISSING];

    #[test]
    fn order_of_operands_never_matters() {
        for a in VALUES {
            for b in VALUES {
                assert_eq!(Truth::any([a, b]), Truth::any([b, a]), "{a:?} {b:?}");
                assert_eq!(Truth::all([a, b]), Truth::all([b, a]), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn unknown_gives_way_only_to_what_decides() {
        assert_eq!(Truth::any([MISSING, Truth::True]), Truth::True);
        assert_eq!(Truth::any([MISSING, Truth::False]), MISSING);
        assert_eq!(Truth::any([MISSING, LOGIN]), LOGIN);
        assert_eq!(Truth::all([MISSING, Truth::False]), Truth::False);
        assert_eq!(Truth::all([MISSING, Truth::True]), MISSING);
        assert_eq!(Truth::all([MISSING, LOGIN]), MISSING);
        assert_eq!(MISSING.negate(), MISSING);
    }

    #[test]
    fn nothing_to_choose_from_is_false_and_nothing_to_demand_is_true() {
        assert_eq!(Truth::any([]), Truth::False);
        assert_eq!(Truth::all([]), Truth::True);
    }
}
