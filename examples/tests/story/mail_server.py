"""A mail server that takes everything and prints each mail as one line of JSON."""

import asyncio
import email
import email.policy
import json
import sys

from aiosmtpd.smtp import SMTP


class Inbox:
    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        leaves = [part for part in message.walk() if not part.is_multipart()]
        print(
            json.dumps(
                {
                    "to": envelope.rcpt_tos,
                    "from": envelope.mail_from,
                    "headers": {name.lower(): str(value) for name, value in message.items()},
                    "parts": [
                        {"type": part.get_content_type(), "text": part.get_content()}
                        for part in leaves
                    ],
                    "defects": [str(defect) for defect in message.defects],
                }
            ),
            flush=True,
        )
        return "250 OK"


async def main(host="127.0.0.1", port=0):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(Inbox(), hostname="mail.test", enable_SMTPUTF8=True), host, int(port)
    )
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


sys.exit(asyncio.run(main(*sys.argv[1:])))
