//! Edits of files that people wrote, which keep what is not meant: comments, order, layout, and the file itself with its rights and
//! its link.

pub(super) mod document;
pub(super) mod file;
pub(super) mod yaml;
