//! A node's keys, from the seed, and how peer ids are written.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use lapwing_protocol::id::{NodeId, to_hex};
use lapwing_protocol::key::{SigningKey, VerifyingKey};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use zeroize::Zeroizing;

use super::NodeError;

/// Writes a node's key file as one restores it from a copy, and gives the public halves.
pub(super) fn write_keys(
    path: &Path,
    rng: &mut ChaCha20Rng,
) -> Result<(NodeId, VerifyingKey), NodeError> {
    let mut draw = || {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut_slice());
        bytes
    };
    let (peer, signing, secret) = (draw(), draw(), draw());
    let text = Zeroizing::new(format!(
        "version = 1\npeer = \"{}\"\nsigning = \"{}\"\nsecret = \"{}\"\n",
        to_hex(&peer),
        to_hex(&signing),
        to_hex(&secret)
    ));
    let failed = |source| NodeError::Write {
        path: path.to_owned(),
        source,
    };
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    let id = NodeId::from_bytes(*SigningKey::from_seed(&peer).verifying_key().as_bytes());
    Ok((id, SigningKey::from_seed(&signing).verifying_key()))
}

/// Base58 in Bitcoin's alphabet, as peer ids are written.
pub(super) fn base58(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut digits: Vec<u8> = Vec::new();
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            // Below 58, so that it fits.
            *digit = (carry % 58) as u8;
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58) as u8);
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    let digits = std::iter::repeat_n(0, zeros).chain(digits.into_iter().rev());
    digits
        .filter_map(|d| ALPHABET.get(usize::from(d)).map(|c| char::from(*c)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapwing_protocol::placement::peer_id_bytes;

    #[test]
    fn peer_ids_are_written_as_libp2p_does() {
        // From the specification of base58 (draft-msporny-base58), and the peer id of an Ed25519 key of
        // which libp2p's begin "12D3KooW".
        assert_eq!(base58(b"Hello World!"), "2NEpo7TZRRrLZSi2U");
        assert_eq!(base58(&[0, 0, 0x28, 0x7f, 0xb4, 0xcd]), "11233QC4");
        let key = SigningKey::from_seed(&[7; 32]).verifying_key();
        let text = base58(&peer_id_bytes(&NodeId::from_bytes(*key.as_bytes())));
        assert!(text.starts_with("12D3KooW") && text.len() == 52, "{text}");
    }
}
