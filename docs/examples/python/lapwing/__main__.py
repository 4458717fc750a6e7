"""python -m lapwing --node URL --federation FILE --postal-code CODE [--region NAME] [--stop token|request]"""

import argparse
import time
from datetime import UTC, datetime

from .api import Api, Problem
from .trust import Trust
from .user import User
from .wire import Refused


def main():
    ask = argparse.ArgumentParser(description="Books an appointment with Lapwing.")
    ask.add_argument("--node", required=True, help="a node's API, such as http://127.0.0.1:8480")
    ask.add_argument("--federation", required=True, help="the federation file, as nodes have it")
    ask.add_argument("--postal-code", required=True)
    ask.add_argument("--region", metavar="NAME", help="where there are several: this one, not the widest")
    ask.add_argument("--name", default="Ada Example")
    ask.add_argument("--wish", action="append", default=[], metavar="KEY=VALUE")
    ask.add_argument("--stop", choices=["token", "request"], help="stop after this")
    given = ask.parse_args()

    api = Api(given.node)
    until = time.monotonic() + 60
    while not (regions := (trust := Trust(api, given.federation)).regions(given.postal_code)):
        if time.monotonic() > until:
            raise SystemExit(f"no region has the postal code {given.postal_code}")
        time.sleep(2)
    region = next((r for r in regions if given.region in (None, r[1])), None)
    if region is None:
        raise SystemExit(f"the regions of {given.postal_code} are: {'; '.join(r[1] for r in regions)}")
    print(f"region: {region[1]}")

    user = User(api, trust, [given.name, "1 Example Street, Exampleton", "", ""])
    epoch = user.draw()
    print(f"token: lottery epoch {epoch}, issued by {user.issuer.hex()[:8]}")
    if given.stop == "token":
        return
    user.request(region, dict(wish.split("=", 1) for wish in given.wish))
    print("request: admitted")
    if given.stop == "request":
        return
    for attempt, offer in enumerate(user.offers(lambda why: print(f"refused an offer: {why}")), 1):
        print("offer:", ", ".join(offer["practice"][:4]))
        for slot in user.free(offer)[:1]:
            start = datetime.fromtimestamp(offer["slots"][slot][0], UTC)
            print(f"booking: {start:%Y-%m-%d %H:%M} UTC")
            if user.book(offer, slot, attempt):
                return print("confirmed")
            print("turned down; the next offer")


if __name__ == "__main__":
    try:
        main()
    except Refused as why:
        raise SystemExit(f"what came does not hold: {why}") from None
    except Problem as why:
        raise SystemExit(f"the node refuses: {why}") from None
    except OSError as why:
        raise SystemExit(f"no answer: {why}") from None
