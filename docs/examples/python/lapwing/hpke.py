"""Envelopes: HPKE (RFC 9180) in base mode with X25519, HKDF-SHA256 and ChaCha20-Poly1305, padded to
4096 bytes: docs/spec/sealing.md."""

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from .wire import Refused, encode, need, public

REQUEST, OFFER, BOOKING, CONFIRMATION = 1, 2, 3, 4
SIZE = 4096
CAPACITY = SIZE - 1 - 32 - 16 - 4

KEM = b"KEM\x00\x20"
SUITE = b"HPKE\x00\x20\x00\x01\x00\x03"


def _extract(suite, salt, label, key):
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + key, hashlib.sha256)


def _expand(suite, key, label, info, length):
    # Never more than one block of 32 bytes is wanted here (RFC 5869).
    labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(key, labelled + b"\x01", hashlib.sha256)[:length]


def _cipher(shared, enc, recipient, *bound):
    """The key schedule of section 5.1; gives the cipher and the nonce of the first message."""
    info = encode(["lapwing/v1/seal", *bound])
    eae = _extract(KEM, b"", b"eae_prk", shared)
    secret = _expand(KEM, eae, b"shared_secret", enc + recipient, 32)
    context = b"\x00" + _extract(SUITE, b"", b"psk_id_hash", b"")
    context += _extract(SUITE, b"", b"info_hash", info)
    key = _extract(SUITE, secret, b"secret", b"")
    cipher = ChaCha20Poly1305(_expand(SUITE, key, b"key", context, 32))
    return cipher, _expand(SUITE, key, b"base_nonce", context, 12)


def seal(recipient, purpose, binding, content, key_version=0):
    """An envelope of 4096 bytes that only the recipient's secret key opens."""
    if len(content) > CAPACITY:
        raise ValueError("the content does not fit into the envelope")
    ephemeral = X25519PrivateKey.generate()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    enc = public(ephemeral)
    cipher, nonce = _cipher(shared, enc, recipient, purpose, binding, key_version)
    padded = len(content).to_bytes(4, "big") + content.ljust(CAPACITY, b"\x00")
    return b"\x01" + enc + cipher.encrypt(nonce, padded, b"")


def unseal(secret, purpose, binding, envelope, key_version=0):
    """The content of an envelope."""
    need(len(envelope) == SIZE and envelope[0] == 1, "an envelope of another size or suite")
    enc, ciphertext = envelope[1:33], envelope[33:]
    try:
        # Refuses a shared value of zero by itself.
        shared = secret.exchange(X25519PublicKey.from_public_bytes(enc))
        cipher, nonce = _cipher(shared, enc, public(secret), purpose, binding, key_version)
        padded = cipher.decrypt(nonce, ciphertext, b"")
    except (InvalidTag, ValueError) as error:
        raise Refused("the envelope does not open") from error
    length = int.from_bytes(padded[:4], "big")
    need(length <= CAPACITY and not any(padded[4 + length :]), "the padding is not zeros")
    return padded[4 : 4 + length]
