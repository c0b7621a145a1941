"""The relays that are measured: each starts in a directory of its own, says how full its queue is, and what it used up."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

TICK = os.sysconf("SC_CLK_TCK")


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def wait_for_port(port, seconds=60):
    """Waits until somebody greets there; the time it took."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                if connection.recv(4).startswith(b"220"):
                    return time.monotonic() - start
        except OSError:
            pass
        time.sleep(0.005)
    raise SystemExit(f"nobody answers on port {port} after {seconds} s")


def stat_fields(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()


def tree(root):
    """A process and all below it."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                children.setdefault(int(stat_fields(name)[1]), []).append(int(name))
            except OSError:
                pass
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue.extend(children.get(pid, []))
    return found


def usage(root):
    """CPU seconds and octets written by a process, all below it, and all of those that have ended."""
    seconds, octets = 0.0, 0
    for pid in tree(root):
        try:
            fields = stat_fields(pid)
            seconds += sum(map(int, fields[11:15])) / TICK
            with open(f"/proc/{pid}/io") as file:
                octets += int(re.search(r"^write_bytes: (\d+)", file.read(), re.M).group(1))
        except OSError:
            pass
    return seconds, octets


def memory(root):
    """Resident octets that are a process's own (proportional share), with all below it."""
    total = 0
    for pid in tree(root):
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += int(re.search(r"^Pss: +(\d+)", file.read(), re.M).group(1)) * 1024
        except OSError:
            pass
    return total


class Postfix:
    """Debian's Postfix with its defaults, but for: no chroot, log to a file, everything relayed to one next hop."""

    name = "Postfix"

    def __init__(self, directory, port, next_port, hold=False):
        self.directory, self.port = directory, port
        shutil.rmtree(directory, ignore_errors=True)
        write(f"{directory}/etc/master.cf", self.master())
        write(f"{directory}/etc/main.cf", self.main(next_port, hold))
        os.makedirs(f"{directory}/data")
        shutil.chown(f"{directory}/data", "postfix")
        os.makedirs(f"{directory}/queue")
        self.start()

    def master(self):
        with open("/etc/postfix/master.cf.proto") as file:
            text = file.read()
        text = re.sub(r"^smtp\s+inet\s.*$", f"127.0.0.1:{self.port} inet n - n - - smtpd", text, count=1, flags=re.M)
        return re.sub(r"^(\S+\s+\S+\s+\S+\s+\S+\s+)y(\s)", r"\1n\2", text, flags=re.M)

    def main(self, next_port, hold):
        name = os.path.basename(self.directory)
        return f"""compatibility_level = 3.6
queue_directory = {self.directory}/queue
data_directory = {self.directory}/data
maillog_file = {self.directory}/mail.log
maillog_file_prefixes = {self.directory}
multi_instance_name = postfix-{name}
syslog_name = postfix-{name}
myhostname = {name}.a.test
mydestination =
local_recipient_maps =
alias_maps =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:{next_port}
smtp_tls_security_level = none
{"smtpd_client_restrictions = static:HOLD" if hold else ""}
"""

    def command(self, *arguments):
        quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run([arguments[0], "-c", f"{self.directory}/etc", *arguments[1:]], **quiet)

    def start(self):
        self.command("postfix", "start")
        return wait_for_port(self.port)

    def stop(self):
        self.command("postfix", "stop")

    @property
    def pid(self):
        with open(f"{self.directory}/queue/pid/master.pid") as file:
            return int(file.read())

    def queued(self):
        count = 0
        for queue in ("maildrop", "incoming", "active", "deferred", "hold"):
            for _, _, files in os.walk(f"{self.directory}/queue/{queue}"):
                count += len(files)
        return count

    def clear(self):
        self.command("postsuper", "-d", "ALL")


class Impart:
    """impartd with its defaults, but for: a route in the clear to one next hop."""

    name = "Impart"

    def __init__(self, directory, port, next_port, hold=False, more=""):
        # Held mail waits in a local inbox, where nothing is tried.
        self.directory, self.port = directory, port
        shutil.rmtree(directory, ignore_errors=True)
        domains = '"b.test", "c.test"'
        write(f"{directory}/impart.toml", f"""host = "{os.path.basename(directory)}.a.test"
spool = "{directory}/spool"
[[domain]]
name = "a.test"
inboxes = ["r", "s"]
[[listen]]
service = "mail"
address = "127.0.0.1:{port}"
senders = "any"
[[route]]
domains = [{domains}]
via = "127.0.0.1:{next_port}"
tls = "none"
[dns]
servers = ["127.0.0.1"]
validation = "off"
[limits]
inbox_messages = 1000000
inbox_octets = "1 GiB"
{more}""")
        self.start()

    def start(self):
        log = open(f"{self.directory}/log", "a")
        command = [os.environ["IMPARTD"], "--config", f"{self.directory}/impart.toml"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return wait_for_port(self.port)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    @property
    def pid(self):
        return self.process.pid

    def status(self):
        command = [os.environ["IMPARTCTL"], "--config", f"{self.directory}/impart.toml", "--json", "status"]
        rows = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
        for row in rows:
            found = re.search(r'"messages": ?(\d+)', row)
            if found:
                return int(found.group(1))
        raise SystemExit(f"impartctl status: no count of messages in {rows}")

    def queued(self):
        return self.status()

    def clear(self):
        self.stop()
        shutil.rmtree(f"{self.directory}/spool")
        self.start()


def load(*arguments):
    """Runs the generator; its report."""
    command = [os.environ["LOAD"], "send", *map(str, arguments)]
    output = subprocess.run(command, capture_output=True, text=True)
    if output.returncode:
        raise SystemExit(f"{' '.join(command)}: {output.stderr}")
    return json.loads(output.stdout.splitlines()[-1])


class LoadSink:
    """The sink of the generator."""

    def __init__(self, port, expect, *options, idle=20):
        command = [os.environ["LOAD"], "sink", "--listen", f"127.0.0.1:{port}", "--expect", str(expect)]
        command += ["--idle", str(idle), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()

    def finish(self):
        report = json.loads(self.process.stdout.readline())
        self.process.wait()
        return report


class SmtpSink:
    """Postfix's sink, by the counter that it prints."""

    def __init__(self, port, expect, path):
        self.expect, self.path = expect, path
        command = ["smtp-sink", "-u", "postfix", "-c", f"127.0.0.1:{port}", "1000"]
        self.process = subprocess.Popen(command, stdout=open(path, "w"))
        wait_for_port(port)

    def count(self):
        with open(self.path, "rb") as file:
            file.seek(max(0, os.path.getsize(self.path) - 120))
            found = re.findall(rb"mesg=(\d+)", file.read())
        return int(found[-1]) if found else 0

    def finish(self, idle=20):
        last, since = -1, time.monotonic()
        while (count := self.count()) < self.expect and time.monotonic() - since < idle:
            if count != last:
                last, since = count, time.monotonic()
            time.sleep(0.01)
        return {"received": count, "complete": count >= self.expect}

    def stop(self):
        self.process.terminate()
        self.process.wait()


def smtp_source(port, sessions, messages, size, recipient):
    """Runs Postfix's generator; messages per second."""
    start = time.monotonic()
    command = ["smtp-source", "-d", "-s", sessions, "-m", messages, "-l", size, "-f", "s@a.test", "-t", recipient]
    subprocess.run([*map(str, command), f"127.0.0.1:{port}"], check=True)
    return messages / (time.monotonic() - start)


def signer(place):
    """An authority for mail, and a file with the key and certificate of s@a.test."""
    os.makedirs(place, exist_ok=True)
    run = lambda *words: subprocess.run(["openssl", *words], check=True, capture_output=True)
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    run("req", "-x509", *new, "-subj", "/CN=Authority", "-days", "2", "-keyout", f"{place}/ca.key", "-out", f"{place}/ca.pem")
    run("req", "-new", *new, "-subj", "/CN=s", "-keyout", f"{place}/s.key", "-out", f"{place}/s.csr")
    write(f"{place}/s.ext", "subjectAltName=email:s@a.test\nextendedKeyUsage=emailProtection\nkeyUsage=digitalSignature\n")
    run("x509", "-req", "-in", f"{place}/s.csr", "-CA", f"{place}/ca.pem", "-CAkey", f"{place}/ca.key", "-days", "2",
        "-extfile", f"{place}/s.ext", "-out", f"{place}/s.pem")
    write(f"{place}/both.pem", open(f"{place}/s.key").read() + open(f"{place}/s.pem").read())
    return f"{place}/ca.pem", f"{place}/both.pem"


def openssl_verifies(algorithm):
    """Signatures of this kind that OpenSSL verifies in a second on one core."""
    said = subprocess.run(["openssl", "speed", "-seconds", "2", algorithm], capture_output=True, text=True).stdout
    return float(said.split()[-1])
