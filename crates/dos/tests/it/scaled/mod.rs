//! Gateways and stores as processes of their own, on a real Kafka and PostgreSQL: what the user of the binary sees.

mod fixture;
mod forged;
mod owners;
mod quarantine;
mod refusals;
mod secured;
mod starts;
