"""A program that treats its config as CrossWatch does.

Usage: crosswatch.py DIR
       crosswatch.py DIR soak SEED

It waits for a login of its own: it locks the file, reads and decrypts all of it, and
unlocks; it waits; it locks, encrypts and writes all of it back, and unlocks; it sleeps
for a second. With soak it does more of what CrossWatch does at the same time, and says
on its output what it saves.

It ends when its input does, and prints the namespace "plex" as it reads it then,
decrypted.
"""
import base64, fcntl, hashlib, json, os, random, select, sys, threading, time

from cryptography.fernet import Fernet

DIR = sys.argv[1]
CONFIG = os.path.join(DIR, "config.json")
KEY = os.path.join(DIR, ".cw_master_key")
PREFIX = "enc:v1:"


def cipher():
    if not os.path.exists(KEY):
        with open(KEY, "w") as f:
            f.write(Fernet.generate_key().decode())
        os.chmod(KEY, 0o600)
    text = open(KEY).read().strip().encode()
    try:
        if len(base64.urlsafe_b64decode(text)) == 32:
            return Fernet(text)
    except ValueError:
        pass
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(text).digest()))


def secrets(value, change, stored=None, name=""):
    """Returns value with its secrets changed. stored is what the file has in its place."""
    if isinstance(value, dict):
        stored = stored if isinstance(stored, dict) else {}
        return {k: secrets(v, change, stored.get(k), k) for k, v in value.items()}
    if isinstance(value, list):
        return [secrets(v, change) for v in value]
    if isinstance(value, str) and (name.endswith("_token") or name in ("token", "home_pin", "secret", "password")):
        return change(value, stored)
    return value


def decrypt(value, _):
    if value.startswith(PREFIX):
        return cipher().decrypt(value[len(PREFIX):].strip().encode()).decode()
    return value


def encrypt(value, stored):
    if not value or value.startswith(PREFIX):
        return value
    if isinstance(stored, str) and stored.startswith(PREFIX) and decrypt(stored, None) == value:
        return stored
    return PREFIX + cipher().encrypt(value.encode()).decode()


class Locked:
    def __enter__(self):
        self.f = open(CONFIG + ".lock", "a+")
        fcntl.flock(self.f, fcntl.LOCK_EX)

    def __exit__(self, *_):
        self.f.close()


def read():
    with open(CONFIG, encoding="utf-8") as f:
        return json.load(f)


def write(config):
    owner = os.stat(CONFIG)
    temp = os.path.join(DIR, "config.%d.%d.%d.tmp" % (time.time_ns(), os.getpid(), threading.get_ident()))
    with open(temp, "w", encoding="utf-8") as f:
        f.write(text(config))
    os.chown(temp, owner.st_uid, owner.st_gid)
    os.chmod(temp, owner.st_mode & 0o777)
    os.replace(temp, CONFIG)


def text(config):
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def load():
    with Locked():
        return secrets(read(), decrypt)


def save(config):
    with Locked():
        write(secrets(config, encrypt, read()))


def ended(seconds):
    return bool(select.select([sys.stdin], [], [], seconds)[0])


def wait_for_login():
    rounds = 0
    while True:
        config = load()
        end = ended(0.35)  # as long as a request to plex.tv takes
        rounds += 1
        config["rounds"] = rounds
        save(config)
        if end or ended(1):
            break
        if rounds == 1:
            print("running", flush=True)


# What CrossWatch adds to the default profile when it reads a config without it.
DEFAULTS = {
    "server_url": "", "verify_ssl": False, "account_token": "", "pms_token": "", "client_id": "", "machine_id": "",
    "username": "", "account_id": "", "home_pin": "", "timeout": 10.0, "max_retries": 3, "fallback_GUID": False,
    "scrobble": {"libraries": []}, "progress": {"libraries": []}, "ratings": {"libraries": []},
}
MINE = "PLEX-P09"  # the profile with a login of CrossWatch's own


def say(**event):
    """Prints an event, in one write."""
    os.write(1, (json.dumps({**event, "at": time.time_ns()}) + "\n").encode())


def without_plex(config):
    """Returns the text of the config without the namespace plex."""
    whole = text(config)
    begin = whole.index('\n  "plex": {')
    return whole[:begin] + whole[whole.index("\n  }", begin):]


def load_with_defaults():
    config = load()
    config["plex"] = {**DEFAULTS, **config["plex"]}
    return config


def save_and_say(config, uses=0):
    """Saves the config with a number in each part that is CrossWatch's. It needs the lock."""
    now = read()
    n = now["runtime"]["saves"] + 1
    config["runtime"] = {"saves": n}
    config["trakt"]["access_token"] = "SECRET_trakt_%d" % n
    mine = config["plex"].setdefault("instances", {}).setdefault(MINE, {})
    mine.update(saves=n, account_token="SECRET_mine_%d" % n, client_id="0123456789abcdef01234567")
    mine["_pending_pin"] = {"id": n, "code": "ABCD", "created": int(time.time())}
    # The one part that CrossWatch never takes from an old copy.
    config["app_auth"] = {"uses": now["app_auth"]["uses"] + uses}
    plain, config = config, secrets(config, encrypt, now)
    say(saving=n, rest=hashlib.sha256(without_plex(config).encode()).hexdigest(), plex=plain["plex"])
    write(config)
    say(saved=n)


def old_copies(chance, stop, age, pause):
    """Saves copies of the given age in seconds."""
    while not stop.is_set():
        config = load_with_defaults()
        stop.wait(chance.uniform(*age))
        with Locked():
            save_and_say(config)
        stop.wait(chance.uniform(*pause))


def sessions(chance, stop):
    """Notes the use of a session, the one thing that CrossWatch saves without an old copy."""
    while not stop.is_set():
        with Locked():
            save_and_say(secrets(read(), decrypt), uses=1)
        stop.wait(chance.uniform(2, 5))


def soak(seed):
    def failed(args):
        sys.excepthook(args.exc_type, args.exc_value, args.exc_traceback)
        os._exit(1)

    threading.excepthook = failed
    stop = threading.Event()
    threads = [
        threading.Thread(target=old_copies, args=(random.Random(seed), stop, (0.2, 0.6), (1, 1))),  # waits for a PIN
        threading.Thread(target=old_copies, args=(random.Random(seed + 1), stop, (1, 6), (1, 5))),  # looks for servers
        threading.Thread(target=old_copies, args=(random.Random(seed + 2), stop, (5, 15), (2, 10))),  # syncs
        threading.Thread(target=sessions, args=(random.Random(seed + 3), stop)),
    ]
    for t in threads:
        t.start()
    sys.stdin.read()
    stop.set()
    for t in threads:
        t.join()


if sys.argv[2:3] == ["soak"]:
    soak(int(sys.argv[3]))
    say(end=load()["plex"])
else:
    wait_for_login()
    print(json.dumps(load()["plex"]), flush=True)
