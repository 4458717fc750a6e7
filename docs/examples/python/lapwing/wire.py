"""Encoding, hashes and signed records: docs/spec/codec.md and records-envelope.md."""

import cbor2
from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# Record types; the domain that a signature is bound to is "lapwing/v1/" and the name.
TYPES = {"roster": 1, "mediator-registration": 2, "mediator-certificate": 3, "region-list": 4}
TYPES |= {"provider-certificate": 5, "directory": 6, "revocations": 7, "status": 8}
TYPES |= {"priority-token": 16, "request": 17, "admission": 18, "ticket-grant": 21, "accept": 24}
TYPES |= {"read-proof": 28, "mark-state": 30, "offer": 32, "booking": 33, "confirmation": 34}


class Refused(Exception):
    """Something that was received does not hold."""


def need(holds, why):
    if not holds:
        raise Refused(why)


def encode(value):
    return cbor2.dumps(value)


def decode(data):
    """Decodes strictly: what does not encode to the same bytes again is refused."""
    try:
        value = cbor2.loads(data)
    except Exception as error:
        raise Refused("not CBOR") from error
    need(encode(value) == data, "not the one encoding of its value")
    return value


def digest(data):
    return blake3(data).digest()


def hash_of(context, value):
    """BLAKE3 in key-derivation mode of a value's encoding."""
    return blake3(encode(value), derive_key_context=context).digest()


def leading_zero_bits(h):
    return len(h) * 8 - int.from_bytes(h, "big").bit_length()


def public(secret):
    """The 32 bytes of a secret key's public key."""
    return secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _to_sign(protected, name, payload):
    return encode(["Signature1", protected, b"lapwing/v1/" + name.encode(), payload])


def check_signature(key, signature, message):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise Refused("a signature does not hold") from error


def _key_of(protected):
    head = decode(protected)
    need(isinstance(head, dict) and set(head) == {1, 4} and head[1] == -8, "another algorithm")
    return head[4]


def _fields(name, payload):
    kind, fields = decode(payload)
    need(kind == TYPES[name], "a record of another type")
    return fields


def sign(name, fields, secret):
    """A signed record (COSE_Sign1) of these fields."""
    protected = encode({1: -8, 4: public(secret)})
    payload = encode([TYPES[name], fields])
    signature = secret.sign(_to_sign(protected, name, payload))
    return encode(cbor2.CBORTag(18, [protected, {}, payload, signature]))


def look(name, data):
    """Signer and fields of a record, not yet verified: to find out who may have signed it."""
    tagged = decode(data)
    need(isinstance(tagged, cbor2.CBORTag) and tagged.tag == 18, "no signed record")
    protected, unprotected, payload, _ = tagged.value
    need(unprotected == {}, "unprotected headers")
    return _key_of(protected), _fields(name, payload)


def verify(name, data, *keys):
    """The fields of a record that one of these keys signed."""
    signer, fields = look(name, data)
    need(signer in keys, "signed by somebody else")
    protected, _, payload, signature = decode(data).value
    check_signature(signer, signature, _to_sign(protected, name, payload))
    return fields


def verify_several(name, data, keys, threshold):
    """The fields of a record that at least `threshold` of these keys signed."""
    payload, signatures = decode(data)
    signers = []
    for one in signatures:
        protected, unprotected, detached, signature = one.value
        need(unprotected == {} and detached is None, "not a detached signature")
        signer = _key_of(protected)
        need(signer in keys, "signed by somebody else")
        check_signature(signer, signature, _to_sign(protected, name, payload))
        signers.append(signer)
    need(signers == sorted(set(signers)), "signatures are not in order")
    need(len(signers) >= threshold, "too few signatures")
    return _fields(name, payload)
