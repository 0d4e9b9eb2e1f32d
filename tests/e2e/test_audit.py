"""The audit log: who did what, chained, without a secret, over kill -9."""

import hashlib
import json
import threading

CANARY = "canary-5e1f"


def records(hearth, **query):
    query = "&".join(f"{key}={value}" for key, value in {"limit": 1000, **query}.items())
    return hearth.api.get(f"/api/v1/audit?{query}")["records"]


def lines(hearth):
    files = sorted((hearth.data / "audit").iterdir())
    return [line for file in files for line in file.read_text().splitlines()]


def test_what_is_changed_is_recorded_with_who_where_and_how_it_went(hearth, function):
    name = function("def handler(event, context):\n    return event\n")
    status, _, made = hearth.api.call("POST", "/api/v1/tokens", {"name": "auditor", "scopes": ["read"]})
    assert status == 201
    secret, identifier = made["secret"], made["token"]["id"]
    assert hearth.api.call("DELETE", f"/api/v1/functions/{name}", token=secret)[0] == 403
    assert hearth.api.call("POST", "/api/v1/session", {"token": f"hth_{CANARY}"})[0] == 401
    hearth.cli.ok("secret", "set", "audited", input=CANARY)
    hearth.cli.ok("secret", "rm", "audited")
    hearth.cli.ok("token", "revoke", "auditor")

    newest = records(hearth)
    shown = [(one["by"], one["action"], one["object"], one["status"]) for one in newest]
    for expected in (
        ("admin", "put_function", f"functions/{name}", 201),
        ("admin", "create_token", f"tokens/{identifier} (auditor)", 201),
        ("auditor", "delete_function", f"functions/{name}", 403),
        (None, "login", "session", 401),
        ("admin", "delete_secret", "secrets/audited", 204),
        ("admin", "revoke_token", f"tokens/{identifier}", 204),
    ):
        assert expected in shown, (expected, shown[:20])
    assert {one["ip"] for one in newest} <= {"127.0.0.1", None}
    assert [one["action"] for one in records(hearth, token=identifier)] == ["delete_function"]
    assert [one["seq"] for one in newest] == list(range(newest[0]["seq"], newest[-1]["seq"] - 1, -1))

    kept = "\n".join(lines(hearth))
    assert CANARY not in kept and secret not in kept and hearth.token not in kept
    listed = hearth.cli.ok("audit", "ls", "--limit", "20")
    assert "revoke_token" in listed.stdout and CANARY not in listed.stdout
    assert hearth.cli.ok("audit", "ls", "--action", "revoke_token", "--json").json()[0]["status"] == 204


def test_the_chain_is_checked_and_a_noted_head_vouches_for_what_was(new_hearth):
    hearth = new_hearth().start()
    for number in range(5):
        hearth.cli.ok("key", "create", f"key-{number}")
    check = hearth.cli.ok("audit", "verify", "--json").json()
    assert check["whole"] and check["records"] == 5 and check["last"] == 5, check
    # Anybody can check it with a few lines of their own.
    before = "0" * 64
    for line in lines(hearth):
        record = json.loads(line)
        text = line[: line.rindex(',"hash":"')] + "}"
        assert record["prev"] == before and hashlib.sha256(text.encode()).hexdigest() == record["hash"]
        before = record["hash"]
    assert check["head"] == before
    hearth.cli.ok("key", "rm", "key-0")
    assert hearth.cli.ok("audit", "verify", "--hash", check["head"], "--json").json()["found"] == 5
    assert hearth.cli.run("audit", "verify", "--hash", "0" * 64).code == 1
    hearth.stop()
    file = next((hearth.data / "audit").iterdir())
    file.write_text(file.read_text().replace("keys", "kexs", 1))
    hearth.start()
    told = hearth.cli.run("audit", "verify")
    assert told.code == 1 and "record 1 was changed" in told.stdout, told


def test_the_chain_is_whole_after_kill_9(new_hearth):
    hearth = new_hearth().start()
    answered, done = [], threading.Event()

    def change():
        number = 0
        while not done.is_set():
            number += 1
            try:
                status, _, _ = hearth.api.call("POST", "/api/v1/keys", {"name": f"k-{threading.get_ident()}-{number}"})
            except OSError:
                continue
            if status == 201:
                answered.append(number)

    for _ in range(3):
        threads = [threading.Thread(target=change) for _ in range(4)]
        done.clear()
        [one.start() for one in threads]
        done.wait(1)
        killed = hearth.kill_server()
        done.set()
        [one.join() for one in threads]
        hearth.wait_server_replaced(killed)
    check = hearth.cli.ok("audit", "verify", "--json").json()
    assert check["whole"], check
    kept = sum(1 for line in lines(hearth) if json.loads(line)["action"] == "make_api_key")
    assert len(answered) > 0 and kept >= len(answered), (kept, len(answered))
