//! A damaged record: what a start says, and what each start says once a person has let the record go on.

use crate::harness::*;
use serde_json::json;
use tollgate::journal::list;

/// R58. A start on a damaged record names the command that lets it go on, what takes the folder's word says so, and a start behind
/// accepted damage tells of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_says_what_to_do_and_what_was_accepted() {
    let files = Files::of(Setup::default()).await;
    let mut process = files.serve().await;
    assert!(!process.log.text().contains("damage"), "{}", process.log.text());
    let ada = files.client(&process, "ada");
    for n in 0..3 {
        ada.call("up__echo", json!({"n": n})).await.ok();
    }
    process.signal(rustix::process::Signal::TERM);
    assert!(process.ended().await);
    let (_, segment) = list(&files.dir.join("data/tollgate.journal")).unwrap().remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(8).position(|part| part == b"up__echo").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let Err(said) = files.try_serve().await else { panic!("it serves on a damaged record") };
    assert!(said.contains("is damaged") && said.contains("tollgate store accept --reason"), "{said}");
    let (mut looking, lines) = files.command_of(None, &["doctor"]);
    assert!(!soon(looking.wait()).await.unwrap().success(), "{}", lines.text());
    lines.until_end().await;
    assert!(lines.text().contains("no gateway starts on it"), "{}", lines.text());
    let (mut accepting, lines) =
        files.command_of(Some("dan"), &["store", "accept", "--reason", "a new disk"]);
    assert!(soon(accepting.wait()).await.unwrap().success(), "{}", lines.text());
    lines.until_end().await;
    assert!(lines.text().contains("accepted by dan"), "{}", lines.text());
    let process = files.serve().await;
    assert!(process.log.text().contains("store.damage_accepted"), "{}", process.log.text());
}
