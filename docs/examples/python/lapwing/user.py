"""A user: token, request, offers, booking. Grammar: docs/app-developer.md and docs/spec/."""

import os
import time
from contextlib import suppress
from itertools import count

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from . import hpke, wire
from .api import CBOR, COSE, Problem
from .wire import decode, digest, encode, hash_of, need, public, sign, verify

SMALL, SIXTEEN, FREE, DAYS_42 = 1, 2, 3, 3
TAKEN, CONFIRMED = 2, 1


def mailbox_id(mailbox):
    return hash_of("lapwing/v1/mailbox", mailbox)


class User:
    def __init__(self, api, trust, data):
        """`data` is name, address, e-mail and telephone: only the booked provider sees it."""
        self.api, self.trust, self.data = api, trust, list(data)
        self.nonce = os.urandom(32)
        self.sealing = X25519PrivateKey.generate()
        self.key = Ed25519PrivateKey.generate()

    def draw(self):
        """Works for a priority token and draws it (docs/spec/tokens.md)."""
        h = hash_of("lapwing/v1/user-hash", [self.data, self.nonce, public(self.sealing)])
        federation, bits = self.trust.federation, self.trust.token_work
        # One proof draws at one node, in one epoch of the lottery.
        node, epoch = self.api.node, self.api.now() // self.trust.epoch

        def work(n):
            said = [federation, node, epoch, h, n]
            return wire.leading_zero_bits(hash_of("lapwing/v1/token-work", said))

        proof = next(n for n in count() if work(n) >= bits)
        self.token = self.api.post("/v1/tokens", CBOR, encode([h, proof, public(self.key)]))
        _, (self.issuer, epoch, _, hashed, _, key) = wire.look("priority-token", self.token)
        verify("priority-token", self.token, self.trust.nodes.get(self.issuer))
        need((hashed, key) == (h, public(self.key)), "a token for somebody else")
        return epoch

    def request(self, region, wishes):
        """Seals the wishes to the region's key and places the request (docs/spec/queue.md)."""
        self.region, version, region_key = region[0], region[5], region[6]
        self.reader = Ed25519PrivateKey.generate()
        day = self.api.now() // 86400
        read = public(self.reader)
        self.inbox = [read, [2], SMALL, FREE, DAYS_42, day, os.urandom(16)]
        wish = encode([public(self.sealing), [list(w) for w in sorted(wishes.items())]])
        envelope = hpke.seal(region_key, hpke.REQUEST, self.region, wish, version)
        fields = [self.token, self.region, version, self.inbox, envelope]
        request = sign("request", fields, self.key)
        self.request_id = digest(request)
        admission = self.api.post("/v1/requests", COSE, request)
        said = verify("admission", admission, self.trust.nodes[self.issuer])
        need(said[0] == self.issuer and said[2] == self.request_id, "another admission")
        need(said[4] == mailbox_id(self.inbox), "an admission for another inbox")
        self.expires = said[6]

    def read(self, mailbox, reader, after=None, wait=30):
        """A page of a mailbox; waits for something to come."""
        proof = sign("read-proof", [mailbox, self.api.node, self.api.now()], reader)
        order = encode([proof, [] if after is None else [after]])
        return decode(self.api.post(f"/v1/mailboxes/read?wait={wait}", CBOR, order))[0]

    def offers(self, refused=lambda why: None):
        """Waits for offers and gives each that holds, once; why others do not goes to `refused`."""
        seen, told = set(), set()
        while True:
            # The slots of an inbox fill in no order, so it is read from the start, now and then.
            time.sleep(2 if told or seen else 0)
            for entry in self.read(self.inbox, self.reader):
                if (item := entry[1]) in seen:
                    continue
                try:
                    offer = self.check(entry)
                except (wire.Refused, ValueError, TypeError, IndexError) as why:
                    if item not in told:
                        refused(why)
                    told.add(item)
                    # The node may not have heard of a new certificate yet: looked at again.
                    with suppress(wire.Refused, Problem):
                        self.trust.refresh()
                else:
                    seen.add(item)
                    yield offer

    def ticket(self, slot, grants):
        """Checks the ticket by which an offer came, and gives its id."""
        holders, found, said = self.trust.holders(self.region), set(), set()
        for grant in grants:
            signer, fields = wire.look("ticket-grant", grant)
            holder = fields[0]
            need(holder in holders and self.trust.nodes[holder] == signer, "not by a holder")
            verify("ticket-grant", grant, signer)
            found.add(holder)
            said.add(tuple(fields[1:6] + fields[7:]))
        need(len(said) == 1 and len(found) >= self.trust.quorum(self.region), "too few grants")
        region, request, claim, _, inbox, _, _ = said.pop()
        own = (self.region, self.request_id, mailbox_id(self.inbox))
        need((region, request, inbox) == own, "a ticket for another request")
        ticket = hash_of("lapwing/v1/ticket", [claim, request])
        need(int.from_bytes(ticket[:4], "big") == slot, "not the ticket's slot")
        return ticket

    def check(self, entry):
        """Everything that an offer claims, checked before a person sees it."""
        slot, _, grants, blob = entry
        ticket = self.ticket(slot, grants)
        data = hpke.unseal(self.sealing, hpke.OFFER, mailbox_id(self.inbox), blob)
        _, offer = wire.look("offer", data)
        certificate = self.trust.certificate(offer[4], self.api.now())
        verify("offer", data, certificate[2])
        own = [self.request_id, ticket, public(self.sealing)]
        need(offer[:3] == own, "an offer for another request")
        need(self.region in certificate[4], "the provider is not certified for the region")
        practice = hash_of("lapwing/v1/practice", offer[5])
        need(practice == certificate[5], "not the practice that was verified")
        to_provider, to_user, me = offer[6], offer[7], public(self.key)
        channel = to_provider[1] == [1, [me]] and to_user[0] == me and to_provider[0] != me
        small = all(m[2:4] == [SMALL, SIXTEEN] for m in (to_provider, to_user))
        need(channel and small and to_user[1] != [1, [me]], "its mailboxes are not a channel")
        need(self.api.now() <= offer[9], "the offer has expired")
        kept = {"id": digest(data), "ticket": ticket, "signing": certificate[2]}
        kept |= {"certificate": offer[4], "sealing": offer[3], "practice": offer[5]}
        return kept | {"to_provider": to_provider, "to_user": to_user, "slots": offer[8]}

    def free(self, offer):
        """The offer's slots that are in the future and not marked as taken, by their place."""
        ids = [hash_of("lapwing/v1/mark", slot[3]) for slot in offer["slots"]]
        states = decode(self.api.post("/v1/marks/read", CBOR, encode([ids])))[0]
        taken = set()
        for state in states:
            _, (mark, _, value, _) = wire.look("mark-state", state)
            verify("mark-state", state, mark[0])
            if value == TAKEN:
                taken.add(hash_of("lapwing/v1/mark", mark))
        ahead = [n for n, slot in enumerate(offer["slots"]) if slot[0] > self.api.now()]
        return [n for n in ahead if ids[n] not in taken]

    def book(self, offer, slot, attempt):
        """Books a slot, and waits for the provider's answer: true when it is confirmed."""
        # Once more, just before a person's data leaves this machine.
        self.trust.refresh()
        self.trust.certificate(offer["certificate"], self.api.now())
        agreed = [self.request_id, offer["ticket"], attempt, self.expires]
        accept = sign("accept", agreed, self.key)
        me = public(self.sealing)
        fields = [offer["id"], slot, self.token, self.data, self.nonce, me, accept]
        booking = sign("booking", fields, self.key)
        box = offer["to_provider"]
        letter = encode([1, booking])
        self.write(box, 0, hpke.seal(offer["sealing"], hpke.BOOKING, mailbox_id(box), letter))
        back, after = offer["to_user"], None
        while True:
            for entry in self.read(back, self.key, after):
                after = entry[0]
                try:
                    purpose = hpke.CONFIRMATION
                    letter = decode(hpke.unseal(self.sealing, purpose, mailbox_id(back), entry[3]))
                    said = verify("confirmation", letter[1], offer["signing"])
                except wire.Refused:
                    continue  # A message, or no letter of this provider's.
                own = [digest(booking), offer["id"], slot, offer["slots"][slot][0]]
                if letter[0] == 1 and said[:4] == own:
                    return said[4][0] == CONFIRMED

    def write(self, mailbox, slot, blob):
        """Writes a blob by the token's key; checks that enough holders have it on disk."""
        identity = mailbox_id(mailbox)
        message = hash_of("lapwing/v1/blob-write", [identity, slot, digest(blob)])
        body = encode([mailbox, slot, blob, [1, self.key.sign(message)]])
        item, acks = decode(self.api.post("/v1/mailboxes/write", CBOR, body))
        need(item == hash_of("lapwing/v1/item", [3, digest(body)]), "a receipt for something else")
        holders, good = self.trust.holders(identity), set()
        for holder, roster, signature in acks:
            need(holder in holders, "a receipt by no holder")
            said = hash_of("lapwing/v1/ack", [holder, roster, item])
            wire.check_signature(self.trust.nodes[holder], signature, said)
            good.add(holder)
        need(len(good) >= self.trust.quorum(identity), "too few holders have it")
