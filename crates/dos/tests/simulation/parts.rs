//! What the system's promises rest on, to be taken out one at a time: a simulation that finds nothing without a part
//! would find nothing at all.
//!
//! Nothing of this is compiled into the product: each is taken out in the simulated stream or database, by what they
//! leave out, reorder or alter on the way.

/// A part that can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The database compares the versions of entities with those that a batch was decided on.
    VersionCompared,
    /// A command that comes twice is known by its id.
    Dedupe,
    /// Events leave in the order of the outbox.
    PublishingOrder,
    /// The database compares the position with the one that a batch was decided on.
    PositionCompared,
    /// The database compares anything with what a batch was decided on: versions, position and outcomes.
    AnyCompared,
    /// The database refuses the commits and marks of whoever is not the owner.
    Owner,
    /// What an earlier owner sent late is found and put right.
    Repair,
    /// Who takes a partition reads the views from the mark, not from their end.
    Mark,
    /// Who takes a partition publishes what was left before anything else.
    Leftovers,
    /// A gateway takes a view only if it is newer.
    OnlyIfNewer,
    /// A gateway answers a rejection once its own view has reached the version that caused it.
    RejectionWaits,
    /// A gateway registers who waits before it appends the command.
    WaiterFirst,
    /// The stream keeps what it has acknowledged.
    Durability,
    /// The database keeps one first answer for an idempotency key, over all partitions.
    KeyUnique,
    /// The first answer to an idempotency key is remembered at all.
    KeyRemembered,
    /// Who sends a key again gets its first answer, and not what the entity has become.
    FirstAnswer,
    /// A deleted entity keeps its row, and with it its version.
    Tombstone,
    /// A deletion stays on the topic as the last record of its key.
    DeletionView,
    /// A request with a token waits until the gateway has passed it.
    TokenWaits,
}

impl Part {
    pub(crate) const ALL: [Self; 19] = [
        Self::VersionCompared,
        Self::Dedupe,
        Self::PublishingOrder,
        Self::PositionCompared,
        Self::AnyCompared,
        Self::Owner,
        Self::Repair,
        Self::Mark,
        Self::Leftovers,
        Self::OnlyIfNewer,
        Self::RejectionWaits,
        Self::WaiterFirst,
        Self::Durability,
        Self::KeyUnique,
        Self::KeyRemembered,
        Self::FirstAnswer,
        Self::Tombstone,
        Self::DeletionView,
        Self::TokenWaits,
    ];

    /// It takes few seeds to miss it.
    pub(crate) fn is_missed_soon(self) -> bool {
        !matches!(self, Self::PositionCompared)
    }

    /// Another part does its work as well, so that nothing is violated without it.
    pub(crate) fn is_backed_up(self) -> bool {
        matches!(self, Self::PositionCompared)
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| format!("{part:?}") == name)
    }
}
