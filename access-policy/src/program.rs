//! Policies in the form in which they are evaluated: flat arrays of small numbers.
//!
//! The policies of an application are answered all at once. Each has a bit; its include rules share a
//! column of bits, so do its exclude rules, and each of its require rules has a column of its own. A
//! *question* knows the bits that a true answer sets (its *mask*), so one look into a table answers
//! every rule about the visitor's address in every policy. Rule groups are batches of one policy.

use std::net::IpAddr;

use crate::{
    country::CountryCode,
    network::Network,
    rule::Rule,
    steps,
    table::{Table, Text, Texts},
};

/// All policies of all applications.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program {
    pub(crate) texts: Texts,
    pub(crate) applications: Box<[ApplicationCode]>,
    /// Batches of applications with more policies than one batch holds.
    pub(crate) more_batches: Box<[Batch]>,
    pub(crate) groups: Box<[Batch]>,
    pub(crate) questions: Box<[Question]>,
    pub(crate) masks: Box<[Mask]>,
    pub(crate) shapes: Box<[Shape]>,
    /// The position in the application's list, for each policy of each shape.
    pub(crate) positions: Box<[u32]>,
    pub(crate) tables: Box<[Table]>,
    pub(crate) members: Box<[Members]>,
    pub(crate) networks: Box<[Network]>,
    pub(crate) blocks: Box<[Blocks]>,
    pub(crate) rules: Box<[Rule]>,
}

/// An application: its policies in the order in which they are asked, and the settings that bear on
/// decisions.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ApplicationCode {
    pub(crate) first: Batch,
    pub(crate) more: Span,
    pub(crate) settings: ApplicationSettings,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ApplicationSettings {
    pub(crate) bypasses_preflight: bool,
    pub(crate) answers_preflight: bool,
    /// Programs without a token get 401 where there is a service policy.
    pub(crate) refuses_services_with_401: bool,
}

/// A run of neighbours in an array.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Span {
    pub(crate) fn of<T>(self, array: &[T]) -> &[T] {
        let start = self.start as usize;
        array.get(start..start + self.len as usize).unwrap_or_default()
    }
}

/// At most 64 policies that are answered at once.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Batch {
    pub(crate) questions: Span,
    /// How many of the questions, at the head, a login has no bearing on.
    pub(crate) anonymous: u32,
    pub(crate) shape: u32,
}

/// What many batches have in common. Policies are bits, the one asked first the lowest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    pub(crate) policies: u32,
    pub(crate) bypass: u64,
    pub(crate) service: u64,
    pub(crate) allow: u64,
    pub(crate) deny: u64,
    /// For each require column, the policies that have a rule in it.
    pub(crate) required: [u64; MAX_REQUIRED],
    /// Where the positions of the policies begin.
    pub(crate) positions: u32,
}

/// Which rules a true answer makes true: a bit for each policy, in each column.
pub(crate) type Mask = [u64; COLUMNS];

/// The column of include rules.
pub(crate) const INCLUDE: usize = 0;
/// The column of exclude rules.
pub(crate) const EXCLUDE: usize = 1;
/// The first of the columns of require rules.
pub(crate) const REQUIRE: usize = 2;
/// Columns of require rules; where a policy has more of them, they become groups.
pub(crate) const MAX_REQUIRED: usize = 2;
pub(crate) const COLUMNS: usize = REQUIRE + MAX_REQUIRED;
/// Policies of one batch at most.
pub(crate) const MAX_BATCH: usize = 64;

/// One question, and the mask of its rules. If what it asks for is unknown, so are all
/// of these.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub(crate) test: Test,
    pub(crate) mask: u32,
}

/// What is asked. Numbers are positions in the arrays of the [`Program`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Test {
    Everyone,
    Email(Text),
    /// Each address has its own mask.
    Emails(u32),
    /// All have the mask of the question.
    EmailList(u32),
    EmailDomain(Text),
    EmailDomains(u32),
    /// The address under a prefix of IPv4.
    V4 {
        prefix: u8,
        first: u32,
    },
    Network(u32),
    /// Each block has its own mask.
    Blocks(u32),
    /// All have the mask of the question.
    NetworkList(u32),
    Country(CountryCode),
    ServiceToken(Text),
    ServiceTokens(u32),
    Members(u32),
    /// From here on, questions are asked only if the answers so far leave a policy open.
    Group(u32),
    /// Any other rule, as it was written.
    Rule(u32),
    /// A selector that nobody can answer.
    Unsupported,
}

impl Test {
    /// Whether a login has no bearing on the answer.
    pub(crate) fn is_anonymous(self) -> bool {
        match self {
            Self::Everyone
            | Self::V4 { .. }
            | Self::Network(_)
            | Self::Blocks(_)
            | Self::NetworkList(_)
            | Self::Country(_)
            | Self::ServiceToken(_)
            | Self::ServiceTokens(_)
            | Self::Unsupported => true,
            Self::Email(_)
            | Self::Emails(_)
            | Self::EmailList(_)
            | Self::EmailDomain(_)
            | Self::EmailDomains(_)
            | Self::Members(_)
            | Self::Group(_)
            | Self::Rule(_) => false,
        }
    }

    /// Whether the question is put off until it is seen to matter.
    pub(crate) fn is_costly(self) -> bool {
        matches!(self, Self::Group(_) | Self::Rule(_))
    }
}

/// Groups at identity providers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members {
    /// The providers that occur, each with the mask of its groups.
    pub(crate) providers: Box<[(Text, u32)]>,
    /// Positions in `groups`, by the folded hash of the name.
    pub(crate) table: Table,
    pub(crate) groups: Box<[Member]>,
}

/// A group at an identity provider.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) provider: Text,
    /// Okta's names are compared as they stand, other groups without regard to letter case.
    pub(crate) is_exact: bool,
    pub(crate) mask: u32,
}

/// Addresses in sorted runs, each of which has a mask, or [`NO_MASK`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Blocks {
    pub(crate) v4: Box<[(u32, u32)]>,
    pub(crate) v6: Box<[(u128, u32)]>,
}

/// What no rule speaks of.
pub(crate) const NO_MASK: u32 = u32::MAX;

impl Blocks {
    /// The mask of the run that holds an address.
    pub(crate) fn mask_of(&self, address: IpAddr) -> Option<u32> {
        let mask = match address {
            IpAddr::V4(address) => run_of(&self.v4, address.to_bits()),
            IpAddr::V6(address) => run_of(&self.v6, address.to_bits()),
        };
        mask.filter(|mask| *mask != NO_MASK)
    }

    /// How many runs a search looks at, at most.
    pub(crate) fn longest_search(&self) -> u32 {
        self.v4.len().max(self.v6.len()).checked_ilog2().unwrap_or(0) + 2
    }
}

/// The value of the last run that does not begin after `address`.
fn run_of<T: Ord + Copy>(runs: &[(T, u32)], address: T) -> Option<u32> {
    let after = runs.partition_point(|(first, _)| {
        steps::take(1);
        *first <= address
    });
    runs.get(after.checked_sub(1)?).map(|(_, mask)| *mask)
}

impl Program {
    pub(crate) fn shape(&self, batch: Batch) -> Option<&Shape> {
        self.shapes.get(batch.shape as usize)
    }

    /// A mask; of [`NO_MASK`], that of nothing.
    #[inline]
    pub(crate) fn mask(&self, at: u32) -> &Mask {
        self.masks.get(at as usize).unwrap_or(&[0; COLUMNS])
    }

    /// The position of a policy in the application's list.
    pub(crate) fn position(&self, shape: &Shape, bit: u32) -> Option<u32> {
        self.positions.get((shape.positions + bit) as usize).copied()
    }
}
