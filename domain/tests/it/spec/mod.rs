//! What users write: how it is read, refused, written back, compared and expanded.

mod broken;
mod expansion;
mod good;
mod references;
mod requests;
mod round_trip;
mod updates;
