"""Start a scripted registry: `python -m tests.registry --port 5000`; the first line has its address."""

from __future__ import annotations

import argparse
import json
import signal
import ssl
import sys
from typing import Any

from tests.registry.registry import Registry


def main() -> None:
    """Serve until interrupted (or until standard input ends)."""
    parser = argparse.ArgumentParser(prog="python -m tests.registry", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (the default): any")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--second-host", default="127.0.0.2", help="where redirects lead, if there are any")
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"), help="serve HTTPS")
    access = parser.add_mutually_exclusive_group()
    access.add_argument("--token", metavar="USER:PASS", nargs="?", const="user:pass", help="Bearer tokens")
    access.add_argument("--basic", metavar="USER:PASS", nargs="?", const="user:pass", help="Basic")
    parser.add_argument(
        "--options", type=json.loads, default={}, help="fields of options.py as a JSON object"
    )
    parser.add_argument("--until-eof", action="store_true", help="end when standard input ends")
    flags = parser.parse_args()

    options: dict[str, Any] = dict(flags.options)
    account = flags.token or flags.basic
    if account:
        options["auth"] = "token" if flags.token else "basic"
        options["username"], _, options["password"] = account.partition(":")
    context = None
    if flags.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*flags.tls)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Registry(
        port=flags.port, host=flags.host, second_host=flags.second_host, tls=context, **options
    ) as registry:
        sys.stdout.write(f"{registry.address}\n")
        sys.stdout.flush()
        try:
            if flags.until_eof:
                sys.stdin.read()
            else:
                signal.pause()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
