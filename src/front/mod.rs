//! front

pub mod admin;
