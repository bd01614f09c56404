//! One file as `multipart/form-data`: all that the API ever takes.

use bytes::{BufMut, Bytes, BytesMut};

pub(super) struct Form {
    pub content_type: String,
    pub body: Bytes,
}

/// The file is named by the SHA-256 of its content, so the file name needs no escaping.
pub(super) fn file(sha256: &str, content: &[u8]) -> Form {
    let boundary = format!("dstack-{}", uuid::Uuid::new_v4().simple());
    let mut body = BytesMut::with_capacity(content.len() + 256);
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{sha256}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    body.put_slice(head.as_bytes());
    body.put_slice(content);
    body.put_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Form {
        content_type: format!("multipart/form-data; boundary={boundary}"),
        body: body.freeze(),
    }
}
