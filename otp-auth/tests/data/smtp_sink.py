"""A mail server for the tests: prints each message as one line of JSON.

Run by tests/mails_arrive_over_smtp.rs as: python3 -m aiosmtpd -n -l HOST:PORT -c smtp_sink.Sink
"""

import asyncio
import email
import email.policy
import json


class Sink:
    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address.startswith("refused"):
            return "550 no such mailbox"
        if address.startswith("busy"):
            return "451 try later"
        if address.startswith("slow"):
            await asyncio.sleep(60)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        parts = [
            {"type": part.get_content_type(), "text": part.get_content()}
            for part in message.walk()
            if not part.is_multipart()
        ]
        seen = {
            "envelope_from": envelope.mail_from,
            "envelope_to": envelope.rcpt_tos,
            "headers": [[name.lower(), str(value)] for name, value in message.items()],
            "parts": parts,
            "defects": [str(defect) for defect in message.defects],
            "tls": session.ssl is not None,
            "peer": session.peer[1],
        }
        print(json.dumps(seen), flush=True)
        return "250 OK"
