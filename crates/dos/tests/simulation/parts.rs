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
    /// Outcomes are remembered and found, so that a command that comes twice is carried out once.
    Dedupe,
    /// Events leave in the order of the outbox.
    PublishingOrder,
    /// The database compares the position with the one that a batch was decided on.
    PositionCompared,
    /// Position and outcomes: each is a second line behind the other.
    PositionAndDedupe,
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
}

impl Part {
    pub(crate) const ALL: [Self; 13] = [
        Self::VersionCompared,
        Self::Dedupe,
        Self::PublishingOrder,
        Self::PositionCompared,
        Self::PositionAndDedupe,
        Self::Owner,
        Self::Repair,
        Self::Mark,
        Self::Leftovers,
        Self::OnlyIfNewer,
        Self::RejectionWaits,
        Self::WaiterFirst,
        Self::Durability,
    ];

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| format!("{part:?}") == name)
    }
}
