//! Edits of files that people wrote, which keep what is not meant: comments, order, layout, and the file itself with its rights and
//! its link. What the gateway reads is tried before it is written.

pub(super) mod changes;
pub(super) mod document;
pub(super) mod file;
pub(super) mod shown;
pub(super) mod yaml;
