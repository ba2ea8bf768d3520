//! What can be typed behind `tollgate store`.

use clap::{Args, Subcommand};

/// `store …`
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Take over the records of an older Tollgate, with progress
    #[command(long_about = "\
Tollgate before its journal kept the record in one SQLite file. A start takes such a file over by itself where it is small \
(1 GiB); this does it whatever its size, and shows how far it is. The chain goes on byte for byte, with counters, open calls, \
approvals and keys. The old file stays beside the new one as NAME.before-journal. No Tollgate may use the store meanwhile. \
Stopped in the middle, it has changed nothing.")]
    Import,
    /// Go on behind a damaged or cut record, because you say so; needs TOLLGATE_KEY of an admin
    #[command(long_about = "\
Where the end of the journal is damaged, or records that were there are gone, nothing is dispatched and no gateway starts: \
put the journal back from a backup. Where there is none, this says that the record goes on all the same. The damaged part \
stays as it is, `audit verify` keeps naming it, no number of a record is given twice, and the first new record says who \
accepted what and why. Replicas on PostgreSQL do the same for a database that lost records (docs/replicas.md): stop all of \
them, and run it where the copy has the most.")]
    Accept(AcceptArgs),
    /// Take the record to PostgreSQL, where several replicas share it
    #[command(long_about = "\
Several replicas work on one record in PostgreSQL (docs/replicas.md). This takes the record of a store of one machine there, byte for \
byte and in one transaction, with counters, open calls, approvals, grants, registers and keys, and verifies both sides. The database \
must have no record yet, and no Tollgate may use the store meanwhile. What the vault keeps is taken along, which needs `[store] \
vault_key`. Stopped in the middle, it has changed nothing. Afterwards the \
old store says where its record went, and nobody goes on there: set `[store] url`. The keys of checkpoints are moved.")]
    Migrate(MigrateArgs),
    /// Encrypt what the vault of `tokenize` keeps under a new key, and forget the old one
    #[command(long_about = "\
The vault keeps the values behind placeholders (`tokenize` in data.yaml) and the credentials that people connected, encrypted, in \
NAME.vault beside the store, with its keys in NAME.vault-keys, for this user alone; or all of it in PostgreSQL, where replicas share it. This makes a new key, encrypts every value under it and forgets the old ones: placeholders that \
agents have stay good, and whoever has a copy of the old keys reads nothing that is kept from now on. Running gateways notice by \
themselves. To change `[store] vault_key`, name the old one as `vault_key_before`, run this, and take that line out again. The record \
says who rotated.")]
    RotateKey,
}

/// `store migrate`
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// The database: postgres://USER:PASSWORD@HOST/DATABASE; `${NAME}` in it stands for a variable, so that no password is typed
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
}

/// `store accept`
#[derive(Debug, Args)]
pub(crate) struct AcceptArgs {
    /// Why it may go on; stands in the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}
