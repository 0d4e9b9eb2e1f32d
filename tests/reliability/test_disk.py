"""Row 4: a sync that fails. Nothing is taken from then on, nothing is lost, and a new start goes on."""

import os

import pytest

from harness.door import Door
from harness.events import EVENT, Sender, settled
from harness.functions import ECHO, write
from harness.strace import Inject, open_files
from harness.wait import until

ROUNDS = int(os.environ.get("HEARTH_RELIABILITY_ROUNDS", "2"))
SYNCS = ["fsync", "fdatasync"]


@pytest.mark.parametrize("number", range(ROUNDS))
def test_after_a_sync_that_failed_no_event_is_taken(new_hearth, tmp_path, number):
    if os.geteuid() != 0:
        pytest.skip("only root may put faults into the server")
    hearth = new_hearth().start()
    hearth.cli.deploy(write(tmp_path / "echo", ECHO), "echo", "python3.11", "app.handler", max=4)
    pid = hearth.server_pid()
    log = open_files(pid, "/queue.db-wal")
    assert log, "the queue has no log open"
    # One sync fails, all others succeed: what tries again would believe that all is well.
    with Inject(pid, SYNCS, f"error=EIO:when={10 + 37 * number}", paths=log) as inject:
        with Sender(hearth, "echo") as sender:
            until("a refusal", lambda: sender.others, within=60)
            kept = len(sender.kept)
            refused = len(sender.others)
            until("more refusals", lambda: len(sender.others) >= refused + 50, within=30)
        # Four clients: what was answered before the failure, and only read after it.
        assert len(sender.kept) - kept <= 4, f"{len(sender.kept) - kept} events were taken after the disk failed"
    assert len(inject.injected()) == 1, inject.injected()
    assert {status for _, status, _ in sender.others} == {500}, sender.others[0]
    assert b"until Hearth starts again" in sender.others[-1][2]
    with Door(hearth) as door:
        assert door.invoke("echo", {"n": 1}).json() == {"n": 1}, "calls that wait for their answer go on"
        assert door.invoke("echo", {"n": 1}, headers=EVENT).status == 500
    assert hearth.api.get("/api/v1/queue")["functions"], "what is there can be looked at"
    hearth.kill_both()
    hearth.wait_all_gone()
    hearth.start()
    with Door(hearth) as door:
        assert door.invoke("echo", {"n": 1}, headers=EVENT).status == 202
    one = settled(hearth, "echo")
    assert (one["failed"], one["dead"], one["purged"]) == (0, 0, 0), one
    # One that was refused may have come into the log all the same: more is no breach, less is.
    assert one["done"] >= len(sender.kept) + 1, (one, len(sender.kept))
    print(f"row 4: {len(sender.kept)} taken before the sync that failed, 0 of {len(sender.others)} after it, 0 lost")
