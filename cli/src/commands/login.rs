//! `dstack login`: only where the server knows somebody who vouches for people.

use crate::args::Login;
use crate::failure::{Failure, Outcome};
use crate::settings::split_urls;
use dstack_api::client::{Client, ClientOptions};

/// Says who could be asked, and what to do when that is nobody.
pub async fn login(args: Login) -> Outcome {
    let urls = split_urls(&args.url)?;
    let client = Client::new(ClientOptions::new(urls, None)).map_err(super::refused)?;
    let providers = client
        .list_login_providers()
        .await
        .map_err(super::refused)?;
    let with_token = format!(
        "Use your token: dstack project add --name PROJECT --url {} --token TOKEN",
        args.url
    );
    let offered: Vec<&str> = providers
        .iter()
        .filter(|provider| provider.enabled)
        .map(|provider| provider.name.as_str())
        .collect();
    match (&args.provider, offered.as_slice()) {
        (_, []) => Err(Failure::with_hint(
            "this server has no login provider configured",
            with_token,
        )),
        (Some(wanted), offered) if !offered.contains(&wanted.as_str()) => Err(Failure::with_hint(
            format!(
                "the server does not offer {wanted}, but {}",
                offered.join(", ")
            ),
            with_token,
        )),
        (_, offered) => Err(Failure::with_hint(
            format!(
                "logging in with {} needs a browser, which this command does not open",
                offered.join(" or ")
            ),
            with_token,
        )),
    }
}
