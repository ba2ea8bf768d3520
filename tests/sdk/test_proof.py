"""Checkpoints and proofs of the record, held by a verifier that shares nothing with Tollgate (R89): notes as c2sp.org/signed-note
has them, trees as RFC 6962 has them, a witness as c2sp.org/tlog-witness has it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import shutil
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from client import ERAS, over_http
from harness import Gateway
from test_processes import BUNDLE, UPSTREAMS, agent, authority

POLICIES = {**BUNDLE, "authority.yaml": authority(agent("planner"))}


def key_id(name: str, kind: int, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


def read_vkey(text: str) -> tuple[str, int, bytes]:
    name, ident, key = text.split("+", 2)
    key = base64.b64decode(key, validate=True)
    assert key_id(name, key[0], key[1:]).hex() == ident
    return name, key[0], key[1:]


def signed_by(note: str, vkey: str) -> bool:
    """Whether a note carries a right signature of the key; a wrong one raises."""
    name, kind, public = read_vkey(vkey)
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    for line in signatures.splitlines():
        dash, who, blob = line.split(" ")
        blob = base64.b64decode(blob, validate=True)
        if dash == "—" and who == name and blob[:4] == key_id(name, kind, public):
            signature, signed = blob[4:], text
            if kind == 4:
                (when,) = struct.unpack(">Q", signature[:8])
                signature, signed = signature[8:], f"cosignature/v1\ntime {when}\n{text}"
            Ed25519PublicKey.from_public_bytes(public).verify(signature, signed.encode())
            return True
    return False


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def tree(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << ((len(leaves) - 1).bit_length() - 1)
    return node(tree(leaves[:k]), tree(leaves[k:]))


def included(hash_: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """The root that a path leads to; the path is used up."""
    if size == 1:
        assert not path
        return hash_
    k = 1 << ((size - 1).bit_length() - 1)
    sibling = path.pop()
    if index < k:
        return node(included(hash_, index, k, path), sibling)
    return node(sibling, included(hash_, index - k, size - k, path))


def checkpoint(note: str) -> tuple[str, int, bytes]:
    origin, size, root = note.split("\n")[:3]
    return origin, int(size), base64.b64decode(root, validate=True)


def run(test, within: float = 60):
    asyncio.run(asyncio.wait_for(test(), within))


def calls(gateway: Gateway, count: int) -> None:
    async def make():
        async with over_http(gateway.url, "key-planner", ERAS[0]) as session:
            for n in range(count):
                await session.call_tool("demo__search", {"query": f"call {n}", "limit": 1})

    run(make)


def test_a_foreign_verifier_takes_checkpoints_and_proofs(binary):
    with Gateway(binary, UPSTREAMS, POLICIES) as gateway:
        calls(gateway, 7)
        vkey = gateway.cli("audit", "checkpoint", "--vkey").stdout.strip()
        note = gateway.cli("audit", "checkpoint").stdout
        events = gateway.events()
        origin, size, root = checkpoint(note)
        assert origin == vkey.split("+")[0] and signed_by(note, vkey)
        with pytest.raises(InvalidSignature):
            signed_by(note.replace(f"\n{size}\n", f"\n{size + 1}\n"), vkey)
        hashes = [leaf(bytes.fromhex(event["hash"])) for event in events]
        assert root == tree(hashes[:size])

        decided = [event for event in events if event["event_type"] == "agent_decision"]
        for event in decided:
            done = gateway.cli("audit", "prove", event["call_id"])
            assert done.returncode == 0, done.stderr
            head, _, note = done.stdout.partition("\n\n")
            first, extra, index, *path = head.split("\n")
            assert first == "c2sp.org/tlog-proof@v1" and index == f"index {event['seq'] - 1}"
            assert base64.b64decode(extra.removeprefix("extra ")) == bytes.fromhex(event["hash"])
            path = [base64.b64decode(line, validate=True) for line in path]
            _, size, root = checkpoint(note)
            assert signed_by(note, vkey)
            assert included(leaf(bytes.fromhex(event["hash"])), event["seq"] - 1, size, path) == root and not path
            (gateway.folder / "proof").write_text(done.stdout)
            checked = gateway.cli("audit", "verify", "--proof", "proof", "--vkey", vkey)
            assert checked.returncode == 0 and event["hash"] in checked.stdout, checked.stderr
        good = (gateway.folder / "proof").read_text()
        other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        name = vkey.split("+")[0]
        foreign = f"{name}+{key_id(name, 1, other).hex()}+{base64.b64encode(bytes([1]) + other).decode()}"
        for bad, key in [(good.replace("index ", "index 1"), vkey), (good[:-20] + "AAAA" + good[-16:], vkey), ("rubbish", vkey),
                         (good.replace("extra ", "extra A"), vkey), (good, foreign)]:
            (gateway.folder / "bad").write_text(bad)
            assert gateway.cli("audit", "verify", "--proof", "bad", "--vkey", key).returncode == 1
        unknown = gateway.cli("audit", "prove", "no-such-call")
        assert unknown.returncode == 1 and "no-such-call" in unknown.stderr
        assert gateway.cli("audit", "verify", "--proof", "proof").returncode == 2


def test_a_cut_or_rewritten_record_is_not_what_was_signed(binary):
    with Gateway(binary, UPSTREAMS, POLICIES) as gateway:
        outside = gateway.folder / "elsewhere"
        config = gateway.config.read_text()
        gateway.config.write_text(config + f'\n[audit]\ncheckpoints = "{outside}"\nrecords = 1\n')
        gateway.stop()
        gateway.start()
        calls(gateway, 3)
        gateway.stop()
        shutil.copytree(gateway.folder / "data", gateway.folder / "before")
        gateway.start()
        calls(gateway, 5)
        last = gateway.events()[-1]["seq"]
        until = time.monotonic() + 30
        while checkpoint((outside / "checkpoint").read_text())[1] < last:
            assert time.monotonic() < until
            time.sleep(0.1)
        gateway.stop()
        held = gateway.cli("audit", "verify")
        assert held.returncode == 0 and "checkpoints hold" in held.stdout, held.stderr

        # Somebody puts back what was there before: the record itself is whole, and shorter.
        keys = (gateway.folder / "data/checkpoint.keys").read_bytes()
        shutil.rmtree(gateway.folder / "data")
        shutil.copytree(gateway.folder / "before", gateway.folder / "data")
        assert (gateway.folder / "data/checkpoint.keys").read_bytes() == keys
        cut = gateway.cli("audit", "verify")
        assert cut.returncode == 1 and "the record was cut" in cut.stderr, cut.stderr
        told = json.loads(gateway.cli("audit", "verify", "--json").stdout)
        assert told["bad"] is None and "the record was cut" in told["contradicted"]
        # And goes on: other records stand where those were. Nothing of it is signed.
        gateway.start()
        calls(gateway, 9)
        alerts = []
        until = time.monotonic() + 30
        while not alerts:
            assert time.monotonic() < until
            alerts = [event for event in gateway.events() if event["action"] == "checkpoint_contradicted"]
        gateway.stop()
        rewritten = gateway.cli("audit", "verify")
        assert rewritten.returncode == 1 and "the record was rewritten" in rewritten.stderr, rewritten.stderr
        signed = gateway.cli("audit", "checkpoint")
        assert signed.returncode == 1 and "the record was rewritten" in signed.stderr


def test_keys_are_rotated_and_the_old_ones_still_verify(binary):
    with Gateway(binary, UPSTREAMS, POLICIES) as gateway:
        calls(gateway, 1)
        before = gateway.cli("audit", "checkpoint", "--vkey").stdout.strip()
        old = gateway.cli("audit", "checkpoint").stdout
        assert gateway.cli("audit", "checkpoint", "--rotate").returncode == 1
        assert gateway.cli("audit", "checkpoint", "--rotate", key="key-alice").returncode == 1
        assert gateway.cli("audit", "checkpoint", "--vkey").stdout.strip() == before
        done = gateway.cli("audit", "checkpoint", "--rotate", key="key-carol")
        assert done.returncode == 0, done.stderr
        after = gateway.cli("audit", "checkpoint", "--vkey").stdout.strip()
        assert after != before and after.split("+")[0] == before.split("+")[0] and after in done.stdout
        both = (gateway.folder / "data/checkpoints/checkpoint").read_text()
        assert signed_by(both, before) and signed_by(both, after)
        new = gateway.cli("audit", "checkpoint").stdout
        assert signed_by(new, after) and not signed_by(new, before)
        (gateway.folder / "old").write_text(old)
        held = gateway.cli("audit", "verify", "--checkpoint", "old")
        assert held.returncode == 0, held.stderr
        (event,) = [event for event in gateway.events() if event["action"] == "checkpoint_key_rotated"]
        assert event["actor"] == {"type": "person", "role": "admin"}
        assert event["detail"] == {"person": "carol", "before": before, "after": after}
        keys = (gateway.folder / "data/checkpoint.keys").read_text()
        assert keys.count("PRIVATE") == 1 and before in keys


class Witness:
    """A witness of one log: remembers the newest checkpoint, and signs what goes on from it."""

    def __init__(self):
        self.key = Ed25519PrivateKey.generate()
        self.name = "witness.example/w1"
        public = self.key.public_key().public_bytes_raw()
        self.ident = key_id(self.name, 4, public)
        self.vkey = f"{self.name}+{self.ident.hex()}+{base64.b64encode(bytes([4]) + public).decode()}"
        self.log_vkey: str | None = None
        self.size, self.root, self.refused = 0, None, []
        witness = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):  # noqa: N802
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status, text = witness.add(self.path, body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/sub"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add(self, path: str, body: str) -> tuple[int, str]:
        assert path == "/sub/add-checkpoint"
        head, _, note = body.partition("\n\n")
        old, *proof = head.split("\n")
        old = int(old.removeprefix("old "))
        proof = [base64.b64decode(line, validate=True) for line in proof]
        if self.log_vkey and not signed_by(note, self.log_vkey):
            return 403, ""
        _, size, root = checkpoint(note)
        if old != self.size:
            self.refused.append(old)
            return 409, f"{self.size}\n"
        if old and consistent(self.size, self.root, size, proof) != root:
            return 422, ""
        self.size, self.root = size, root
        text = note.rpartition("\n\n")[0] + "\n"
        when = int(time.time())
        signature = self.key.sign(f"cosignature/v1\ntime {when}\n{text}".encode())
        blob = base64.b64encode(self.ident + struct.pack(">Q", when) + signature).decode()
        return 200, f"— {self.name} {blob}\n"


def consistent(old: int, old_root: bytes, size: int, proof: list[bytes]) -> bytes | None:
    """The new root that a consistency proof leads to; None where it does not begin with the old tree (RFC 9162, 2.1.4.2)."""
    if old == size:
        return old_root if not proof else None
    if old & (old - 1) == 0:
        proof = [old_root, *proof]
    fn, sn = old - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    before = after = proof[0]
    for hash_ in proof[1:]:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            before, after = node(hash_, before), node(hash_, after)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            after = node(after, hash_)
        fn, sn = fn >> 1, sn >> 1
    return after if sn == 0 and before == old_root else None


def test_a_witness_signs_what_goes_on_from_what_it_saw(binary):
    witness = Witness()
    with Gateway(binary, UPSTREAMS, POLICIES) as gateway:
        kept = gateway.folder / "data/checkpoints/checkpoint"
        config = gateway.config.read_text()
        gateway.config.write_text(
            config + f'\n[audit]\nrecords = 1\nwitnesses = [{{ url = "{witness.url}", key = "{witness.vkey}" }}]\n')

        def witnessed(size: int) -> str:
            until = time.monotonic() + 30
            while True:
                note = kept.read_text() if kept.exists() else "\n0\n\n"
                if checkpoint(note)[1] >= size and signed_by(note, witness.vkey):
                    return note
                assert time.monotonic() < until, gateway.tail()
                time.sleep(0.1)

        # Twice: the second process does not know what it has signed, and is told.
        for _ in range(2):
            gateway.stop()
            gateway.start()
            witness.log_vkey = gateway.cli("audit", "checkpoint", "--vkey").stdout.strip()
            for count in (3, 4):
                calls(gateway, count)
                note = witnessed(gateway.events()[-1]["seq"])
                assert signed_by(note, witness.log_vkey)
        assert 0 in witness.refused, "a process that has just started asks from the beginning"
        call = [event for event in gateway.events() if event["event_type"] == "agent_decision"][0]["call_id"]
        proof = gateway.cli("audit", "prove", call).stdout
        (gateway.folder / "proof").write_text(proof)
        checked = gateway.cli("audit", "verify", "--proof", "proof", "--vkey", witness.log_vkey, "--vkey", witness.vkey)
        assert checked.returncode == 0 and "witness.example/w1" in checked.stdout, checked.stdout + checked.stderr


def test_a_note_stands_with_its_trace(binary):
    """R62: what came of an incident is written to the trace, masked, by whom."""
    with Gateway(binary, UPSTREAMS, POLICIES) as gateway:
        calls(gateway, 1)
        trace = [event for event in gateway.events() if event["event_type"] == "agent_decision"][0]["trace_id"]
        secret = "ghp_" + "abcdefghijklmnopqrstuvwxyz0123456789"
        done = gateway.cli("audit", "note", trace, f"INC-4711: {secret} was rotated", key="key-carol")
        assert done.returncode == 0, done.stderr
        assert gateway.cli("audit", "note", trace, "closed").returncode == 0
        shown = gateway.cli("audit", "show", trace).stdout
        assert "INC-4711" in shown and "carol" in shown and secret not in shown
        first, second = json.loads(gateway.cli("audit", "show", trace, "--json").stdout)["notes"]
        assert (first["by"], second["by"], second["text"]) == ("carol", None, "closed")
        (event, _) = [event for event in gateway.events() if event["event_type"] == "note"]
        assert event["metadata"]["redacted"] is True and secret not in json.dumps(event)
        assert gateway.cli("audit", "verify").returncode == 0
        for wrong in (("0" * 31 + "1", "text"), (trace, "  "), (trace, "x" * 20_000)):
            assert gateway.cli("audit", "note", *wrong).returncode == 1


def test_scorecard_and_maturity_are_read_from_the_record(binary):
    """R73 to R78: the figures of a time, and the level with what is missing for the next."""
    with Gateway(binary, UPSTREAMS, POLICIES) as gateway:
        calls(gateway, 6)
        card = json.loads(gateway.cli("report", "scorecard", "--json").stdout)
        (only,) = card["decision_distribution"].values()
        assert (only["calls"], only["allow"], only["allow_rate"]) == (6, 6, 1.0)
        assert {"latency", "expirations", "mismatches"} <= card["approval_integrity"].keys()
        assert card["audit_completeness"]["dispatched"] == card["audit_completeness"]["complete"] == 6
        assert {"deny_rate", "missing_metadata", "failures"} <= card["drift_indicators"].keys()
        assert "mitigated_rate" in card["constraint_usage"]
        none = json.loads(gateway.cli("report", "scorecard", "--since", "1ms", "--json").stdout)
        assert none["decision_distribution"] == {}
        # Everything that is not spoken of is let through: no more than level 1.
        report = json.loads(gateway.cli("report", "maturity", "--json").stdout)
        assert report["level"] == 1
        assert "what no policy speaks of is refused" in [one["control"] for one in report["missing"]]
        bundle = gateway.folder / "policies/bundle.yaml"
        bundle.write_text(bundle.read_text().replace("default_decision: ALLOW", "default_decision: DENY"))
        authority = gateway.folder / "policies/authority.yaml"
        authority.write_text(authority.read_text().replace('tools: ["*"]', 'tools: ["demo__*"]'))
        higher = json.loads(gateway.cli("report", "maturity", "--json").stdout)
        assert higher["level"] == 2 and higher["missing"] and all(one["level"] == 3 for one in higher["missing"])
        assert "level 2 of 4" in gateway.cli("report", "maturity").stdout
