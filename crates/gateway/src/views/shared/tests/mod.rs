//! On a real Redis, each test with a prefix of its own.

mod faults;
mod model;
mod proxy;
mod scripts;
mod world;
