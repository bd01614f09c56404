//! Bytes for the log and for rows: one version byte, then JSON, because specifications are
//! self-describing. A version from the future is an error for the caller to stop on, never a panic.

use crate::command::Entry;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The form this build writes.
pub const VERSION: u8 = 1;

#[derive(Debug, Error)]
pub enum EncodingError {
    #[error("the value is empty, expected a version byte")]
    Empty,
    #[error(
        "the value has form {found}, this build knows forms up to {VERSION}: upgrade this replica"
    )]
    TooNew { found: u8 },
    #[error("the value is not readable")]
    Json(#[from] serde_json::Error),
}

pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, EncodingError> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, value)?;
    Ok(bytes)
}

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, EncodingError> {
    match bytes.split_first() {
        None => Err(EncodingError::Empty),
        Some((&VERSION, json)) => Ok(serde_json::from_slice(json)?),
        Some((&found, _)) => Err(EncodingError::TooNew { found }),
    }
}

pub fn encode_entry(entry: &Entry) -> Result<Vec<u8>, EncodingError> {
    encode(entry)
}

pub fn decode_entry(bytes: &[u8]) -> Result<Entry, EncodingError> {
    decode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_future_and_garbage_are_errors() {
        assert!(matches!(decode::<u32>(&[]), Err(EncodingError::Empty)));
        assert!(matches!(
            decode::<u32>(&[9, b'1']),
            Err(EncodingError::TooNew { found: 9 })
        ));
        assert!(matches!(
            decode::<u32>(&[VERSION, b'{']),
            Err(EncodingError::Json(_))
        ));
        assert_eq!(decode::<u32>(&encode(&7u32).unwrap()).unwrap(), 7);
    }
}
