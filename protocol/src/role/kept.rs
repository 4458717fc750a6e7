//! What stored state is made of: secrets, tables and lists with an encoding.
//!
//! Stored state is a role's own and travels nowhere, so that its collections have only the bound
//! that keeps a damaged file from claiming the memory.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::RestoreError;
use crate::codec::{DecodeError, Decoder, Encoder, Wire};
use crate::key::{SealingSecret, SigningKey};

const MAX_ELEMENTS: usize = 1 << 20;
const MAX_BYTES: usize = 1 << 21;
/// Most bytes of one role's stored state (256 MiB).
const MAX_STATE: usize = 1 << 28;

/// A signing key in stored state.
#[derive(Clone)]
pub(crate) struct Seed(SigningKey);

impl Seed {
    pub(crate) fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Seed(SigningKey::generate(rng))
    }
}

impl From<SigningKey> for Seed {
    fn from(key: SigningKey) -> Self {
        Seed(key)
    }
}

impl Deref for Seed {
    type Target = SigningKey;

    fn deref(&self) -> &SigningKey {
        &self.0
    }
}

impl Wire for Seed {
    fn encode(&self, out: &mut Encoder) {
        out.bytes(self.0.seed().as_slice());
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let seed = Zeroizing::new(d.byte_array::<32>()?);
        Ok(Seed(SigningKey::from_seed(&seed)))
    }
}

/// A sealing secret in stored state.
#[derive(Clone)]
pub(crate) struct Secret(SealingSecret);

impl Secret {
    pub(crate) fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        Secret(SealingSecret::generate(rng))
    }
}

impl From<SealingSecret> for Secret {
    fn from(secret: SealingSecret) -> Self {
        Secret(secret)
    }
}

impl Deref for Secret {
    type Target = SealingSecret;

    fn deref(&self) -> &SealingSecret {
        &self.0
    }
}

impl Wire for Secret {
    fn encode(&self, out: &mut Encoder) {
        out.bytes(self.0.to_secret_bytes().as_slice());
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let bytes = Zeroizing::new(d.byte_array::<32>()?);
        Ok(Secret(SealingSecret::from_bytes(&bytes)))
    }
}

/// A map in stored state: an array of pairs in the order of their keys.
#[derive(Clone)]
pub(crate) struct Table<K, V>(BTreeMap<K, V>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Table(BTreeMap::new())
    }
}

impl<K, V> Deref for Table<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<K, V> DerefMut for Table<K, V> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<K: Wire + Ord, V: Wire> Wire for Table<K, V> {
    fn encode(&self, out: &mut Encoder) {
        out.array(self.0.len());
        for (k, v) in &self.0 {
            out.array(2);
            k.encode(out);
            v.encode(out);
        }
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let n = d.array_len(MAX_ELEMENTS)?;
        let mut map = BTreeMap::new();
        for _ in 0..n {
            let (k, v) = <(K, V)>::decode(d)?;
            map.insert(k, v);
        }
        Ok(Table(map))
    }
}

/// A list in stored state.
#[derive(Clone)]
pub(crate) struct Many<T>(Vec<T>);

impl<T> Default for Many<T> {
    fn default() -> Self {
        Many(Vec::new())
    }
}

impl<T> From<Vec<T>> for Many<T> {
    fn from(v: Vec<T>) -> Self {
        Many(v)
    }
}

impl<T> Deref for Many<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T> DerefMut for Many<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

impl<T: Wire> Wire for Many<T> {
    fn encode(&self, out: &mut Encoder) {
        out.array(self.0.len());
        for v in &self.0 {
            v.encode(out);
        }
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let n = d.array_len(MAX_ELEMENTS)?;
        let mut v = Vec::new();
        for _ in 0..n {
            v.push(T::decode(d)?);
        }
        Ok(Many(v))
    }
}

/// Bytes in stored state.
#[derive(Clone)]
pub(crate) struct Blob(Vec<u8>);

impl From<Vec<u8>> for Blob {
    fn from(v: Vec<u8>) -> Self {
        Blob(v)
    }
}

impl From<&[u8]> for Blob {
    fn from(v: &[u8]) -> Self {
        Blob(v.to_vec())
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Wire for Blob {
    fn encode(&self, out: &mut Encoder) {
        out.bytes(&self.0);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Blob(d.bytes(MAX_BYTES)?.to_vec()))
    }
}

/// Encodes a role's state: `[name, version, state]`.
pub(crate) fn save<T: Wire>(name: &str, version: u32, state: &T) -> Zeroizing<Vec<u8>> {
    let mut out = Encoder::wiping();
    out.array(3);
    out.text(name);
    out.uint(u64::from(version));
    state.encode(&mut out);
    Zeroizing::new(out.into_vec())
}

/// Decodes what [`save`] encoded.
pub(crate) fn restore<T: Wire>(name: &str, version: u32, bytes: &[u8]) -> Result<T, RestoreError> {
    if bytes.len() > MAX_STATE {
        return Err(RestoreError::Damaged(DecodeError::TooLong {
            max: MAX_STATE,
        }));
    }
    let mut d = Decoder::new(bytes);
    d.array(3).map_err(|_| RestoreError::Other)?;
    if d.text(64) != Ok(name) {
        return Err(RestoreError::Other);
    }
    let found = u32::decode(&mut d)?;
    if found > version {
        return Err(RestoreError::Newer { found });
    }
    let state = T::decode(&mut d)?;
    d.end()?;
    Ok(state)
}
