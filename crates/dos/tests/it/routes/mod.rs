mod bad_input;
mod collection;
mod entity;
mod operation;
mod system;
