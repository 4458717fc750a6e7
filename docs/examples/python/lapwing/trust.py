"""The chain of trust, from the pinned federation down to a provider: docs/spec/trust.md.

It keeps nothing between runs. An app that does must remember the sequences it has seen, and refuse
lower ones.
"""

import hashlib
import json
import tomllib

from . import wire
from .wire import need


class Mediator:
    """What a mediator has in force."""

    def __init__(self, trust, api, identity):
        now = api.now()

        def latest(kind):
            return api.get(f"/v1/trust/{kind}/{identity.hex()}")

        def listed(name, named, *keys):
            data = api.get(f"/v1/trust/records/{named[1].hex()}")
            need(wire.digest(data) == named[1], "another record than the one asked for")
            fields = wire.verify(name, data, *keys)
            need(fields[:2] == [identity, named[0]], "another list than the status names")
            return fields[3]

        registration = wire.verify_several(
            "mediator-registration", latest("registration"), trust.operator_keys, trust.signatures
        )
        federation, mediator, _, self.name, areas, issued, expires = registration
        need((federation, mediator) == (trust.federation, identity), "another registration")
        need(issued <= now + api.skew and now < expires, "the registration is over")
        certificate = wire.verify("mediator-certificate", latest("certificate"), identity)
        _, _, self.signing, _, status_key, _, issued, expires = certificate
        need(certificate[0] == identity, "another mediator's certificate")
        need(issued <= now + api.skew and now < expires, "the mediator's certificate is over")
        status = wire.verify("status", latest("status"), self.signing, status_key)
        _, _, issued, expires, regions, directory, revocations = status
        need(status[0] == identity, "another mediator's status")
        need(issued <= now + api.skew and now < expires, "the mediator's status has expired")
        self.regions = {}
        for region in listed("region-list", regions, self.signing):
            own = wire.hash_of("lapwing/v1/region", [identity, region[1], region[4]])
            served = all(any(code.startswith(a) for a in areas) for code in region[3])
            need(region[0] == own and served, "a region that is not the mediator's")
            self.regions[own] = region
        self.directory = set(listed("directory", directory, self.signing))
        self.revoked = set(listed("revocations", revocations, self.signing, status_key))


class Trust:
    """What is in force now."""

    def __init__(self, api, federation_file):
        try:
            with open(federation_file, "rb") as file:
                pinned = tomllib.load(file)
            roots = sorted(bytes.fromhex(root) for root in pinned["roots"])
            threshold, name = pinned["threshold"], pinned["name"]
        except (OSError, ValueError, KeyError, TypeError) as why:
            raise SystemExit(f"{federation_file}: not a federation file: {why}") from None
        self.federation = wire.hash_of("lapwing/v1/federation", [name, roots, threshold])
        self.api, self.roots, self.threshold = api, roots, threshold
        self.refresh()

    def refresh(self):
        """Fetches and verifies everything anew."""
        api = self.api
        data = api.get("/v1/trust/roster")
        roster = wire.verify_several("roster", data, self.roots, self.threshold)
        federation, _, issued, expires, params, self.operators = roster
        now = api.now()
        need(federation == self.federation, "another federation's roster")
        need(issued <= now + api.skew and now < expires, "the roster has expired")
        self.replicas, self.epoch, self.token_work = params[0], params[1], params[3]
        self.signatures = params[11]
        self.operator_keys = [key for _, _, key, _ in self.operators]
        self.nodes = {node: key for *_, nodes in self.operators for node, key in nodes}
        listed = json.loads(api.get("/v1/trust"))["mediators"]
        ids = [bytes.fromhex(entry["mediator"]) for entry in listed if entry["status"]]
        self.mediators = {identity: Mediator(self, api, identity) for identity in ids}

    def regions(self, postal_code):
        """The regions of a postal code, those with the fewest criteria first."""
        regions = [r for m in self.mediators.values() for r in m.regions.values()]
        return sorted((r for r in regions if postal_code in r[3]), key=lambda r: (len(r[2]), r[1]))

    def certificate(self, data, now):
        """A provider's certificate, if it is in force."""
        _, fields = wire.look("provider-certificate", data)
        mediator = self.mediators.get(fields[0])
        need(mediator is not None, "certified by nobody known")
        wire.verify("provider-certificate", data, mediator.signing)
        need(fields[6] <= now < fields[7], "the certificate is over")
        need(wire.digest(data) in mediator.directory, "the certificate is not in the directory")
        need(fields[1] not in mediator.revoked, "the certificate is revoked")
        return fields

    def holders(self, identity):
        """The nodes that something is placed on: docs/spec/placement.md."""
        if len(self.nodes) <= self.replicas:
            return list(self.nodes)
        point = int.from_bytes(hashlib.sha256(identity).digest(), "big")

        def distance(entry):
            peer = bytes.fromhex("002408011220") + entry[1]
            return int.from_bytes(hashlib.sha256(peer).digest(), "big") ^ point

        nodes = [(operator[0], node) for operator in self.operators for node, _ in operator[3]]
        chosen = {}
        for operator, node in sorted(nodes, key=distance):
            chosen.setdefault(operator, node)
        return list(chosen.values())[: self.replicas]

    def quorum(self, identity):
        """How many holders must have said so."""
        n = len(self.holders(identity))
        return max(min(2, n), n // 2 + 1)
