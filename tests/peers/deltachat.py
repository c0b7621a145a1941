"""A mail user's chat program: Delta Chat's core, by its RPC, with one account in a folder of its own.

Arguments: folder, address, password, port of IMAP, port of SMTP, both in the clear on 127.0.0.1. Commands come on standard input, one a
line: `accept` the chat of the message that came last, `answer TEXT` in it, `write ADDRESS TEXT`. Each message that comes is printed as a line of JSON;
so is that all is ready. It ends with its input.
"""
import json
import sys
import threading

from deltachat_rpc_client import DeltaChat, EventType, Rpc

folder, address, password, imap, smtp = sys.argv[1:6]
last = []


def tell(**what):
    print(json.dumps(what), flush=True)


def listen(account):
    while True:
        event = account.wait_for_event()
        if event.kind in (EventType.ERROR, EventType.WARNING):
            print(event.kind, event.get("msg", "")[:300], file=sys.stderr, flush=True)
        if event.kind not in (EventType.INCOMING_MSG, EventType.MSG_DELIVERED, EventType.MSG_FAILED, EventType.MSG_READ):
            continue
        message = account.get_message_by_id(event.msg_id).get_snapshot()
        kind = {EventType.INCOMING_MSG: "message", EventType.MSG_DELIVERED: "sent", EventType.MSG_FAILED: "failed"}
        if event.kind == EventType.INCOMING_MSG:
            last[:] = [message.chat]
        tell(
            event=kind.get(event.kind, "read"),
            text=message.text,
            subject=message.subject,
            chat=message.chat_id,
            sender=message.sender.get_snapshot().address,
            name=message.chat.get_basic_snapshot().name,
            encrypted=bool(message.show_padlock),
            file=message.file_name,
        )


with Rpc(accounts_dir=folder) as rpc:
    account = DeltaChat(rpc).add_account()
    account.set_config("force_encryption", "0")
    login = {"addr": address, "password": password, "certificateChecks": "acceptInvalidCertificates"}
    login |= {"imapServer": "127.0.0.1", "imapPort": int(imap), "imapSecurity": "plain", "imapUser": address}
    login |= {"smtpServer": "127.0.0.1", "smtpPort": int(smtp), "smtpSecurity": "plain", "smtpUser": address}
    account.add_or_update_transport(login)
    account.set_config("displayname", address.split("@")[0])
    account.start_io()
    threading.Thread(target=listen, args=[account], daemon=True).start()
    tell(event="ready")
    for line in sys.stdin:
        word, _, rest = line.rstrip("\n").partition(" ")
        if word == "accept":
            last[0].accept()
            tell(event="accepted")
        elif word == "answer":
            last[0].send_text(rest)
        elif word == "write":
            whom, _, text = rest.partition(" ")
            account.create_contact(whom).create_chat().send_text(text)
