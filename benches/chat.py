"""Instant messaging from client to client over two servers: Prosody, ejabberd and Impart, a.test on 127.0.0.2 and b.test on
127.0.0.3. The servers of XMPP speak TLS to each other and not to their clients, and keep nothing on disk that is on its way;
Impart speaks TLS everywhere and waits for the disk twice."""

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

from peers import load, memory, write

ADDRESS = {"a": "127.0.0.2", "b": "127.0.0.3"}
PASSWORD = "pw"


def wait_for(address, port, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection((address, port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nobody answers at {address}:{port} after {seconds} s")


def certificate(directory, domain, names):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "30", "-subj", f"/CN={domain}", "-keyout", f"{directory}/{domain}.key", "-out",
                    f"{directory}/{domain}.crt", "-addext",
                    "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)],
                   check=True, stderr=subprocess.DEVNULL)


def give_to(directory, user):
    subprocess.run(["chown", "-R", f"{user}:{user}", directory], check=True)


class Names:
    """DNS and the files of names, in this namespace only."""

    def __init__(self, directory, domains=0):
        """Besides a.test and b.test so many domains that b.test's server serves too."""
        write(f"{directory}/hosts", "127.0.0.1 localhost\n127.0.0.2 a.test\n127.0.0.3 b.test\n")
        write(f"{directory}/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        for name in ("hosts", "resolv.conf"):
            target = os.path.realpath(f"/etc/{name}")
            subprocess.run(["mount", "--bind", f"{directory}/{name}", target], check=True)
        command = ["dnsmasq", "--keep-in-foreground", "--pid-file=", "--conf-file=/dev/null", "--user=root", "--no-resolv",
                   "--listen-address=127.0.0.1", "--bind-interfaces", "--no-hosts", "--local=/#/"]
        for domain, address in (("a.test", "127.0.0.2"), ("b.test", "127.0.0.3")):
            command += [f"--host-record={domain},{address}", f"--host-record=mx.{domain},{address}",
                        f"--srv-host=_xmpp-server._tcp.{domain},{domain},5269",
                        f"--srv-host=_im._impp.{domain},mx.{domain},2779",
                        f"--srv-host=_pres._impp.{domain},mx.{domain},2779"]
        for number in range(domains):
            command += [f"--srv-host=_{service}._impp.d{number}.test,mx.b.test,2779" for service in ("im", "pres")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        for name in ("hosts", "resolv.conf"):
            subprocess.run(["umount", os.path.realpath(f"/etc/{name}")], check=False)


class Xmpp:
    """What Prosody and ejabberd have in common."""

    def __init__(self, directory, users):
        shutil.rmtree(directory, ignore_errors=True)
        self.directories = {key: f"{directory}/{key}" for key in ADDRESS}
        self.processes = {}
        for key, place in self.directories.items():
            os.makedirs(place)
            certificate(place, f"{key}.test", [f"{key}.test"])
            self.configure(key, place)
            self.processes[key] = self.start(key, place)
        for key in ADDRESS:
            wait_for(ADDRESS[key], 5222)
            wait_for(ADDRESS[key], 5269)
        for number in range(users):
            self.register("a", f"u{number}")
            self.register("b", f"v{number}")

    def exchange(self, pairs, messages, paced=None, size=100):
        more = ["--paced", paced] if paced else []
        return run_load("xmpp", "--from", f"{ADDRESS['a']}:5222,a.test", "--to", f"{ADDRESS['b']}:5222,b.test", "--pairs",
                        pairs, "--messages", messages, "--size", size, *more)


    def fan_out(self, same, other, changes):
        """u0 of a.test is watched by so many of its own domain and of the other; accounts are made by the generator."""
        groups = [f"{ADDRESS['a']}:5222,w{{}}@a.test,{same}", f"{ADDRESS['b']}:5222,w{{}}@b.test,{other}"]
        return run_load("presence", "--kind", "xmpp", "--register", "--presentity", f"{ADDRESS['a']}:5222,p@a.test",
                        *(word for group in groups for word in ("--watchers", group)), "--changes", changes)


class Prosody(Xmpp):
    """The modules of the package, less those for administration, HTTP and throttling."""

    name = "Prosody"

    def configure(self, key, place):
        os.makedirs(f"{place}/data")
        write(f"{place}/prosody.cfg.lua", f'''
modules_enabled = {{ "disco"; "roster"; "saslauth"; "tls"; "blocklist"; "bookmarks"; "carbons"; "dialback"; "pep"; "private";
  "smacks"; "vcard4"; "vcard_legacy"; "csi_simple"; "ping"; "time"; "uptime"; "version"; "posix"; "register"; }}
modules_disabled = {{ "s2s_auth_dane" }}
pidfile = "{place}/prosody.pid"
data_path = "{place}/data"
interfaces = {{ "{ADDRESS[key]}" }}
s2s_interfaces = {{ "{ADDRESS[key]}" }}
s2s_secure_auth = false
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"
allow_registration = true
log = {{ info = "{place}/prosody.log" }}
ssl = {{ certificate = "{place}/{key}.test.crt"; key = "{place}/{key}.test.key" }}
VirtualHost "{key}.test"
''')
        give_to(place, "prosody")

    def start(self, key, place):
        command = ["setpriv", "--reuid=prosody", "--regid=prosody", "--clear-groups", "prosody", "-F", "--config",
                   f"{place}/prosody.cfg.lua"]
        return subprocess.Popen(command, stdout=open(f"{place}/out", "w"), stderr=subprocess.STDOUT)

    def register(self, key, user):
        place = self.directories[key]
        command = ["prosodyctl", "--config", f"{place}/prosody.cfg.lua", "register", user, f"{key}.test", PASSWORD]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        for process in self.processes.values():
            process.terminate()
            process.wait()


class Ejabberd(Xmpp):
    """The configuration of the package, less its other listeners and its throttles."""

    name = "ejabberd"

    def configure(self, key, place):
        for folder in ("spool", "log"):
            os.makedirs(f"{place}/{folder}")
        with open(f"{place}/both.pem", "w") as both:
            for part in ("key", "crt"):
                both.write(open(f"{place}/{key}.test.{part}").read())
        text = re.sub(r"^\s*#.*\n", "", open("/etc/ejabberd/ejabberd.yml").read(), flags=re.M)
        text = text.replace("hosts:\n  - localhost", f"hosts:\n  - {key}.test", 1)
        text = text.replace("/etc/ejabberd/ejabberd.pem", f"{place}/both.pem")
        listeners = "listen:\n"
        for port, module, rest in ((5222, "ejabberd_c2s", "    shaper: none\n    access: c2s\n    starttls: true\n"),
                                   (5269, "ejabberd_s2s_in", "    shaper: none\n")):
            listeners += f"  - port: {port}\n    ip: \"{ADDRESS[key]}\"\n    module: {module}\n{rest}    backlog: 1000\n"
        text = re.sub(r"^listen:.*?(?=^\S)", listeners, text, flags=re.M | re.S)
        for module in ("mod_mqtt: {}", "mod_stun_disco: {}", "mod_fail2ban: {}", "mod_bosh: {}", "mod_http_api: {}"):
            text = text.replace(f"  {module}\n", "", 1)
        text = re.sub(r"  mod_pres_counter:\n    count: 5\n    interval: 60\n", "", text)
        # Debian's file does not load it: whoever registers before authentication is answered not-authorized.
        text = re.sub(r"  mod_register:\n(    .*\n)+", "", text)
        text = text.replace("modules:\n", "modules:\n  mod_register:\n    ip_access: all\n    access: all\n", 1)
        text = re.sub(r"^registration_timeout:.*\n", "", text, flags=re.M) + "\nregistration_timeout: infinity\n"
        text = text.replace("auth_password_format: scram", "auth_password_format: plain")
        text = text.replace("    normal: all\n  s2s_shaper: fast", "    none: all\n  s2s_shaper: none")
        text = re.sub(r"shaper: none\n", "shaper: nothing\n", text)
        text = text.replace("shaper:\n", "shaper:\n  nothing: 1000000000\n", 1)
        write(f"{place}/ejabberd.yml", text)
        shutil.copy("/etc/ejabberd/inetrc", f"{place}/inetrc")
        give_to(place, "ejabberd")
        write(f"{place}/ctl.cfg", 'ERL_OPTIONS="-env ERL_CRASH_DUMP_BYTES 0"\nINET_DIST_INTERFACE=127.0.0.1\n')
        os.chmod(f"{place}/ctl.cfg", 0o644)

    def control(self, key, *words):
        place = self.directories[key]
        return ["ejabberdctl", "--node", f"load{key}@localhost", "--spool", f"{place}/spool", "--logs", f"{place}/log",
                "--config-dir", place, "--config", f"{place}/ejabberd.yml", "--ctl-config", f"{place}/ctl.cfg", *words]

    def start(self, key, place):
        return subprocess.Popen(self.control(key, "foreground"), stdout=open(f"{place}/out", "w"), stderr=subprocess.STDOUT)

    def register(self, key, user):
        command = self.control(key, "register", user, f"{key}.test", PASSWORD)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        for key, process in self.processes.items():
            subprocess.run(self.control(key, "stop"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            process.wait()


class Impart:
    """Two daemons that find each other by SRV records."""

    name = "Impart"

    def __init__(self, directory, users, domains=0):
        shutil.rmtree(directory, ignore_errors=True)
        self.directories = {key: f"{directory}/{key}" for key in ADDRESS}
        self.processes = {}
        self.domains = {"a": [], "b": [f"d{number}.test" for number in range(domains)]}
        for key, place in self.directories.items():
            os.makedirs(place)
            certificate(place, f"{key}.test", [f"{key}.test", f"mx.{key}.test", *self.domains[key]])
        for key, place in self.directories.items():
            self.configure(key, place, users)
            self.start(key)

    def configure(self, key, place, users):
        roots = ", ".join(f'"{where}/{name}.test.crt"' for name, where in self.directories.items())
        write(f"{place}/impart.toml", f'''host = "mx.{key}.test"
spool = "{place}/spool"
[accounts]
file = "{place}/accounts.toml"
[[domain]]
name = "{key}.test"
[[listen]]
service = "relay"
address = "{ADDRESS[key]}:2779"
[[listen]]
service = "client"
address = "{ADDRESS[key]}:2780"
[[certificate]]
chain = "{place}/{key}.test.crt"
key = "{place}/{key}.test.key"
[tls]
roots = [{roots}]
[dns]
servers = ["127.0.0.1"]
validation = "off"
[limits]
connections = 20000
messages_per_minute = 1000000
[presence]
default = "allow"
''' + "".join(f'[[domain]]\nname = "{domain}"\n' for domain in self.domains[key]))
        person = {"a": "u", "b": "v"}[key]
        names = [f"{person}{number}" for number in range(users)] + ["p"]
        names = [f"{name}@{key}.test" for name in names] + [f"p@{domain}" for domain in self.domains[key]]
        accounts = "".join(f'[account."{name}"]\nscram-sha-256 = "{VERIFIER}"\n' for name in names)
        write(f"{place}/accounts.toml", accounts)
        os.chmod(f"{place}/accounts.toml", 0o600)

    def start(self, key):
        place = self.directories[key]
        log = open(f"{place}/log", "a")
        command = [os.environ["IMPARTD"], "--config", f"{place}/impart.toml"]
        self.processes[key] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(ADDRESS[key], 2780)

    def exchange(self, pairs, messages, paced=None, size=100):
        devices = Devices(pairs, messages + pairs)
        send = ["--to", f"{ADDRESS['a']}:2780", "--tls", "--password", PASSWORD, "--from", "u{}@a.test", "--rcpt", "v{}@b.test",
                "--sessions", pairs, "--mode", "impp", "--size", size + 200]
        # The first message of each pair has the servers find each other.
        load(*send, "--messages", pairs)
        more = ["--paced", paced] if paced else []
        start = time.monotonic()
        load(*send, "--messages", messages, *more)
        report = devices.finish()
        if not report["complete"]:
            raise SystemExit(f"Impart: only {report['received']} of {messages + pairs} messages came")
        return {"per_second": messages / (time.monotonic() - start), "way_us": report["way_us"]}

    def fan_out(self, same, other, changes):
        groups = [f"{ADDRESS['a']}:2780,u{{}}@a.test,{same}", f"{ADDRESS['b']}:2780,v{{}}@b.test,{other}"]
        return run_load("presence", "--kind", "impp", "--presentity", f"{ADDRESS['a']}:2780,p@a.test", "--password", PASSWORD,
                        *(word for group in groups for word in ("--watchers", group)), "--changes", changes)

    def contacts(self, clients, contacts, among, each):
        """Each of so many clients of a.test watches so many; then all come back at once."""
        return run_load("contacts", "--clients", f"{ADDRESS['a']}:2780,u{{}}@a.test,{clients}", "--contacts", contacts, "--among",
                        among, "--each", each, "--password", PASSWORD)

    def memory(self, key):
        return memory(self.processes[key].pid)

    def stop(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
            process.wait()


class Devices:
    """Attached devices of v0, v1, … at b.test."""

    def __init__(self, count, expect, *options, idle=30):
        command = [os.environ["LOAD"], "attach", "--to", f"{ADDRESS['b']}:2780", "--sessions", count, "--user", "v{}@b.test",
                   "--password", PASSWORD, "--expect", expect, "--idle", idle, *options]
        self.process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True)
        self.attached = json.loads(self.process.stdout.readline())

    def next(self):
        return json.loads(self.process.stdout.readline())

    def finish(self):
        report = json.loads(self.process.stdout.readlines()[-1])
        self.process.wait()
        return report

    def stop(self):
        self.process.terminate()
        self.process.wait()


def run_load(*arguments):
    output = subprocess.run([os.environ["LOAD"], *map(str, arguments)], capture_output=True, text=True)
    if output.returncode:
        raise SystemExit(f"load {arguments}: {output.stderr}")
    return json.loads(output.stdout.splitlines()[-1])


def verifier(password, salt=b"benches of impart", iterations=4096):
    """RFC 5802 §3."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    parts = (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))
    return "$".join([str(iterations), *(base64.b64encode(part).decode() for part in parts)])


VERIFIER = verifier(PASSWORD)
SERVERS = (Prosody, Ejabberd, Impart)
