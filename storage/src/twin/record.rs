//! Framing of the twin's files: length, checksum, payload. Recovery ends at the first record that is not whole.

use bytes::{BufMut, Bytes, BytesMut};

const HEADER: usize = 8;

/// One record as it is appended.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(HEADER + payload.len());
    framed.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    framed.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    framed.extend_from_slice(payload);
    framed
}

/// The whole records of a file, and where they end.
pub(crate) fn unframe(data: Vec<u8>) -> (Vec<Bytes>, usize) {
    let data = Bytes::from(data);
    let mut records = Vec::new();
    let mut at = 0;
    while let Some(header) = data.get(at..at + HEADER) {
        let (size, crc) = header.split_at(4);
        let size = u32::from_le_bytes(size.try_into().unwrap_or_default()) as usize;
        let Some(end) = (at + HEADER)
            .checked_add(size)
            .filter(|end| *end <= data.len())
        else {
            break;
        };
        let payload = data.slice(at + HEADER..end);
        if crc32fast::hash(&payload).to_le_bytes() != crc {
            break;
        }
        records.push(payload);
        at = end;
    }
    (records, at)
}

/// Builds a payload of numbers and byte strings.
#[derive(Default)]
pub(crate) struct Encoder(BytesMut);

impl Encoder {
    pub(crate) fn number(mut self, number: u64) -> Self {
        self.0.put_u64_le(number);
        self
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.put_u64_le(bytes.len() as u64);
        self.0.put_slice(bytes);
        self
    }

    pub(crate) fn optional(self, bytes: Option<&[u8]>) -> Self {
        match bytes {
            Some(bytes) => self.number(1).bytes(bytes),
            None => self.number(0),
        }
    }

    pub(crate) fn done(self) -> Bytes {
        self.0.freeze()
    }
}

/// Takes a payload apart; `None` means that it is shorter than it says.
pub(crate) struct Decoder(pub(crate) Bytes);

impl Decoder {
    pub(crate) fn number(&mut self) -> Option<u64> {
        let number = u64::from_le_bytes(*self.0.first_chunk::<8>()?);
        self.0 = self.0.slice(8..);
        Some(number)
    }

    pub(crate) fn bytes(&mut self) -> Option<Bytes> {
        let size = usize::try_from(self.number()?)
            .ok()
            .filter(|size| *size <= self.0.len())?;
        Some(self.0.split_to(size))
    }

    /// A missing value is `Some(None)`.
    pub(crate) fn optional(&mut self) -> Option<Option<Bytes>> {
        match self.number()? {
            0 => Some(None),
            _ => self.bytes().map(Some),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
