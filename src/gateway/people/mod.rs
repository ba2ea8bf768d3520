//! Where people come in: who is asked, how a question looks, and what an answer means.

pub(super) mod approve;
pub(super) mod asked;
pub(super) mod asking;
pub(super) mod granted;
pub(super) mod inline;
pub(super) mod prompts;
pub(super) mod question;
pub(super) mod review;
