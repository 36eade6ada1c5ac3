//! Three truth values, and for what is unknown, what asking could make of it.

/// The value of a rule, a policy, or any part of them: true, false or unknown.
///
/// What is unknown is of two kinds. A login (or the answer of an external evaluation) can still be
/// asked for; a fact that the host could not determine can't. Four bits tell them apart, also for
/// sums and products of both: whether the value is certainly true, certainly false, and whether
/// asking alone could make it true or false while each missing fact turns out for the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Truth(u8);

const IS_TRUE: u8 = 1;
const IS_FALSE: u8 = 2;
const COULD_BE_TRUE: u8 = 4;
const COULD_BE_FALSE: u8 = 8;
/// The bits that speak for truth, and those that speak against it.
const FOR: u8 = IS_TRUE | COULD_BE_TRUE;
const AGAINST: u8 = IS_FALSE | COULD_BE_FALSE;

impl Truth {
    pub(crate) const TRUE: Self = Self(FOR);
    pub(crate) const FALSE: Self = Self(AGAINST);
    /// Unknown until somebody is asked.
    pub(crate) const ASKABLE: Self = Self(COULD_BE_TRUE | COULD_BE_FALSE);
    /// Unknown for good.
    pub(crate) const MISSING: Self = Self(0);

    /// Puts a value together from its four bits, each the lowest of a number.
    pub(crate) fn from_bits(
        is_true: u64,
        is_false: u64,
        could_be_true: u64,
        could_be_false: u64,
    ) -> Self {
        let bit = |number: u64, bit| if number & 1 == 0 { 0 } else { bit };
        Self(
            bit(is_true, IS_TRUE)
                | bit(is_false, IS_FALSE)
                | bit(could_be_true, COULD_BE_TRUE)
                | bit(could_be_false, COULD_BE_FALSE),
        )
    }

    /// The four bits.
    pub(crate) fn to_byte(self) -> u8 {
        self.0
    }

    /// The value with these bits.
    pub(crate) fn from_byte(bits: u8) -> Self {
        Self(bits & (FOR | AGAINST))
    }

    pub(crate) fn is_true(self) -> bool {
        self.0 & IS_TRUE != 0
    }

    pub(crate) fn is_false(self) -> bool {
        self.0 & IS_FALSE != 0
    }

    /// Whether it is true, or asking alone could make it so.
    pub(crate) fn could_be_true(self) -> bool {
        self.0 & COULD_BE_TRUE != 0
    }

    /// Whether it is false, or asking alone could make it so.
    pub(crate) fn could_be_false(self) -> bool {
        self.0 & COULD_BE_FALSE != 0
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self((self.0 | other.0) & FOR | (self.0 & other.0) & AGAINST)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self((self.0 & other.0) & FOR | (self.0 | other.0) & AGAINST)
    }

    pub(crate) fn not(self) -> Self {
        let (true_bits, false_bits) = (self.0 & FOR, self.0 & AGAINST);
        Self(true_bits << 1 | false_bits >> 1)
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::TRUE } else { Self::FALSE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [Truth; 4] = [Truth::TRUE, Truth::FALSE, Truth::ASKABLE, Truth::MISSING];

    #[test]
    fn order_of_operands_never_matters() {
        for a in VALUES {
            for b in VALUES {
                assert_eq!(a.or(b), b.or(a), "{a:?} {b:?}");
                assert_eq!(a.and(b), b.and(a), "{a:?} {b:?}");
                assert_eq!(a.or(b).not(), a.not().and(b.not()), "De Morgan, {a:?} {b:?}");
            }
        }
    }

    #[test]
    fn unknown_gives_way_only_to_what_decides() {
        let (ask, missing) = (Truth::ASKABLE, Truth::MISSING);
        assert_eq!(missing.or(Truth::TRUE), Truth::TRUE);
        assert_eq!(missing.or(Truth::FALSE), missing);
        assert_eq!(missing.and(Truth::FALSE), Truth::FALSE);
        assert_eq!(missing.and(Truth::TRUE), missing);
        assert_eq!(missing.not(), missing);
        assert_eq!(ask.not(), ask);
    }

    #[test]
    fn asking_helps_a_sum_but_not_a_product_with_a_missing_fact() {
        let sum = Truth::ASKABLE.or(Truth::MISSING);
        assert!(sum.could_be_true() && !sum.could_be_false() && !sum.is_true());
        let product = Truth::ASKABLE.and(Truth::MISSING);
        assert!(!product.could_be_true() && product.could_be_false() && !product.is_false());
    }
}
