//! What waits outside of its call: calls that are held as tasks, upstreams' tasks, and questions that go out in a result.

pub(super) mod client_handle;
pub(super) mod handle;
pub(super) mod held;
pub(super) mod parked;
pub(super) mod passing;
pub(super) mod tasks;
