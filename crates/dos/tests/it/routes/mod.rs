mod bad_input;
mod collection;
mod connections;
mod entity;
mod operation;
mod system;
