"""Measures Impart beside Postfix, Prosody and ejabberd; started by benches/run, in namespaces of its own.

Every measurement is taken in rounds; in each round the two take turns in the order, on a fresh queue. Medians count.
"""

import argparse
import fcntl
import json
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import time

import chat
import peers
from peers import Impart, LoadSink, Postfix, SmtpSink, load, smtp_source

FIRST, SECOND, SINK, NOBODY = 2525, 2526, 2527, 9
RELAYS = (Postfix, Impart)


def lo_up():
    """The loopback interface of a new network namespace is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, request)  # SIOCSIFFLAGS


class Run:
    """What is measured, how often, and what came out."""

    def __init__(self, arguments):
        self.place = os.environ["BENCH_DIRECTORY"]
        self.quick, self.rounds, self.only = arguments.quick, arguments.rounds, arguments.only
        self.done = 0
        self.figures, self.of_chat, self.part, self.failed = {}, set(), None, []
        self.units = {}

    def note(self, measurement, unit, relay, value):
        self.units[measurement] = unit
        if self.part in ("chat", "presence", "presence_large", "attached"):
            self.of_chat.add(measurement)
        self.figures.setdefault(measurement, {}).setdefault(relay, []).append(value)
        print(f"{measurement:58} {relay:8} {value:12,.1f} {unit}", flush=True)

    def messages(self, relay, sessions, relayed=False):
        """Enough for some seconds."""
        if relay is Postfix:
            count = {1: 2000, 16: 5000, 100: 5000}[sessions]
        else:
            count = {1: 12000, 16: 100000, 100: 100000}[sessions] // (2 if relayed else 1)
        return count // 4 if self.quick else count

    def each(self, round_number):
        """The relays, the other one first in every other round."""
        return RELAYS if round_number % 2 == 0 else RELAYS[::-1]

    def directory(self, relay, name="one"):
        return f"{self.place}/{relay.name.lower()}/{name}"

    # Accepting: into the queue and no further.

    def accept(self, round_number):
        for relay in self.each(round_number):
            rcpt = "r@a.test" if relay is Impart else "r@b.test"
            server = relay(self.directory(relay), FIRST, NOBODY, hold=True)
            for sessions in (1, 16, 100):
                count = self.messages(relay, sessions)
                before, disk = peers.usage(server.pid), disk_octets(self.place)
                rate = smtp_source(FIRST, sessions, count, 1024, rcpt)
                self.note(f"accept, smtp-source, {sessions} sessions", "msg/s", relay.name, rate)
                if sessions == 16:
                    self.spent("accept", relay, server, before, disk, count)
                server.clear()
                modes = ["pipelined"] if relay is Postfix else ["pipelined", "impp"]
                for mode in modes:
                    # Windows fill the disk's queue with fewer sessions.
                    report = self.load(relay, FIRST, sessions, count, mode, rcpt)
                    self.note(f"accept, own generator ({mode}), {sessions} sessions", "msg/s", relay.name,
                              report["per_second"])
                    server.clear()
            server.stop()

    def accept_large(self, round_number):
        for relay in self.each(round_number):
            rcpt = "r@a.test" if relay is Impart else "r@b.test"
            server = relay(self.directory(relay), FIRST, NOBODY, hold=True)
            count = self.messages(relay, 16) // (2 if relay is Postfix else 10)
            rate = smtp_source(FIRST, 16, count, 51200, rcpt)
            self.note("accept, smtp-source, 16 sessions, 50 KiB", "msg/s", relay.name, rate)
            server.clear()
            report = self.load(relay, FIRST, 16, count, "pipelined", rcpt, size=51200)
            self.note("accept, own generator (pipelined), 16 sessions, 50 KiB", "msg/s", relay.name,
                      report["per_second"])
            server.stop()

    # Verifying: a signature for each message, chains to an authority that is believed.

    def smime(self, round_number):
        """Accepting signed messages into a local inbox, beside unsigned ones and what the machine verifies."""
        place = f"{self.place}/smime"
        ca, identity = peers.signer(place)
        server = Impart(f"{self.place}/impart/smime", FIRST, NOBODY, hold=True, more=f'[smime]\nroots = ["{ca}"]\n')
        count = 20_000 // (4 if self.quick else 1)
        verified = peers.openssl_verifies("ecdsap256")
        self.note("verify, openssl speed, P-256, one core", "1/s", "bare path", verified)
        # A signature makes a message about three times as long: what verifying costs is seen beside unsigned ones as long.
        for sessions in (16, 64):
            rates = {}
            for name, size, more in (("unsigned", 1024, ()), ("unsigned, as long as signed", 3_400, ()),
                                     ("signed", 1024, ("--sign", identity))):
                report = self.load(Impart, FIRST, sessions, count, "pipelined", "r@a.test", size, *more)
                rates[name] = report["per_second"]
                self.note(f"verify, {name} messages accepted, {sessions} sessions", "msg/s", "Impart", rates[name])
                server.clear()
            # What is left if nothing but one verification on one of the cores were added to each message.
            for name, of in (("unsigned", "messages"), ("unsigned, as long as signed", "messages as long")):
                allowed = 1 / (1 / rates[name] + 1 / (verified * os.cpu_count()))
                self.note(f"verify, share of what one verification per message allows, of {of}, {sessions} sessions", "%",
                          "Impart", rates["signed"] / allowed * 100)
        server.stop()

    def load(self, relay, port, sessions, count, mode, rcpt, size=1024, *more):
        report = load("--to", f"127.0.0.1:{port}", "--sessions", sessions, "--messages", count, "--size", size,
                      "--mode", mode, "--rcpt", rcpt, *more)
        if report["refused"] or report["fault"] or report["accepted"] != count:
            raise SystemExit(f"{relay.name}: {report}")
        return report

    def spent(self, what, relay, server, before, disk, count):
        seconds, octets = (after - earlier for after, earlier in zip(peers.usage(server.pid), before))
        self.note(f"CPU per message, {what}", "µs", relay.name, seconds / count * 1e6)
        self.note(f"octets written per message by the processes, {what}", "octets", relay.name, octets / count)
        self.note(f"octets written per message to the disk, {what}", "octets", relay.name,
                  (disk_octets(self.place) - disk) / count)

    # Relaying: until the last has left.

    def relay(self, round_number):
        for relay in self.each(round_number):
            server = relay(self.directory(relay), FIRST, SINK)
            for sessions in (1, 16, 100):
                count = self.messages(relay, sessions, relayed=True)
                before, disk = peers.usage(server.pid), disk_octets(self.place)
                self.through(f"relay, smtp-source to smtp-sink, {sessions} sessions", relay, [server], sessions, count)
                if sessions == 16:
                    self.spent("relay", relay, server, before, disk, count)
                self.through_own(f"relay, own generator and sink, {sessions} sessions", relay, [server], sessions, count)
            large = self.messages(relay, 16, relayed=True) // (2 if relay is Postfix else 10)
            self.through("relay, smtp-source to smtp-sink, 16 sessions, 50 KiB", relay, [server], 16, large, 51200)
            server.stop()

    def two_hops(self, round_number):
        for relay in self.each(round_number):
            first = relay(self.directory(relay, "one"), FIRST, SECOND)
            second = relay(self.directory(relay, "two"), SECOND, SINK)
            for sessions in (1, 16, 100):
                count = self.messages(relay, sessions, relayed=True) // 2
                name = f"two hops, smtp-source to smtp-sink, {sessions} sessions"
                self.through(name, relay, [first, second], sessions, count)
                name = f"two hops, own generator and sink, {sessions} sessions"
                self.through_own(name, relay, [first, second], sessions, count)
            first.stop()
            second.stop()

    def through(self, name, relay, servers, sessions, count, size=1024):
        sink = SmtpSink(SINK, count, f"{self.place}/smtp-sink.count")
        start = time.monotonic()
        smtp_source(FIRST, sessions, count, size, "r@b.test")
        report = sink.finish()
        self.left(name, relay, servers, start, count, report)
        sink.stop()

    def through_own(self, name, relay, servers, sessions, count):
        # Each is met in the fastest manner that it offers.
        mode = "pipelined" if relay is Postfix else "impp"
        sink = LoadSink(SINK, count, *([] if relay is Postfix else ["--impp"]))
        start = time.monotonic()
        self.load(relay, FIRST, sessions, count, mode, "r@b.test")
        report = sink.finish()
        self.left(name, relay, servers, start, count, report)

    def left(self, name, relay, servers, start, count, report):
        if not report["complete"]:
            raise SystemExit(f"{name}, {relay.name}: only {report['received']} of {count} arrived")
        end = time.monotonic() + 60
        while any(server.queued() for server in servers) and time.monotonic() < end:
            time.sleep(0.005)
        self.note(name, "msg/s", relay.name, count / (time.monotonic() - start))
        if any(server.queued() for server in servers):
            raise SystemExit(f"{name}, {relay.name}: the queue does not become empty")

    # Latency: 20 messages a second, from before MAIL FROM until the sink has the end.

    def latency(self, round_number):
        seconds = 5 if self.quick else 20
        sent = 20 * seconds

        def measure(name, who):
            sink = LoadSink(SINK, sent)
            report = load("--to", f"127.0.0.1:{FIRST if who != 'bare path' else SINK}", "--messages", sent,
                          "--paced", 20, "--rcpt", "r@b.test")
            way = sink.finish()["way_us"]
            for quantile in ("p50", "p99"):
                self.note(f"latency, {name}, {quantile}", "ms", who, way[quantile] / 1000)
                self.note(f"time to 250, {name}, {quantile}", "ms", who, report["latency_us"][quantile] / 1000)

        measure("one hop", "bare path")
        for relay in self.each(round_number):
            server = relay(self.directory(relay), FIRST, SINK)
            measure("one hop", relay.name)
            server.stop()
            first = relay(self.directory(relay, "one"), FIRST, SECOND)
            second = relay(self.directory(relay, "two"), SECOND, SINK)
            measure("two hops", relay.name)
            first.stop()
            second.stop()

    # A long queue.

    def long_queue(self, round_number):
        if round_number > 0:
            return
        for relay, count in ((Postfix, 20_000), (Impart, 1_000_000)):
            count = count // 20 if self.quick else count
            server = relay(self.directory(relay), FIRST, NOBODY)
            time.sleep(1)
            empty = peers.memory(server.pid)
            mode = "pipelined" if relay is Postfix else "impp"
            self.load(relay, FIRST, 16, count, mode, "r@b.test")
            time.sleep(3)
            name = f"{count:,} queued"
            full = peers.memory(server.pid)
            self.note(f"memory, queue empty ({relay.name})", "MiB", relay.name, empty / 2**20)
            self.note(f"memory, {name}", "MiB", relay.name, full / 2**20)
            self.note(f"memory per message, {name}", "octets", relay.name, (full - empty) / count)
            start = time.monotonic()
            server.stop()
            self.note(f"stop, {name}", "s", relay.name, time.monotonic() - start)
            start = time.monotonic()
            server.start()
            self.load(relay, FIRST, 1, 1, "source", "r@b.test")
            self.note(f"start to first accept, {name}", "s", relay.name, time.monotonic() - start)
            time.sleep(10)
            self.note(f"memory after a restart, {name}", "MiB", relay.name, peers.memory(server.pid) / 2**20)
            if server.queued() < count:
                raise SystemExit(f"{relay.name}: {server.queued()} of {count} are in the queue")
            server.stop()
            shutil.rmtree(self.directory(relay))

    # From client to client over two servers.

    def chat(self, round_number):
        names = chat.Names(f"{self.place}/names")
        servers = chat.SERVERS if round_number % 2 == 0 else chat.SERVERS[::-1]
        for server in servers:
            pair = server(f"{self.place}/chat", 16)
            seconds = 5 if self.quick else 30
            way = pair.exchange(1, 20 * seconds, paced=20)["way_us"]
            for quantile in ("p50", "p99"):
                self.note(f"client to client, 20/s, {quantile}", "ms", server.name, way[quantile] / 1000)
            for pairs in (1, 16):
                count = 8000 if self.quick else 40000
                rate = pair.exchange(pairs, count)["per_second"]
                self.note(f"client to client, {pairs} pair{'s' if pairs > 1 else ''}", "msg/s", server.name, rate)
            pair.stop()
        names.stop()

    # One who is watched by many.

    def presence(self, round_number):
        names = chat.Names(f"{self.place}/names")
        servers = chat.SERVERS if round_number % 2 == 0 else chat.SERVERS[::-1]
        watchers, changes = (100, 20) if self.quick else (500, 50)
        for server in servers:
            try:
                self.changes(server, watchers, changes)
            except (SystemExit, OSError, ValueError, subprocess.SubprocessError) as fault:
                # The others' figures are worth having.
                self.failed.append(f"presence of {server.name}: {fault}")
                print(f"presence of {server.name} FAILED: {fault}", flush=True)
        names.stop()

    def changes(self, server, watchers, changes):
        """A presentity changes so often, watched by so many, on its own server and split over two."""
        half = watchers // 2
        for name, same, other in [("on the same server", watchers, 0), ("split over two servers", half, half)]:
            pair = server(f"{self.place}/chat", 0 if server is not chat.Impart else watchers)
            try:
                report = pair.fan_out(same, other, changes)
            finally:
                pair.stop()
            name = f"a change for {watchers} watchers, {name}"
            self.note(name, "notifications/s", server.name, report["per_second"])
            self.note(f"{name}, the last, p50", "ms", server.name, report["last_us"]["p50"] / 1000)

    # Many of everything, for Impart alone: what the others are asked for would take them hours to set up.

    def presence_large(self, round_number):
        if round_number > 0:
            return
        watchers, domains, (clients, each) = (300, 20, (50, 20)) if self.quick else (10_000, 300, (1000, 200))
        names = chat.Names(f"{self.place}/names", domains)
        pair = chat.Impart(f"{self.place}/chat", max(watchers, clients), domains)
        report = pair.fan_out(watchers, 0, 5)
        name = f"a change for {watchers:,} watchers, on the same server"
        self.note(name, "notifications/s", "Impart", report["per_second"])
        self.note(f"{name}, the last, p50", "ms", "Impart", report["last_us"]["p50"] / 1000)
        report = pair.contacts(1, "p@d{}.test", domains, domains)
        name = f"a watcher with {domains} domains"
        self.note(f"time until all are seen first, {name}", "s", "Impart", report["watched_seconds"])
        self.note(f"time until all are seen again, {name}", "s", "Impart", report["again_seconds"])
        pair.stop()
        # On a server of its own: those above watch too.
        pair = chat.Impart(f"{self.place}/chat", clients)
        report = pair.contacts(clients, "u{}@a.test", clients, each)
        name = f"{clients:,} clients with {each} contacts come back at once"
        self.note(f"time until all have all views, {name}", "s", "Impart", report["again_seconds"])
        self.note(f"views, {name}", "views/s", "Impart", report["views_per_second"])
        pair.stop()
        names.stop()

    def presence_store(self, round_number):
        """Tables of presentities with ten watchers each, elsewhere."""
        if round_number > 0:
            return
        for presentities in [1000, 10_000] if self.quick else [1000, 10_000, 100_000, 1_000_000]:
            place = f"{self.place}/tables"
            shutil.rmtree(place, ignore_errors=True)
            os.makedirs(place)
            said = subprocess.run([os.environ["TABLES"], place, str(presentities)], capture_output=True, text=True, check=True)
            report = json.loads(said.stdout.splitlines()[-1])
            name = f"{presentities:,} presentities with 10 watchers each"
            self.note(f"memory, {name}", "MiB", "Impart", report["memory_octets"] / 2**20)
            self.note(f"a change until it is due to all, p50, {name}", "us", "Impart", report["change_us"]["p50"])
            self.note(f"a change until it is due to all, p99, {name}", "us", "Impart", report["change_us"]["p99"])
            self.note(f"start, {name}", "s", "Impart", report["start_seconds"])

    def attached(self, round_number):
        if round_number > 0:
            return
        names = chat.Names(f"{self.place}/names")
        count = 1000 if self.quick else 10_000
        pair = chat.Impart(f"{self.place}/chat", count)
        time.sleep(1)
        empty = pair.memory("b")
        devices = chat.Devices(count, 10**9, "--again", idle=3600)
        name = f"{count:,} devices attached over TLS"
        self.note(f"time until attached, {name}", "s", "Impart", devices.attached["seconds"])
        time.sleep(30)
        before, since = peers.usage(pair.processes["b"].pid)[0], time.monotonic()
        time.sleep(20)
        spent = (peers.usage(pair.processes["b"].pid)[0] - before) / (time.monotonic() - since)
        self.note(f"processor while idle, {name}", "%", "Impart", spent * 100)
        self.note(f"memory each, {name}", "KiB", "Impart", (pair.memory("b") - empty) / count / 1024)
        pair.processes["b"].terminate()
        pair.processes["b"].wait()
        start = time.monotonic()
        pair.start("b")
        devices.next()
        self.note(f"start until all are back, {name}", "s", "Impart", time.monotonic() - start)
        devices.stop()
        pair.stop()
        names.stop()

    # The ceiling: nothing between generator and sink.

    def direct(self, round_number):
        del round_number
        count = 50_000 if self.quick else 400_000
        for mode, options in (("pipelined", []), ("impp", ["--impp"])):
            sink = LoadSink(SINK, count, *options)
            report = load("--to", f"127.0.0.1:{SINK}", "--sessions", 16, "--messages", count, "--mode", mode)
            sink.finish()
            self.note(f"nothing between, own generator ({mode}) and sink, 16 sessions", "msg/s", "bare path",
                      report["per_second"])
        count = 10_000 if self.quick else 50_000
        for sessions in (1, 16, 100):
            sink = SmtpSink(SINK, count, f"{self.place}/smtp-sink.count")
            rate = smtp_source(SINK, sessions, count // (4 if sessions == 1 else 1), 1024, "r@b.test")
            sink.stop()
            self.note(f"nothing between, smtp-source to smtp-sink, {sessions} sessions", "msg/s", "bare path", rate)

    def disk(self, round_number):
        del round_number
        path = f"{self.place}/floor"
        times = []
        for _ in range(200):
            start = time.perf_counter()
            file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
            os.write(file, b"x" * 1024)
            os.fsync(file)
            os.close(file)
            times.append(time.perf_counter() - start)
            os.unlink(path)
        self.note("disk: new file of 1 KiB, write, fsync, p50", "ms", "bare path", statistics.median(times) * 1000)

    def signatures(self, round_number):
        """Signed messages made and verified on one core; the bare path is OpenSSL's speed for the algorithm alone."""
        seconds = "0.5" if self.quick else "2"
        said = subprocess.run([os.environ["SIGNATURES"], seconds], capture_output=True, text=True, check=True).stdout
        for line in said.splitlines()[1:]:
            key, what, rate, *more = line.split()
            measurement = f"S/MIME {what}, {key}, one core"
            self.note(measurement, "msg/s", "Impart", float(rate))
            if len(more) == 4 and more[2] != "-":
                self.note(measurement, "msg/s", "bare path", float(more[2]))

    def all(self):
        """Takes every round; gives the word after each, so that what ends early leaves whole rounds."""
        parts = ["disk", "direct", "accept", "accept_large", "relay", "two_hops", "latency", "long_queue", "chat", "presence",
                 "presence_large", "presence_store", "attached", "signatures", "smime"]
        for round_number in range(self.rounds):
            for part in parts:
                if not self.only or part in self.only:
                    print(f"-- round {round_number + 1} of {self.rounds}: {part}", flush=True)
                    self.part = part
                    try:
                        getattr(self, part)(round_number)
                    except (SystemExit, OSError, ValueError, subprocess.SubprocessError) as fault:
                        # The other figures are worth having.
                        self.failed.append(f"{part}: {fault}")
                        print(f"{part} FAILED: {fault}", flush=True)
            self.done = round_number + 1
            yield


def disk_octets(path):
    """Octets written so far to the device that has this path."""
    device = os.stat(path).st_dev
    with open("/proc/diskstats") as file:
        for line in file:
            fields = line.split()
            if (int(fields[0]), int(fields[1])) == (os.major(device), os.minor(device)):
                return int(fields[9]) * 512
    return 0


# What was aimed at: the ratio, and whether the greater or the smaller figure is better.
AIMS = [
    ("accept, smtp-source, 1 sessions", ("at least", 4)),
    ("accept, smtp-source, 16 sessions", ("at least", 20)),
    ("accept, smtp-source, 100 sessions", ("at least", 20)),
    ("relay, smtp-source to smtp-sink, 1", ("at least", 15)),
    ("relay, smtp-source to smtp-sink, 16 sessions", ("at least", 15)),
    ("relay, smtp-source to smtp-sink, 100 sessions", ("at least", 15)),
    ("two hops, smtp-source", ("at least", 20)),
    ("two hops, own", ("at least", 20)),
    ("relay, own", ("at least", 15)),
    ("latency, one hop, p50", ("at most", 1 / 3)),
    ("latency, two hops, p50", ("at most", 1 / 3)),
    # Not ratios: figures of Impart's own.
    ("memory per message, 1,000,000 queued", ("itself at most", 500)),
    ("start to first accept, 1,000,000 queued", ("itself at most", 2)),
]


def aim(measurement):
    for start, (word, bound) in AIMS:
        if measurement.startswith(start) and "50 KiB" not in measurement:
            return f"{word} {bound:.2g}"
    return ""


def cell(values):
    if not values:
        return ""
    middle = statistics.median(values)
    form = "{:,.0f}" if middle >= 100 else "{:,.1f}" if middle >= 10 else "{:,.2f}"
    if len(values) == 1:
        return form.format(middle)
    return form.format(middle) + " [" + form.format(min(values)) + ".." + form.format(max(values)) + "]"


def chat_table(run):
    names = ("Prosody", "ejabberd", "Impart")
    rows = ["| measurement | unit | Prosody | ejabberd | Impart | to the slower | to the faster |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for measurement, figures in run.figures.items():
        if measurement not in run.of_chat:
            continue
        cells = [measurement, run.units[measurement], *(cell(figures.get(name, [])) for name in names)]
        others = sorted(statistics.median(figures[name]) for name in names[:2] if figures.get(name))
        if len(others) == 2 and figures.get("Impart"):
            slower, faster = others if run.units[measurement].endswith("/s") else others[::-1]
            own = statistics.median(figures["Impart"])
            cells += [f"{own / slower:.2g}", f"{own / faster:.2g}"]
        else:
            cells += ["", ""]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def table(run):
    rows = ["| measurement | unit | Postfix | Impart | bare path | ratio | aim |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for measurement, figures in run.figures.items():
        if measurement in run.of_chat:
            continue
        postfix, impart = figures.get("Postfix", []), figures.get("Impart", [])
        ratio = ""
        if postfix and impart and statistics.median(postfix):
            ratio = f"{statistics.median(impart) / statistics.median(postfix):.2g}"
        cells = [measurement, run.units[measurement], cell(postfix), cell(impart), cell(figures.get("bare path", []))]
        rows.append("| " + " | ".join([*cells, ratio, aim(measurement)]) + " |")
    return "\n".join(rows)


def first_match(path, start):
    with open(path) as file:
        for line in file:
            if line.startswith(start):
                return line.split(":" if ":" in line else "=", 1)[1].strip().strip('"')
    return "unknown"


def output(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def machine(place):
    kib = int(first_match("/proc/meminfo", "MemTotal").split()[0])
    system = output("df", "--output=source,fstype", place).splitlines()[-1].split()
    return "\n".join([
        f"- {os.cpu_count()} × {first_match('/proc/cpuinfo', 'model name')}, {kib / 2**20:.0f} GiB of memory",
        f"- {first_match('/etc/os-release', 'PRETTY_NAME')}, Linux {os.uname().release}, {system[1]} on {system[0]}",
        f"- Postfix {output('postconf', '-d', '-h', 'mail_version')} (Debian), {output('rustc', '--version')}",
    ])


def debian_version(package):
    return output("dpkg-query", "-W", "-f", "${Version}", package) or "not there"


def document(run, seconds):
    return f"""# Impart beside Postfix

Written by `benches/run` on {time.strftime("%d %B %Y, %H:%M UTC", time.gmtime())}, in {seconds / 60:.0f} minutes, \
{run.done} round{"s" if run.done > 1 else ""}{", a quick run: take no figure from it" if run.quick else ""}.
Medians, [least..greatest] where there was more than one round. Postfix and Impart took turns on the same disk, each
started on an empty queue. Generator, relays and sink share the machine's cores.

{machine(run.place)}

{table(run)}

# Impart beside Prosody and ejabberd

From a client of a.test to one of b.test, bodies of 100 octets; Prosody {debian_version("prosody")}, ejabberd
{debian_version("ejabberd")}. Theirs speak TLS to each other only and keep nothing on disk on the way; Impart speaks TLS on every
connection, and each of its two servers waits for stable storage.

{chat_table(run)}

## Where the time went

Not measured by this run: seen with `perf sched timehist` in one message from client to client (20/s) on 2 × AMD EPYC on
23 November 2026, and with strace. Other machines may differ.

- The way passes eight or nine threads, one after the other. That message took 1.8 ms; about 0.5 ms of it B's server waited for a
  core on which A's sync and its reply ran, while the other core was idle.
- The next hop had the message before the sync was over. With the spools in memory one run had a median of 1.50 ms, one on
  the disk 1.23 ms; the machine was not idle, so that says no more than that the disk does not decide.
- A lock-step session (smtp-source, one command a round trip) waits for a sync of its own with each message.
- smtp-source with 16 sessions into the queue, on 24 November 2026 (the daemon's histogram of commits, `vmstat`, `perf`; two
  runs): 7,200 and 7,300 msg/s; 3 messages shared a sync, which took 0.29 ms. Under `perf` the cores were 85 % busy and 65 % of
  the daemon's time was the kernel's: threads that wake each other, and five round trips for each message. What smtp-source
  itself can do is in the rows *nothing between*, where nobody stores anything: with 1 and 16 sessions less than the aim.

## How

- **accept**: into the queue and no further. Postfix holds the mail (`static:HOLD`); Impart keeps it for a local inbox.
- **relay**, **two hops**: from the first connection until the sink has the last message and the queues are empty.
- **smtp-source** and **smtp-sink** are Postfix's own test programs, one command a round trip. **Own generator and sink**
  (`benches/load`): `pipelined` is one round trip for a message (RFC 2920); `impp` keeps 64 in flight on a session. Postfix
  is met with `pipelined` and Impart with `impp`, between relays too; `pipelined` at Impart is shown for accept.
- **latency**: 20 messages a second, one command a round trip, from before MAIL FROM until the sink has the last octet.
- Messages have 1 KiB, one recipient, no TLS. Both log each message to a file. Both wait for stable storage before 250.
- **CPU** is the processes' own, user and system; **octets written to the disk** is what the device counted meanwhile.
- **client to client**: one process sends for all users of a.test, one takes for all of b.test; from the writing of the
  message to its arrival. **attached**: devices that log in, attach, and are silent; memory is the daemon's, resident.
- **a change for so many watchers**: each change is made when all have seen the one before; rules that allow everybody. Impart
  answers the presentity when the change is on stable storage; theirs is not.
- **queued** messages are for a next hop that refuses connections. Postfix's queue is shorter, because filling it with a
  million takes a quarter of an hour and its queue manager keeps at most 20,000 in memory anyway.
"""


def main():
    parser = argparse.ArgumentParser(prog="benches/run", description="Measure Impart beside Postfix.")
    parser.add_argument("--quick", action="store_true", help="a small run of each measurement")
    parser.add_argument("--rounds", type=int, help="rounds (5; 1 with --quick)")
    parser.add_argument("--only", action="append", help="a part: disk, direct, accept, accept_large, relay, two_hops, "
                        "latency, long_queue, chat, presence, presence_large, presence_store, attached, signatures, smime; may be given more than once")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md after a quick or partial run too")
    parser.add_argument("--results", default="RESULTS.md", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 5)
    lo_up()
    import resource
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    run = Run(arguments)
    start = time.monotonic()
    written = arguments.write or not (arguments.quick or arguments.only)
    for _ in run.all():
        if written:
            with open(arguments.results, "w") as file:
                file.write(document(run, time.monotonic() - start))
    print("\n" + table(run) + "\n\n" + chat_table(run))
    if written:
        print(f"\nwritten to {arguments.results}")
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
