//! `tollgate audit checkpoint | prove`, and what `verify` does with checkpoints and proofs.

use super::{
    args::{CheckpointArgs, ProveArgs, VerifyArgs},
    failure::CliError,
    screen::Screen,
    setup::Setup,
};
use crate::{
    audit::{self, KeptCheckpoint, KeptCheckpoints, KeysPlace, LogKeys},
    clock::IdSource as _,
    config::StoreConfig,
    evidence,
    journal::chain,
    model::EventType,
    proof::{Checkpoint, Note, TlogProof, VerifierKey},
    store::{EventQuery, Store, TreePath},
};
use serde_json::json;
use std::{
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The longest proof that is read.
const LONGEST: u64 = 1 << 20;

fn told(error: &dyn std::fmt::Display) -> CliError {
    CliError::Told(error.to_string())
}

/// Where the log's keys lie.
fn keys_place(setup: &Setup) -> KeysPlace<'_> {
    let config = &setup.loaded.config;
    (&config.gateway.data_dir, &config.store.vault)
}

fn folders(setup: &Setup) -> Vec<PathBuf> {
    audit::checkpoint_folders(&setup.loaded.config)
}

/// Prints a signed checkpoint, or the keys that verify it, or puts another key in place.
pub(super) async fn checkpoint(setup: Setup, args: CheckpointArgs) -> Result<(), CliError> {
    let data_dir = setup.loaded.config.gateway.data_dir.clone();
    let mut screen = Screen::new();
    let store = setup.store()?;
    let fresh = setup.system.random();
    if args.rotate {
        let done = rotate(&setup, &store, fresh, &mut screen).await;
        store.close().await;
        return done;
    }
    let keys = LogKeys::of(&*store, keys_place(&setup), fresh).await.map_err(|error| told(&error))?;
    if args.vkey {
        store.close().await;
        let keys: Vec<String> = keys.verifiers().iter().map(ToString::to_string).collect();
        if args.json.json {
            return screen.json(&json!({"verifier_key": keys.first(), "earlier": keys.get(1..)}));
        }
        // Those of before verify checkpoints of their time; whoever needs them finds them in the JSON.
        return screen.line(keys.first().map(String::as_str).unwrap_or_default());
    }
    let made = audit::make(&*store, &keys, &[], &folders(&setup)).await;
    store.close().await;
    let (checkpoint, note) = made.map_err(|error| told(&error))?;
    let kept = audit::keep(&data_dir.join("checkpoints"), &checkpoint, &note, &keys.verifiers(), setup.now());
    kept.map_err(|error| told(&error))?;
    if args.json.json {
        let Checkpoint { origin, size, root } = &checkpoint;
        let root = chain::to_hex(root);
        return screen.json(&json!({"origin": origin, "size": size, "root": root, "note": note.to_string()}));
    }
    screen.raw(&note.to_string())
}

async fn rotate(
    setup: &Setup,
    store: &Arc<dyn Store>,
    fresh: [u8; 32],
    screen: &mut Screen,
) -> Result<(), CliError> {
    let (person, place) = (setup.admin_person()?, keys_place(setup));
    // So that there is one to go on from.
    LogKeys::of(&**store, place, setup.system.random()).await.map_err(|error| told(&error))?;
    let (keys, old) = LogKeys::rotate_of(&**store, place, fresh).await.map_err(|error| told(&error))?;
    let (before, after) = (old.verifier().to_string(), keys.signer().verifier().to_string());
    let said = evidence::checkpoint_key_rotated(setup.now(), &person, &before, &after);
    store.record(vec![said]).await.map_err(|error| {
        CliError::Told(format!(
            "{after}\nsigns checkpoints from now on, in place of\n{before}\nand the record does not say so, for it could not be written: {error}"
        ))
    })?;
    // Signed by both, so that whoever trusts the one finds the other.
    let (checkpoint, note) =
        audit::make(&**store, &keys, &[&old], &folders(setup)).await.map_err(|error| told(&error))?;
    for folder in folders(setup) {
        audit::keep(&folder, &checkpoint, &note, &keys.verifiers(), setup.now())
            .map_err(|error| told(&error))?;
    }
    screen.line(&format!(
        "{after}\nsigns checkpoints from now on; the key before verifies those that it signed"
    ))
}

/// Prints the proof that a call's decision stands in the record.
pub(super) async fn prove(setup: Setup, args: ProveArgs) -> Result<(), CliError> {
    let store = setup.store()?;
    let made = proof_of(&setup, &store, &args).await;
    store.close().await;
    let proof = made?;
    let mut screen = Screen::new();
    if args.json.json {
        let record = chain::to_hex(&proof.record);
        return screen.json(&json!({"seq": proof.index + 1, "hash": record, "proof": proof.to_text()}));
    }
    screen.raw(&proof.to_text())
}

async fn proof_of(setup: &Setup, store: &Arc<dyn Store>, args: &ProveArgs) -> Result<TlogProof, CliError> {
    let query = EventQuery {
        call_id: Some(args.call.clone()),
        event_type: Some(EventType::AgentDecision),
        newest_first: true,
        limit: 1,
        ..EventQuery::default()
    };
    let Some(event) = store.events(query).await?.pop() else {
        return Err(CliError::Told(format!(
            "no decision of a call `{}` is recorded: `tollgate audit query` lists calls with --json",
            args.call
        )));
    };
    let record = chain::from_hex(&event.hash)
        .ok_or_else(|| CliError::Told(format!("record {} has no hash", event.seq)))?;
    let keys = LogKeys::of(&**store, keys_place(setup), setup.system.random()).await;
    let keys = keys.map_err(|error| told(&error))?;
    let made = audit::make(&**store, &keys, &[], &folders(setup)).await;
    let (checkpoint, note) = newest_kept(setup, &keys, event.seq, made.map_err(|error| told(&error))?);
    let index = u64::try_from(event.seq - 1).unwrap_or(0);
    let path = store.tree(Some(checkpoint.size), TreePath::Inclusion(index)).await?.path;
    let proof = TlogProof { record, index, path, checkpoint: note };
    proof.verify().map_err(|error| told(&error))?;
    Ok(proof)
}

/// A checkpoint that is kept, where it covers the record and others have signed it too; else the one that was made now.
fn newest_kept(setup: &Setup, keys: &LogKeys, seq: i64, made: (Checkpoint, Note)) -> (Checkpoint, Note) {
    let witnesses: Vec<VerifierKey> =
        setup.loaded.config.audit.witnesses.iter().map(|witness| witness.key.clone()).collect();
    let path = setup.loaded.config.gateway.data_dir.join("checkpoints/checkpoint");
    match audit::read_checkpoint(&path, &keys.verifiers()) {
        Ok(KeptCheckpoint { checkpoint, note, .. })
            if i64::try_from(checkpoint.size).is_ok_and(|size| size >= seq)
                && note.verify(&witnesses).is_ok() =>
        {
            (checkpoint, note)
        }
        Ok(_) | Err(_) => made,
    }
}

/// Checks a proof, without a store.
pub(super) fn verify_proof(args: &VerifyArgs) -> Result<(), CliError> {
    let Some(path) = &args.proof else { return Ok(()) };
    let cannot = |source| CliError::Io { what: format!("cannot read `{}`", path.display()), source };
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(LONGEST).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text))
    };
    read.map_err(cannot)?;
    let wrong = |why: &dyn std::fmt::Display| CliError::Told(format!("the proof does not hold: {why}"));
    let keys = keys(&args.vkey)?;
    let proof = TlogProof::parse(&text).map_err(|error| wrong(&error))?;
    let checkpoint = proof.verify().map_err(|error| wrong(&error))?;
    let signed = proof.checkpoint.verify(&keys).map_err(|error| wrong(&error))?;
    if !signed.iter().any(|key| key.name == checkpoint.origin) {
        return Err(wrong(&format!("no key that was given is that of the log `{}`", checkpoint.origin)));
    }
    let names: Vec<&str> = signed.iter().map(|key| key.name.as_str()).collect();
    let (record, seq) = (chain::to_hex(&proof.record), proof.index + 1);
    let mut screen = Screen::new();
    if args.json.json {
        let log = &checkpoint.origin;
        return screen.json(
            &json!({"seq": seq, "hash": record, "log": log, "size": checkpoint.size, "signed_by": names}),
        );
    }
    screen.line(&format!(
        "record {seq} with the hash {record} is among the first {} of the log {}, signed by {}",
        checkpoint.size,
        checkpoint.origin,
        names.join(", ")
    ))
}

fn keys(written: &[String]) -> Result<Vec<VerifierKey>, CliError> {
    let read =
        |text: &String| VerifierKey::parse(text).map_err(|error| CliError::Told(format!("--vkey: {error}")));
    written.iter().map(read).collect()
}

/// Which checkpoints the record is held against, and whose signatures count: those of the folders that servers.toml names, and those
/// that were asked for. `open`: the store, where it is open.
pub(super) async fn wanted(
    config: &Path,
    (at, open): (&StoreConfig, Option<&dyn Store>),
    args: &VerifyArgs,
) -> Result<KeptCheckpoints, CliError> {
    let setup = Setup::load(config).ok();
    // A copy has a folder of its own there.
    let above = if at.postgres.is_some() { 2 } else { 1 };
    let beside = || at.path.ancestors().nth(above).unwrap_or(Path::new("")).to_owned();
    let data_dir = setup.as_ref().map_or_else(beside, |setup| setup.loaded.config.gateway.data_dir.clone());
    let known = match open {
        Some(store) => LogKeys::known_of(store, (&data_dir, &at.vault)).await,
        None => LogKeys::known(&data_dir),
    };
    let known = known.map_err(|error| told(&error))?;
    let mut verifiers = keys(&args.vkey)?;
    verifiers.extend(known.iter().flat_map(LogKeys::verifiers));
    let folders = match &setup {
        _ if known.is_none() => Vec::new(),
        Some(setup) => audit::checkpoint_folders(&setup.loaded.config),
        None => vec![data_dir.join("checkpoints")],
    };
    Ok(KeptCheckpoints { keys: verifiers, folders, named: args.checkpoint.clone() })
}
