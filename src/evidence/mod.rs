//! Every record of a call is built here and nowhere else, so that what a record says does not depend on which part of the
//! gateway wrote it. Pure: times and ids are arguments.

mod activation;
mod alert;
mod approval;
mod budget;
mod bundle;
mod call;
mod connection;
mod cut;
mod detail;
mod facts;
mod freeze;
mod grant;
mod hold;
mod labels;
mod masked;
mod other;
mod pins;
mod refused;
mod rollout;
mod schema;
mod tool;
mod verdict;
mod withheld;

pub use activation::{ACTIVATION, Activated, Activation, Order, Ordered, Origin, difference, is_order};
pub use alert::{AlertSubject, SaidBy, call_reviewed, duty_done, incident_changed};
pub use approval::{ApprovalSubject, approval_changed, approval_of, put_approval};
pub use budget::{BudgetResetRecord, alert_of_call};
pub use bundle::KeptBundle;
pub use call::{CallSubject, EVALUATOR, Ruling, Settled, TargetSubject};
pub use connection::{ConnectionRecord, personal_lists_viewed};
pub use cut::{CUT_ARGUMENTS, LONGEST_REFUSED};
pub use detail::{Explained, limits, settled_detail, steps, token_detail};
pub use facts::{Evaluated, ITEM_TRAITS, Recalled, Unreadable, VERSION, recall, tools_named};
pub use freeze::{FreezeRecord, dead_letter_handled};
pub use grant::{GrantEnded, GrantSubject, grant_of, put_grant};
pub use hold::HoldRecord;
pub use labels::labels_cleared;
pub use masked::masked_places;
pub use other::{
    TaskEnd, accepts, accepts_lost, auth_failed, checkpoint_contradicted, checkpoint_key_rotated,
    damage_accepted, index_edited, index_set_aside, is_journal_damaged, journal_damaged, loop_alert,
    loses_untold, lost, note, orphaned, output_alert, output_unusable, records_lost, records_retired,
    retired, retired_tree, session_started, signed_in, store_taken_over, task_ended, torn_tail,
    vault_rotated,
};
pub use pins::{PIN_POLICY, PinContext};
pub use refused::Counted;
pub use rollout::{
    Bounds, Compared, OBSERVED, ROLLOUT, Rollout, RolloutEvent, RolloutRecord, RolloutState, RolloutStep,
    Seen, Stage,
};
pub use schema::EVENT_SCHEMA;
pub use tool::{ResolvedTool, content_hash};
pub use verdict::{Judged, budget_detail, verdict};
pub use withheld::{WITHHELD, event_without_values, without_hashes, without_values};
