//! Events, one line each.

use dstack_api::http::events::Event;

/// `[2026-11-23 22:57:21] [👤admin] [run t2] Run submitted…` without the picture.
pub fn line(event: &Event) -> String {
    let when = event.recorded_at.timestamp().strftime("%Y-%m-%d %H:%M:%S");
    let actor = match &event.actor_user {
        Some(user) => format!(" [{user}]"),
        None => String::new(),
    };
    let targets: Vec<String> = event
        .targets
        .iter()
        .map(|target| format!("{} {}", target.r#type, target.name))
        .collect();
    format!("[{when}]{actor} [{}] {}", targets.join(", "), event.message)
}
