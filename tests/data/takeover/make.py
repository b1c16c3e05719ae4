#!/usr/bin/env python3
"""Makes `old.sql.gz`: a database as the release at afa4e71 leaves it.

  DATABASE_URL=postgres://… OLD=path/to/the/old/reconciler tests/data/takeover/make.py > old.sql

The database is empty at first; `pg_dump` and `psql` are in PATH. The old binary serves against its own twin; about
a thousand transactions end in all the ways that twin knows, and some dozens as the rules of that release let them
end and those of now would not (docs/adr/0016). What is written to stdout has no statement about roles.
"""
import hashlib, json, os, signal, subprocess, sys, tempfile, threading, time, urllib.error, urllib.request

OLD, URL = os.environ["OLD"], os.environ["DATABASE_URL"]
KEY, API, HOOKS, OPS, TWIN = "key-of-orders", 18080, 18081, 18090, 18095
SHOPS = {"1001": "secret-of-1001", "1002": "secret-of-1002"}
AUTH = {"Authorization": f"Bearer {KEY}"}


def call(method, url, body=None, headers=AUTH, wait=None):
    data = None if body is None else json.dumps(body).encode()
    head = dict(headers, **{"Content-Type": "application/json"})
    if wait:
        head["Prefer"] = wait
    request = urllib.request.Request(url, data, head, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def api(method, path, body=None, wait=None, shop="1001"):
    return call(method, f"http://127.0.0.1:{API}/v1/shops/{shop}/{path}", body, wait=wait)


def twin(path, body=None):
    return call("POST" if body is not None else "GET", f"http://127.0.0.1:{TWIN}/_twin/{path}", body, {})


def sql(text):
    done = subprocess.run(["psql", "-XAtq", URL, "-c", text], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def config(path, public_key, horizon, pace):
    shops = "".join(
        f'[[shops]]\nid = "{shop}"\nsecret_key = "{secret}"\npublic_key = "{public_key}"\n'
        "max_requests_per_second = 10000\n" for shop, secret in SHOPS.items())
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    with open(path, "w") as file:
        file.write(f"""
[database]
url = "{URL}"
[api]
listen = "127.0.0.1:{API}"
[webhooks]
listen = "127.0.0.1:{HOOKS}"
public_url = "http://127.0.0.1:{HOOKS}"
allow_http = true
[ops]
listen = "127.0.0.1:{OPS}"
[security]
fingerprint_key = "{'f' * 32}"
[gateway]
base_url = "http://127.0.0.1:{TWIN}"
connect_timeout = "1s"
request_timeout = "700ms"
[follow]
first_check = "300ms"
max_interval = "{pace}"
max_interval_old = "{pace}"
absence_interval = "100ms"
in_doubt_horizon = "{horizon}"
lease = "1500ms"
{shops}
[[clients]]
name = "orders"
key_sha256 = "{digest}"
shops = ["*"]
scopes = ["submit", "read", "operate"]
""")


def serve(path):
    process = subprocess.Popen([OLD, "serve", "--config", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        time.sleep(0.1)
        try:
            if call("GET", f"http://127.0.0.1:{OPS}/readyz", headers={})[0] == 200:
                return process
        except OSError:
            pass
    sys.exit("the old binary does not become ready")


def body(name, **more):
    token = hashlib.md5(name.encode()).hexdigest()
    return {"amount": 3245, "currency": "EUR", "description": "Order 7", "tracking_id": name, "test": True,
            "credit_card": {"token": token}, **more}


def pay(name, shop="1001", collection="payments", wait="respond-async", **more):
    status, answer = api("POST", collection, body(name, **more), wait=wait, shop=shop)
    assert status in (200, 202, 502), (name, status, answer)
    return answer


def until(what, names=None, seconds=60):
    """Waits until nothing is in these states any more."""
    text = f"SELECT count(*) FROM transactions WHERE origin = 'api' AND state IN ({what})"
    if names:
        text += " AND tracking_id IN (" + ",".join(f"'{n}'" for n in names) + ")"
    for _ in range(seconds * 4):
        if sql(text) == "0":
            return
        time.sleep(0.25)
    sys.exit(sql(f"SELECT string_agg(tracking_id || ' ' || state, ', ') FROM transactions WHERE state IN ({what})"))


def answer(status, content):
    return {"answer": {"status": status, "body": content}}


def script(name, content):
    done = twin("scripts", {"tracking_id": name, "script": content})
    assert done[0] == 200, done


def told(name, **more):
    return {"transaction": {"uid": f"odd-{name}", "status": "successful", "type": "payment", "amount": 3245,
                            "currency": "EUR", "tracking_id": name, "test": True,
                            "created_at": stamp(), "updated_at": stamp(), **more}}


def stamp():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


ENDS = ("ok decline decline3ds tempfail nohook lost double forged reorder threeds threedsfail expire correct "
        "uncorrect twotx twosuccess crash crashnone once422 unknown unknownnone html cut reject refuse401 dup hang "
        "hangnone reset resetnone e500 e502 e503 e500none e502none e503none 429 v3").split()
OPEN = "'accepted','submitting','processing','pending','in_doubt'"
CARD = {"number": "4200000000000000", "verification_value": "123", "holder": "A B", "exp_month": "11", "exp_year": "2037"}
QUIET = {"transactions": [], "webhook": {"send": False}}


def odd():
    """What the rules of that release ended and those of now would not. The names are known to the test."""
    first = api("GET", "transactions/ok-0")[1]
    for n in range(3):
        # A1, A2, A4: whose transaction it is.
        name = f"anothers-{n}"
        show = dict(told(f"{name}")["transaction"], uid=first["uid"], tracking_id="ok-0", code="E.1018")
        script(name, dict(QUIET, task={"end": answer(200, {"transaction": show})}))
        script(f"misnamed-{n}", dict(QUIET, task={"end": answer(200, told(f"misnamed-{n}", tracking_id="elsewhere"))}))
        script(f"mode-{n}", dict(QUIET, task={"end": answer(200, told(f"mode-{n}"))}))
        # B3, B4, B13: what was taken for a refusal.
        lost = {"response": {"message": "Record not found", "errors": {"base": ["Record not found"]}}}
        script(f"read404-{n}", dict(QUIET, task={"end": answer(404, lost)}))
        late = "The acquirer did not answer in time, the result is not known"
        script(f"late422-{n}", dict(QUIET, task={
            "end": answer(422, {"response": {"message": "Acquirer timeout", "errors": {"base": [late]}}})}))
        unique = {"response": {"message": "is not unique", "errors": {"base": ["is not unique"]}}}
        script(f"unique-{n}", dict(QUIET, submit={"act": answer(422, unique), "effect": False}))
        # A5, B12: what was taken for an empty look-up.
        script(f"unlike-{n}", dict(QUIET, submit={"act": "hang", "effect": False, "times": 1}))
        twin("transactions", {"shop": "1001", "tracking_id": f"unlike-{n}", "amount": 900, "currency": "EUR", "test": True,
                              "created_offset_seconds": 5})
        empty = {"transactions": [], "errors": {"base": ["try later"]}, "message": "try later"}
        script(f"troubled-{n}", dict(QUIET, submit={"act": "hang", "effect": False, "times": 1},
                                     lookup={"act": answer(200, empty)}))
        # D7: 429 with a code that leaves the outcome open, to a request with card data.
        open_ = {"response": {"code": "E.1000", "message": "Internal error"}}
        script(f"put429-{n}", dict(QUIET, submit={"act": answer(429, open_), "effect": False}))
    names = []
    # First what takes a control look-up: what the twin does not have is none.
    for kind in "unlike troubled put429 anothers misnamed mode read404 late422 unique".split():
        if kind == "put429":
            until(OPEN, names)
        for n in range(3):
            names.append(f"{kind}-{n}")
            if kind == "put429":
                pay(names[-1], credit_card=CARD, wait=None)
            else:
                pay(names[-1], test=kind != "mode")
    until(OPEN, names)


def cut(name):
    try:
        api("POST", "payments", body(name))
    except OSError:
        pass


def main():
    directory = tempfile.mkdtemp()
    path = os.path.join(directory, "config.toml")
    shops = [arg for shop, secret in SHOPS.items() for arg in ("--shop", f"{shop}:{secret}")]
    gateway = subprocess.Popen([OLD, "twin", "--listen", f"127.0.0.1:{TWIN}", *shops], stdout=subprocess.PIPE, text=True)
    public_key = json.loads(gateway.stdout.readline())["public_key"]
    twin("settings", {"task_delay": {"fixed": {"seconds": 0.1}}})
    config(path, public_key, "200ms", "1s")
    subprocess.run([OLD, "migrate", "--config", path], check=True, stdout=sys.stderr)
    old = serve(path)
    try:
        ends = [f"{name}-{n}" for n in range(23) for name in ENDS]
        for name in ends:
            pay(name)
        until(OPEN, ends, 240)
        parents = [api("GET", f"transactions/ok-{n}")[1]["uid"] for n in range(20)]
        children = []
        for n, uid in enumerate(parents):
            children.append(f"refund-{n}")
            status, told_ = api("POST", "refunds", {"parent_uid": uid, "amount": 3245, "reason": "returned",
                                                    "tracking_id": children[-1]}, wait="wait=5")
            assert status in (200, 202), told_
        # One whose answer is lost is found under its own name: an ability is noted by that.
        uid = api("GET", "transactions/nohook-0")[1]["uid"]
        script("refund-lost", dict(submit={"act": "hang", "effect": True, "times": 1}, webhook={"send": False}))
        children.append("refund-lost")
        api("POST", "refunds", {"parent_uid": uid, "amount": 3245, "reason": "returned", "tracking_id": "refund-lost"})
        until(OPEN, children)
        for n, word in enumerate(["failed", "successful", "not_found", "rejected", "expired"]):
            done = api("POST", f"transactions/hangnone-{n}/resolve", {"state": word, "reason": "the bank said so"})
            assert done[0] == 200, done
        odd()
        old.send_signal(signal.SIGTERM)
        old.wait()
        # What is open when it is taken over.
        config(path, public_key, "24h", "3s")
        old = serve(path)
        for n in range(10):
            for kind in "pending stuck never statusword mismatch currency hangnone resetnone".split():
                pay(f"{kind}-open{n}")
        time.sleep(8)
        # Put off for an hour: it waits in the database, and is not sent before that.
        for n in range(10):
            off = {"act": {"answer": {"status": 429, "headers": {"Retry-After": "3600"}, "body": {"message": "slow"}}},
                   "effect": False}
            script(f"waits-{n}", {"submit": off})
            pay(f"waits-{n}", shop="1002")
        time.sleep(2)
        # On the wire when the process dies.
        for n in range(5):
            threading.Thread(target=cut, args=(f"hangnone-cut{n}",), daemon=True).start()
        time.sleep(0.4)
        old.kill()
        old.wait()
    finally:
        old.kill()
        gateway.kill()
    # The feed as retention leaves it: it makes the file a third smaller.
    sql("UPDATE shop_feeds SET first_seq = last_seq + 1; DELETE FROM events")
    words = sql("SELECT state, count(*) FROM transactions GROUP BY 1 ORDER BY 1")
    print(words, sql("SELECT shop_id, capabilities, lookup_worked_at FROM shop_controls"), file=sys.stderr)
    subprocess.run(["pg_dump", "--data-only", "--exclude-table=_sqlx_migrations", URL], check=True)


main()
