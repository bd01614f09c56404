//! Archives of files. The bytes go to a majority of the replicas first, then a record of them
//! through the log: a record whose bytes are missing would be a promise nobody can keep.

use axum::body::Bytes;
use axum::extract::{Multipart, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use dstack_api::http::files::{FileArchive, GetArchiveByHash};
use dstack_domain::command::{RegisterArchive, Reply};
use dstack_domain::ids::{ArchiveId, RequestId};
use sha2::{Digest, Sha256};

use super::answer::{Answer, Outcome};
use super::auth::Caller;
use super::body::Body;
use super::errors::HttpError;
use super::request_id::ClientRequest;
use crate::context::Context;
use crate::env;

/// A file as it came, checked against the hash it is named by.
pub struct Upload {
    pub sha256: String,
    pub bytes: Bytes,
}

pub async fn upload_archive(
    State(context): State<Context>,
    caller: Caller,
    request_id: ClientRequest,
    headers: HeaderMap,
    form: Multipart,
) -> Outcome<FileArchive> {
    let upload = receive(&context, &headers, form).await?;
    let hash = upload.sha256.clone();
    let (id, revision) = keep(&context, &caller, request_id.id(caller.id()), upload).await?;
    Ok(Answer::new(FileArchive { id: id.0, hash }, revision))
}

/// Reads the one part `file`.
pub async fn receive(
    context: &Context,
    headers: &HeaderMap,
    mut form: Multipart,
) -> Result<Upload, HttpError> {
    check_size(context, headers)?;
    let unreadable = |error: axum::extract::multipart::MultipartError| {
        HttpError::refused(format!(
            "The upload could not be read: {}",
            error.body_text()
        ))
    };
    while let Some(part) = form.next_field().await.map_err(unreadable)? {
        if part.name() != Some("file") {
            continue;
        }
        let named = part.file_name().unwrap_or_default().to_owned();
        let bytes = part.bytes().await.map_err(unreadable)?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        if !named.eq_ignore_ascii_case(&sha256) {
            return Err(HttpError::refused(format!(
                "The upload is named {named:?} but its SHA-256 is {sha256}. It was damaged on the way; try again."
            )));
        }
        return Ok(Upload { sha256, bytes });
    }
    Err(HttpError::invalid("file", "Field required"))
}

fn check_size(context: &Context, headers: &HeaderMap) -> Result<(), HttpError> {
    let limit = context.settings.code_upload_limit;
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if limit > 0 && length.is_some_and(|length| length > limit) {
        return Err(HttpError::refused(format!(
            "The upload has {} bytes, the limit is {limit}. Leave large files out with .gitignore or .dstackignore, \
             or raise DSTACK_SERVER_CODE_UPLOAD_LIMIT on the server.",
            length.unwrap_or_default()
        )));
    }
    Ok(())
}

/// Stores the bytes and their record; answers the record's id and the revision.
pub async fn keep(
    context: &Context,
    caller: &Caller,
    request: RequestId,
    upload: Upload,
) -> Result<(ArchiveId, u64), HttpError> {
    let size = upload.bytes.len() as u64;
    context.bulk.put(upload.bytes).await.map_err(|error| {
        tracing::warn!(error = %error, "an upload was not stored");
        HttpError::Unavailable(
            "the upload could not be stored on a majority of the servers; try again".to_owned(),
        )
    })?;
    let command = RegisterArchive {
        id: ArchiveId::from(env::uuid()),
        sha256: upload.sha256,
        size,
    };
    let accepted = context
        .door
        .submit(caller.actor(), request, command.into())
        .await?;
    match accepted.reply {
        Reply::Archive(id) => Ok((id, accepted.revision)),
        other => {
            tracing::error!(?other, "registering an archive answered something else");
            Err(HttpError::Internal)
        }
    }
}

pub async fn get_archive_by_hash(
    State(context): State<Context>,
    caller: Caller,
    Body(request): Body<GetArchiveByHash>,
) -> Outcome<FileArchive> {
    let (caller, view) = caller.fresh(&context).await?;
    let known = view.state.archive_by_hash(caller.id(), &request.hash);
    // One whose time is running out is uploaded again, lest it goes before the run names it.
    let found = known.filter(|archive| archive.is_shown(env::now()));
    let archive = found.ok_or_else(|| HttpError::absent("Archive not found"))?;
    Ok(Answer::new(
        FileArchive {
            id: archive.id.0,
            hash: archive.sha256.clone(),
        },
        view.revision,
    ))
}
