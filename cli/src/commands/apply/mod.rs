//! `dstack apply`: load, plan, confirm, submit, follow.

mod files;
mod fleet;
mod keys;
mod load;
mod profile;
pub mod repo;
mod run;

pub use load::load;
pub use profile::profile;

use crate::args::Apply;
use crate::failure::{Failure, Outcome};
use dstack_domain::spec::AnyConfiguration;

/// Chooses by the configuration's type.
pub async fn apply(args: Apply) -> Outcome {
    if args
        .file
        .as_deref()
        .is_some_and(|file| file.as_os_str() == "-")
        && !args.yes
    {
        return Err(Failure::with_hint(
            "the configuration comes from standard input, so nobody can be asked",
            "Pass -y",
        ));
    }
    let loaded = load(args.file.as_deref())?;
    let project = super::connect(&args.common)?;
    match loaded.configuration {
        AnyConfiguration::Run(configuration) => {
            run::apply(&project, configuration, loaded.path, &loaded.folder, args).await
        }
        AnyConfiguration::Fleet(configuration) => {
            fleet::apply(&project, *configuration, loaded.path, args).await
        }
        AnyConfiguration::Volume(_) => Err(Failure::refused(
            "this server has no network volumes yet; instance volumes work: `/host/path:/path`",
        )),
        AnyConfiguration::Gateway(_) => Err(Failure::refused("this server has no gateways yet")),
    }
}
